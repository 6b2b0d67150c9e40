#include "realtime/socket_packet.hpp"

#include "base/json_writer.hpp"
#include "describe/exact_json.hpp"

namespace subforge::realtime {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string_view take_digits(std::string_view& text) {
  std::size_t count = 0;
  while (count < text.size() && is_digit(text[count])) ++count;
  auto const digits = text.substr(0, count);
  text.remove_prefix(count);
  return digits;
}

// "/admin?token=x,": the name up to the query, and past the comma.
std::string_view take_namespace(std::string_view& text) {
  auto const end = text.find(',');
  auto const name = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return name.substr(0, name.find('?'));
}

bool fits(SocketPacketType type, boost::json::value const& data) {
  using enum SocketPacketType;
  switch (type) {
    case connect: return data.is_null() || data.is_object();
    case disconnect: return data.is_null();
    case connect_error: return data.is_object() || describe::is_text(data);
    case ack:
    case binary_ack: return data.is_array();
    case event:
    case binary_event: {
      auto const* const list = data.if_array();
      return list != nullptr && !list->empty() && describe::is_text(list->front());
    }
  }
  return false;
}

}  // namespace

std::optional<SocketPacket> parse_socket_packet(std::string_view text) {
  if (text.empty() || text.front() < '0' || text.front() > '6') return std::nullopt;
  SocketPacket packet;
  packet.type = static_cast<SocketPacketType>(text.front() - '0');
  text.remove_prefix(1);
  bool const binary =
      packet.type == SocketPacketType::binary_event || packet.type == SocketPacketType::binary_ack;
  if (binary) {
    auto const attachments = take_digits(text);
    if (attachments.empty() || !text.starts_with('-')) return std::nullopt;
    text.remove_prefix(1);
  }
  if (text.starts_with('/')) packet.space = take_namespace(text);
  packet.id = take_digits(text);
  if (packet.id.size() > kSocketIdDigitsMax) return std::nullopt;
  if (!text.empty()) {
    boost::system::error_code error;
    packet.data = describe::parse_exact_json(text, error, {.depth_max = kSocketDepthMax});
    if (error || packet.data.is_null()) return std::nullopt;
  }
  if (!fits(packet.type, packet.data)) return std::nullopt;
  return packet;
}

std::string event_packet(std::string_view name, std::string_view data, std::string_view offset) {
  std::string text;
  text.reserve(name.size() + data.size() + offset.size() + 16);
  text.append("42[");
  append_json_string(text, name);
  text.append(",").append(data);
  if (!offset.empty()) {
    text.push_back(',');
    append_json_string(text, offset);
  }
  text.push_back(']');
  return text;
}

std::string ack_packet(std::string_view id) { return std::string("43").append(id).append("[]"); }

std::string connect_packet(std::string_view sid, std::string_view pid) {
  std::string text = "40";
  JsonWriter json(text);
  json.begin_object();
  json.member("sid", sid);
  if (!pid.empty()) json.member("pid", pid);
  json.end_object();
  return text;
}

std::string connect_error_packet(std::string_view space, std::string_view message) {
  std::string text = "44";
  if (space != "/") text.append(space).push_back(',');
  JsonWriter json(text);
  json.begin_object();
  json.member("message", message);
  json.end_object();
  return text;
}

std::string disconnect_packet() { return "41"; }

}  // namespace subforge::realtime
