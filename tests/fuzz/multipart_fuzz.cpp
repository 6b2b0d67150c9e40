// The parser of multipart/form-data: whatever bytes come, in whatever pieces, it yields the same
// parts, holds no more than a header, and stops at the first error.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "http/multipart.hpp"

namespace {

using subforge::http::MultipartParser;

constexpr std::string_view kType = "multipart/form-data; boundary=b";

// All that the parser says, with neighbouring data put together.
std::string told_of(std::string_view bytes, std::size_t piece) {
  auto parser = MultipartParser::of(kType);
  if (!parser) std::abort();
  std::string told;
  bool in_data = false;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    auto input = bytes.substr(at, piece);
    for (bool more = true; more;) {
      auto const step = parser->next(input);
      bool const data = step.kind == MultipartParser::Kind::data;
      if (data && step.data.empty()) std::abort();
      if (data && !in_data) told += "D";
      if (step.kind != MultipartParser::Kind::need_more) in_data = data;
      switch (step.kind) {
        case MultipartParser::Kind::data: told += step.data; break;
        case MultipartParser::Kind::part:
          told += "P" + parser->part().name + "/" + parser->part().filename.value_or("-") + "/" +
                  parser->part().content_type;
          break;
        case MultipartParser::Kind::part_end: told += "E"; break;
        case MultipartParser::Kind::done: told += "F"; break;
        case MultipartParser::Kind::error: return told + "!" + parser->error();
        case MultipartParser::Kind::need_more:
          if (!input.empty()) std::abort();
          more = false;
      }
    }
  }
  auto const whole = parser->finish();
  return whole ? told : told + "!" + whole.error().message;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  if (size < 2) return 0;
  std::string_view const bytes(reinterpret_cast<char const*>(data) + 1, size - 1);
  if (told_of(bytes, bytes.size()) != told_of(bytes, 1 + data[0] % 32)) std::abort();
  [[maybe_unused]] auto const parts = subforge::http::parse_multipart(kType, bytes);
  return 0;
}
