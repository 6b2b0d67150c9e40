// What a file is: whatever bytes come under whatever name, the same is found each time, and what is
// taken for an image or a text is nothing else besides.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/utf8.hpp"
#include "files/content.hpp"
#include "pieces.hpp"

namespace {

using subforge::fuzz::require;
namespace files = subforge::files;

// The first byte of the input says which: '0' and so on.
constexpr std::string_view kNames[] = {"a.json", "a.yaml", "a.csv", "a.txt", "a.log",
                                       "a.png",  "a.jpg",  "a.gif", "a.svg", "a.md",
                                       "a.pdf",  "a.doc",  "a.docx"};

subforge::Result<files::Content> look_at(std::string_view content, std::string_view name) {
  auto const tail_bytes = std::min(content.size(), files::kTailBytes);
  auto const read = [&](std::int64_t offset, std::size_t bytes) {
    auto const at = std::min(static_cast<std::size_t>(offset), content.size());
    return std::string(content.substr(at, bytes));
  };
  files::Sample const sample{content.substr(0, files::kSniffedBytes),
                             content.substr(content.size() - tail_bytes),
                             {static_cast<std::int64_t>(content.size()), read},
                             content.find('\0') != std::string_view::npos};
  return files::inspect(sample, name);
}

bool is_image(files::Content const& content) {
  return content.mime_type == "image/png" || content.mime_type == "image/jpeg" ||
         content.mime_type == "image/gif";
}

void check_content(std::string const& content, std::string_view name) {
  auto const found = look_at(content, name);
  auto const again = look_at(content, name);
  require(found.has_value() == again.has_value());
  if (!found) {
    require(!found.error().message.empty() && found.error().message == again.error().message);
    return;
  }
  require(found->image.has_value() == is_image(*found));
  if (found->image) {
    auto const& size = *found->image;
    require(size.width > 0 && size.height > 0);
    require(size.width <= files::kImagePixelsMax / size.height);
    // An image ends where it says, so that nothing can hide behind it.
    require(!look_at(content + "#", name));
  }
  if (found->mime_type.starts_with("text/")) require(content.find('\0') == std::string::npos);
  // An archive that was put behind it is found, with a comment behind that as well.
  std::string const archive = std::string("PK\5\6") + std::string(16, '\0');
  if (!name.ends_with(".docx")) {
    require(!look_at(content + archive + std::string(2, '\0'), name));
    require(!look_at(content + archive + std::string("\6\0", 2) + "PK\5\6--", name));
  }
}

void check_name(std::string const& sent) {
  auto const name = files::clean_name(sent);
  if (!name) return require(!name.error().message.empty());
  require(!name->empty() && *name != "." && *name != ".." && sent.ends_with(*name));
  require(name->find_first_of("/\\") == std::string::npos && name->size() <= files::kNameBytesMax);
  require(name->find('\0') == std::string::npos && subforge::is_valid_utf8(*name));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  if (size == 0) return 0;
  std::string const content(reinterpret_cast<char const*>(data) + 1, size - 1);
  auto const which = static_cast<std::size_t>(data[0]) - '0';
  check_content(content, kNames[which % std::size(kNames)]);
  check_name(content);
  return 0;
}
