#include "files/structure.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/text.hpp"
#include "base/utf8.hpp"

namespace subforge::files {
namespace {

constexpr std::size_t kCursorBytes = 64U << 10;

std::uint32_t little_endian(std::string_view bytes) {
  std::uint32_t value = 0;
  for (auto i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<std::uint8_t>(bytes[i]);
  return value;
}

std::uint32_t big_endian(std::string_view bytes) {
  std::uint32_t value = 0;
  for (char const c : bytes) value = value << 8 | static_cast<std::uint8_t>(c);
  return value;
}

// Goes through a content from its beginning.
class Cursor {
 public:
  explicit Cursor(Bytes const& content) : content_(content) {}

  [[nodiscard]] bool at_end() const { return at_ == content_.size; }
  // False beyond the end.
  bool skip(std::int64_t bytes) {
    if (bytes > content_.size - at_) return false;
    at_ += bytes;
    return true;
  }
  // The next byte; -1 at the end.
  int next() {
    if (!fill()) return -1;
    return static_cast<std::uint8_t>(block_[static_cast<std::size_t>(at_++ - begin_)]);
  }
  // Fewer at the end.
  std::string take(std::size_t bytes) {
    std::string taken;
    for (int byte = 0; taken.size() < bytes && (byte = next()) >= 0;) {
      taken.push_back(static_cast<char>(byte));
    }
    return taken;
  }
  // To behind the next byte of this value; false if there is none.
  bool skip_past(char byte) {
    while (fill()) {
      auto const found = block_.find(byte, static_cast<std::size_t>(at_ - begin_));
      if (found != std::string::npos) {
        at_ = begin_ + static_cast<std::int64_t>(found) + 1;
        return true;
      }
      at_ = begin_ + static_cast<std::int64_t>(block_.size());
    }
    return false;
  }

 private:
  // Whether the byte at at_ is in the block.
  bool fill() {
    if (at_ >= begin_ && at_ < begin_ + static_cast<std::int64_t>(block_.size())) return true;
    if (at_ >= content_.size) return false;
    begin_ = at_;
    block_ = content_.read(at_, kCursorBytes);
    return !block_.empty();
  }

  Bytes const& content_;
  std::int64_t at_ = 0;
  std::int64_t begin_ = 0;
  std::string block_;
};

// --- GIF

// Blocks of up to 255 bytes, up to one of none.
bool skip_sub_blocks(Cursor& cursor) {
  for (;;) {
    auto const bytes = cursor.next();
    if (bytes < 0 || !cursor.skip(bytes)) return false;
    if (bytes == 0) return true;
  }
}

// The table of colours that the flags announce.
bool skip_colours(Cursor& cursor, char flags) {
  auto const bits = static_cast<std::uint8_t>(flags);
  return (bits & 0x80U) == 0 || cursor.skip(3LL << ((bits & 7U) + 1));
}

// --- JPEG

constexpr int kJpegStart = 0xd8;
constexpr int kJpegEnd = 0xd9;
constexpr int kJpegScan = 0xda;
// The segment in which cameras announce that smaller pictures stand behind (CIPA DC-007).
constexpr int kJpegPictures = 0xe2;
constexpr std::string_view kPictures("MPF\0", 4);

bool is_bare(int marker) { return marker == 0x01 || (marker >= 0xd0 && marker <= 0xd7); }

// Behind a 0xff: what it marks, however many of them there are. -1 at the end.
int take_marker(Cursor& cursor) {
  int marker = cursor.next();
  while (marker == 0xff) marker = cursor.next();
  return marker;
}

// To the marker that ends the data of a scan.
int skip_scan(Cursor& cursor) {
  while (cursor.skip_past('\xff')) {
    auto const marker = take_marker(cursor);
    if (marker != 0 && !is_bare(marker)) return marker;
  }
  return -1;
}

// From behind the first marker to behind the last one; what `more` becomes tells whether others
// may stand behind it.
bool skip_jpeg(Cursor& cursor, bool& more) {
  int marker = cursor.next() == 0xff ? take_marker(cursor) : -1;
  while (marker != kJpegEnd) {
    if (marker <= 0 || marker == kJpegStart) return false;
    if (!is_bare(marker)) {
      auto const length = cursor.take(2);
      if (length.size() < 2 || big_endian(length) < 2) return false;
      std::int64_t bytes = big_endian(length) - 2;
      if (marker == kJpegPictures && bytes >= std::ssize(kPictures)) {
        more = cursor.take(kPictures.size()) == kPictures || more;
        bytes -= std::ssize(kPictures);
      }
      if (!cursor.skip(bytes)) return false;
    }
    if (marker == kJpegScan) {
      marker = skip_scan(cursor);
    } else {
      marker = cursor.next() == 0xff ? take_marker(cursor) : -1;
    }
  }
  return true;
}

// --- SVG

void skip_blanks(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
}

// To behind `end`; nothing is left where it does not come.
void skip_to(std::string_view& text, std::string_view end) {
  auto const at = text.find(end);
  text.remove_prefix(at == std::string_view::npos ? text.size() : at + end.size());
}

// What stands before the root of a document: declarations and comments.
void skip_prolog(std::string_view& text) {
  for (;;) {
    skip_blanks(text);
    if (text.starts_with("<?")) {
      skip_to(text, "?>");
    } else if (text.starts_with("<!--")) {
      skip_to(text, "-->");
    } else {
      return;
    }
  }
}

// "svg", or that with a prefix, and no longer name that begins with it.
bool is_svg_name(std::string_view text) {
  auto name = text.substr(0, text.find_first_of(" \t\r\n/>["));
  if (name.size() == text.size()) return false;
  if (auto const colon = name.find(':'); colon != std::string_view::npos) {
    name.remove_prefix(colon + 1);
  }
  return name == "svg";
}

// A document type, which may hold declarations of its own.
void skip_doctype(std::string_view& text) {
  bool inside = false;  // Its brackets.
  while (!text.empty()) {
    char const c = text.front();
    if (text.starts_with("<!--")) {
      skip_to(text, "-->");
      continue;
    }
    text.remove_prefix(1);
    if (c == '"' || c == '\'') skip_to(text, {&c, 1});
    if (c == '[') inside = true;
    if (c == ']') inside = false;
    if (c == '>' && !inside) return;
  }
}

// --- Archives that are found anywhere

struct Mark {
  std::string_view bytes;
  std::string_view name;
};
constexpr Mark kMarks[] = {{"7z\xbc\xaf\x27\x1c", "7z"}, {"Rar!\x1a\x07", "RAR"}};
constexpr std::int64_t kMarkBytesMax = 6;
// Those of which readers look at one place alone.
constexpr std::pair<std::int64_t, Mark> kPlacedMarks[] = {{257, {"ustar", "TAR"}},
                                                          {32'769, {"CD001", "ISO 9660"}}};

std::string_view archive_mark_in(std::string_view block) {
  for (auto const& mark : kMarks) {
    if (block.contains(mark.bytes)) return mark.name;
  }
  return {};
}

// --- ZIP

constexpr std::size_t kZipEndBytes = 22;
constexpr std::size_t kZipCommentAt = 20;
constexpr std::size_t kZipEntryBytes = 46;
constexpr std::int64_t kZipDirectoryBytesMax = 8 << 20;
constexpr std::string_view kZipEnd("PK\5\6");
constexpr std::string_view kZipEntry("PK\1\2");
constexpr std::string_view kZip64Locator("PK\6\7");

struct ZipDirectory {
  std::int64_t offset = 0;
  std::int64_t bytes = 0;
  bool ends = true;  // Nothing stands behind it but its comment.
};

// The directory that the end mark at this place of the tail names, if there is one: readers count
// from the beginning, or back from the mark.
std::optional<ZipDirectory> zip_directory(Bytes const& content, std::string_view tail,
                                          std::size_t at) {
  if (tail.size() - at < kZipEndBytes) return std::nullopt;
  auto const mark = content.size - static_cast<std::int64_t>(tail.size() - at);
  std::int64_t const bytes = little_endian(tail.substr(at + 12, 4));
  std::int64_t const offset = little_endian(tail.substr(at + 16, 4));
  if (bytes == 0) return ZipDirectory{mark, 0};
  for (auto const begin : {mark - bytes, offset}) {
    if (begin >= 0 && begin < mark && content.read(begin, kZipEntry.size()) == kZipEntry) {
      return ZipDirectory{begin, std::min(bytes, mark - begin)};
    }
  }
  // A large archive has its own mark before this one.
  constexpr std::int64_t kLocatorBytes = 20;
  if (mark >= kLocatorBytes &&
      content.read(mark - kLocatorBytes, kZip64Locator.size()) == kZip64Locator) {
    return ZipDirectory{mark, 0};
  }
  return std::nullopt;
}

// Of the last end mark that has one, as readers look for it.
std::optional<ZipDirectory> last_zip_directory(Bytes const& content, std::string_view tail) {
  for (auto at = tail.rfind(kZipEnd); at != std::string_view::npos;
       at = at == 0 ? std::string_view::npos : tail.rfind(kZipEnd, at - 1)) {
    if (auto directory = zip_directory(content, tail, at)) {
      auto const rest = tail.substr(at);
      auto const comment = rest.substr(std::min(kZipEndBytes, rest.size()));
      directory->ends = comment.size() == little_endian(rest.substr(kZipCommentAt, 2)) &&
                        archive_mark_in(comment).empty();
      return directory;
    }
  }
  return std::nullopt;
}

// Calls see(name, bytes once it is unpacked) for each.
template <class See>
void each_zip_entry(Bytes const& content, ZipDirectory const& directory, See see) {
  auto const bytes = content.read(
      directory.offset, static_cast<std::size_t>(std::min(directory.bytes, kZipDirectoryBytesMax)));
  for (std::string_view rest(bytes);
       rest.size() >= kZipEntryBytes && rest.starts_with(kZipEntry);) {
    auto const name = rest.substr(kZipEntryBytes, little_endian(rest.substr(28, 2)));
    see(name, std::int64_t{little_endian(rest.substr(24, 4))});
    auto const more = little_endian(rest.substr(30, 2)) + little_endian(rest.substr(32, 2));
    rest.remove_prefix(std::min(kZipEntryBytes + name.size() + more, rest.size()));
  }
}

// What makes an archive something that is run: an archive of Java, of Android, macros.
bool is_program_name(std::string_view name) {
  constexpr std::string_view kWhole[] = {"meta-inf/manifest.mf", "androidmanifest.xml"};
  constexpr std::string_view kEnds[] = {"vbaproject.bin", ".class", ".dex", ".exe",
                                        ".dll",           ".js",    ".vbs"};
  auto const lower = to_lower(name);
  return std::ranges::find(kWhole, lower) != std::end(kWhole) ||
         std::ranges::any_of(kEnds, [&](auto const end) { return lower.ends_with(end); });
}

// Whoever unpacks it carelessly writes elsewhere.
bool leads_outside(std::string_view name) {
  return name.starts_with('/') || name.contains('\\') || name.contains(':') ||
         name.starts_with("../") || name.contains("/../");
}

// --- OLE

constexpr std::size_t kOleEntryBytes = 128;
constexpr int kOleSectorsMax = 1024;  // Of its directory.
constexpr std::uint32_t kOleFatInHeader = 109;

}  // namespace

bool is_whole_png(Bytes const& content) {
  Cursor cursor(content);
  if (!cursor.skip(8)) return false;
  for (;;) {
    auto const head = cursor.take(8);
    if (head.size() < 8 || !cursor.skip(std::int64_t{big_endian(head.substr(0, 4))} + 4))
      return false;
    auto const type = std::string_view(head).substr(4);
    bool const letters = std::ranges::all_of(
        type, [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); });
    if (!letters) return false;
    if (type == "IEND") return cursor.at_end();
  }
}

bool is_whole_gif(Bytes const& content) {
  Cursor cursor(content);
  auto const head = cursor.take(13);
  if (head.size() < 13 || !skip_colours(cursor, head[10])) return false;
  for (;;) {
    switch (cursor.next()) {
      case ';': return cursor.at_end();
      case '!':
        if (cursor.next() < 0 || !skip_sub_blocks(cursor)) return false;
        break;
      case ',': {
        auto const image = cursor.take(9);
        if (image.size() < 9 || !skip_colours(cursor, image[8])) return false;
        if (cursor.next() < 0 || !skip_sub_blocks(cursor)) return false;
        break;
      }
      default: return false;
    }
  }
}

bool is_whole_jpeg(Bytes const& content) {
  Cursor cursor(content);
  bool more = false;
  while (cursor.take(2) == "\xff\xd8") {
    if (!skip_jpeg(cursor, more)) return false;
    if (cursor.at_end()) return true;
    if (!more) return false;
  }
  return false;
}

std::optional<std::pair<std::int64_t, std::int64_t>> jpeg_frame(Bytes const& content) {
  Cursor cursor(content);
  if (cursor.take(2) != "\xff\xd8") return std::nullopt;
  for (;;) {
    auto const marker = cursor.next() == 0xff ? take_marker(cursor) : -1;
    if (marker <= 0 || marker == kJpegStart || marker == kJpegEnd) return std::nullopt;
    if (is_bare(marker)) continue;
    bool const frame =
        marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
    auto const head = cursor.take(frame ? 7 : 2);
    if (head.size() < 2 || big_endian(head.substr(0, 2)) < 2) return std::nullopt;
    if (frame) {
      if (head.size() < 7) return std::nullopt;
      return std::pair{std::int64_t{big_endian(head.substr(5, 2))},
                       std::int64_t{big_endian(head.substr(3, 2))}};
    }
    if (!cursor.skip(big_endian(head.substr(0, 2)) - 2)) return std::nullopt;
  }
}

bool has_svg_root(std::string_view head) {
  constexpr std::string_view kDoctype("<!DOCTYPE");
  head = without_byte_order_mark(head);
  for (;;) {
    skip_prolog(head);
    if (!head.starts_with(kDoctype)) return head.starts_with('<') && is_svg_name(head.substr(1));
    head.remove_prefix(kDoctype.size());
    skip_blanks(head);
    if (!is_svg_name(head)) return false;
    skip_doctype(head);
  }
}

bool begins_as_html(std::string_view head) {
  constexpr std::string_view kTags[] = {
      "!doctype html", "html",  "head", "script", "iframe", "h1", "div", "font", "table", "a",
      "style",         "title", "b",    "body",   "br",     "p",  "img"};
  bool const comment = without_byte_order_mark(head).find("<!--") != std::string_view::npos;
  auto rest = without_byte_order_mark(head);
  skip_prolog(rest);
  if (rest.empty()) return comment;
  if (!rest.starts_with('<')) return false;
  rest.remove_prefix(1);
  return std::ranges::any_of(kTags, [&](std::string_view tag) {
    auto const after = rest.substr(std::min(tag.size(), rest.size()));
    return equal_ignoring_case(rest.substr(0, tag.size()), tag) && !after.empty() &&
           std::string_view(" \t\r\n\f/>").contains(after.front());
  });
}

bool ends_as_zip(Bytes const& content, std::string_view tail) {
  return last_zip_directory(content, tail).has_value();
}

bool is_docx(Bytes const& content, std::string_view tail) {
  auto const directory = last_zip_directory(content, tail);
  if (!directory || !directory->ends || directory->bytes > kZipDirectoryBytesMax) return false;
  bool types = false;
  bool word = false;
  bool more = false;
  each_zip_entry(content, *directory, [&](std::string_view name, std::int64_t) {
    types = types || name == "[Content_Types].xml";
    word = word || name.starts_with("word/");
    more = more || is_program_name(name) || leads_outside(name);
  });
  return types && word && !more;
}

std::int64_t unpacked_zip_bytes(Bytes const& content, std::string_view tail) {
  std::int64_t sum = 0;
  if (auto const directory = last_zip_directory(content, tail)) {
    each_zip_entry(content, *directory,
                   [&](std::string_view, std::int64_t bytes) { sum += bytes; });
  }
  return sum;
}

bool is_word_file(Bytes const& content) {
  constexpr std::string_view kName("W\0o\0r\0d\0D\0o\0c\0u\0m\0e\0n\0t\0\0\0", 26);
  auto const header = content.read(0, 512);
  if (header.size() < 512) return false;
  auto const number = [](std::string_view bytes, std::size_t at, std::size_t size) {
    return little_endian(bytes.substr(at, size));
  };
  auto const version = number(header, 26, 2);
  auto const shift = number(header, 30, 2);
  bool const sane = number(header, 28, 2) == 0xfffe && number(header, 32, 2) == 6 &&
                    ((version == 3 && shift == 9) || (version == 4 && shift == 12));
  if (!sane) return false;
  auto const sector_bytes = std::size_t{1} << shift;
  auto const place_of = [&](std::uint32_t sector) {
    return (std::int64_t{sector} + 1) * static_cast<std::int64_t>(sector_bytes);
  };
  auto sector = number(header, 48, 4);
  for (int i = 0; i < kOleSectorsMax; ++i) {
    auto const entries = content.read(place_of(sector), sector_bytes);
    for (std::size_t at = 0; at + kOleEntryBytes <= entries.size(); at += kOleEntryBytes) {
      if (std::string_view(entries).substr(at).starts_with(kName)) return true;
    }
    // The next one, by the table of sectors; where its parts are, the header tells of the first.
    auto const per_sector = static_cast<std::uint32_t>(sector_bytes / 4);
    if (entries.size() < sector_bytes || sector / per_sector >= kOleFatInHeader) return false;
    auto const table = number(header, 76 + 4 * std::size_t{sector / per_sector}, 4);
    auto const next = content.read(place_of(table) + 4LL * (sector % per_sector), 4);
    if (next.size() < 4) return false;
    sector = little_endian(next);
  }
  return false;
}

std::string_view archive_inside(Bytes const& content) {
  for (auto const& [at, mark] : kPlacedMarks) {
    if (content.read(at, mark.bytes.size()) == mark.bytes) return mark.name;
  }
  constexpr auto kStep = static_cast<std::int64_t>(4 * kCursorBytes);
  for (std::int64_t at = 0; at < content.size; at += kStep) {
    auto const block = content.read(at, static_cast<std::size_t>(kStep + kMarkBytesMax - 1));
    if (auto const name = archive_mark_in(block); !name.empty()) return name;
  }
  return {};
}

}  // namespace subforge::files
