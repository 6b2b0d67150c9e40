#include "http/router.hpp"

#include <stdexcept>

namespace subforge::http {
namespace {

// Takes the first segment off `rest`, which begins behind a slash.
std::string_view next_segment(std::string_view& rest) {
  auto const end = std::min(rest.find('/'), rest.size());
  auto const segment = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return segment;
}

// Without the slash in front and one at the end.
std::string_view inner(std::string_view path) {
  if (path.starts_with('/')) path.remove_prefix(1);
  if (path.ends_with('/')) path.remove_suffix(1);
  return path;
}

}  // namespace

std::string_view method_name(net::Method method) {
  switch (method) {
    case net::Method::get: return "GET";
    case net::Method::head: return "HEAD";
    case net::Method::post: return "POST";
    case net::Method::put: return "PUT";
    case net::Method::patch: return "PATCH";
    case net::Method::del: return "DELETE";
    case net::Method::options: return "OPTIONS";
    case net::Method::other: break;
  }
  return "";
}

Router::Router(std::vector<Route> const& routes) : routes_(routes) {
  for (std::size_t i = 0; i < routes_.size(); ++i) insert(i);
}

Router::Node const* Router::Node::literal(std::string_view segment) const {
  for (auto const& [text, node] : literals) {
    if (text == segment) return node.get();
  }
  return nullptr;
}

Router::Node& Router::Node::add_literal(std::string_view segment) {
  for (auto const& [text, node] : literals) {
    if (text == segment) return *node;
  }
  return *literals.emplace_back(segment, std::make_unique<Node>()).second;
}

void Router::insert(std::size_t index) {
  auto const& route = routes_[index];
  auto* node = &root_;
  std::size_t parameters = 0;
  for (auto rest = inner(route.path); !rest.empty();) {
    auto const segment = next_segment(rest);
    if (!segment.starts_with('{')) {
      node = &node->add_literal(segment);
      continue;
    }
    ++parameters;
    if (node->parameter == nullptr) node->parameter = std::make_unique<Node>();
    node = node->parameter.get();
  }
  auto& slot = node->routes[static_cast<std::size_t>(route.method)];
  if (slot != kNone || parameters > PathValues::kMax ||
      parameters != route.path_parameters.size()) {
    throw std::logic_error("bad route: " + route.path + " (" + route.name + ")");
  }
  slot = index;
  if (!node->allow.empty()) node->allow += ", ";
  node->allow += method_name(route.method);
  if (route.method == net::Method::get) node->allow += ", HEAD";
}

Router::Node const* Router::walk(Node const& node, std::string_view rest, PathValues& values) {
  if (rest.empty()) return node.ends_here() ? &node : nullptr;
  auto after = rest;
  auto const segment = next_segment(after);
  if (auto const* literal = node.literal(segment)) {
    if (auto const* found = walk(*literal, after, values)) return found;
  }
  if (node.parameter == nullptr || segment.empty()) return nullptr;
  auto const at = values.count++;
  values.values[at] = segment;
  if (auto const* found = walk(*node.parameter, after, values)) return found;
  values.count = at;
  return nullptr;
}

Router::Match Router::find(net::Method method, std::string_view path) const {
  Match match;
  if (path.ends_with("//")) return match;  // One slash at the end is as good as none, two are not.
  auto const* node = walk(root_, inner(path), match.values);
  if (node == nullptr) return match;
  match.path_known = true;
  match.allow = node->allow;
  if (method == net::Method::head) method = net::Method::get;
  if (method == net::Method::other) return match;
  auto const index = node->routes[static_cast<std::size_t>(method)];
  if (index == kNone) return match;
  match.route = &routes_[index];
  match.index = index;
  return match;
}

}  // namespace subforge::http
