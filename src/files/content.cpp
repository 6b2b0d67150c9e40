#include "files/content.hpp"

#include <magic.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <span>

#include <fmt/format.h>

#include "base/text.hpp"
#include "base/utf8.hpp"
#include "files/blob_store.hpp"
#include "files/structure.hpp"

namespace subforge::files {
namespace {

using Texts = std::span<std::string_view const>;

constexpr std::string_view kJson[] = {"application/json", "text/json", "text/plain",
                                      "application/ld+json", "application/x-ndjson"};
constexpr std::string_view kYaml[] = {"application/yaml", "application/x-yaml", "text/yaml",
                                      "text/x-yaml",      "text/vnd.yaml",      "text/plain"};
constexpr std::string_view kCsv[] = {"text/csv", "application/csv", "application/vnd.ms-excel",
                                     "text/plain", "text/x-csv"};
constexpr std::string_view kText[] = {"text/plain"};
constexpr std::string_view kLog[] = {"text/plain", "text/x-log", "application/x-log"};
constexpr std::string_view kPng[] = {"image/png", "image/x-png"};
constexpr std::string_view kJpeg[] = {"image/jpeg", "image/jpg", "image/pjpeg"};
constexpr std::string_view kGif[] = {"image/gif"};
constexpr std::string_view kSvg[] = {"image/svg+xml"};
constexpr std::string_view kMarkdown[] = {"text/markdown", "text/x-markdown", "text/plain"};
constexpr std::string_view kPdf[] = {"application/pdf", "application/x-pdf"};
constexpr std::string_view kDoc[] = {"application/msword"};
constexpr std::string_view kDocx[] = {
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document"};

// How the beginning of a file is recognised, where that can be told without a doubt.
enum class Form : std::uint8_t { text, svg, png, jpeg, gif, pdf, ole, docx };

struct Kind {
  std::string_view extension;
  FileType type;
  Texts declared;  // The first one is what it is served as, unless its content says more.
  Form form;
};

using enum FileType;
constexpr Kind kKinds[] = {
    {".json", agent_configs, kJson, Form::text}, {".yaml", agent_configs, kYaml, Form::text},
    {".yml", agent_configs, kYaml, Form::text},  {".csv", data_files, kCsv, Form::text},
    {".json", data_files, kJson, Form::text},    {".txt", data_files, kText, Form::text},
    {".log", data_files, kLog, Form::text},      {".png", images, kPng, Form::png},
    {".jpg", images, kJpeg, Form::jpeg},         {".jpeg", images, kJpeg, Form::jpeg},
    {".gif", images, kGif, Form::gif},           {".svg", images, kSvg, Form::svg},
    {".md", documents, kMarkdown, Form::text},   {".pdf", documents, kPdf, Form::pdf},
    {".doc", documents, kDoc, Form::ole},        {".docx", documents, kDocx, Form::docx},
};

Kind const* kind_of(std::string_view name) {
  auto const extension = extension_of(name);
  auto const* const found = std::ranges::find(kKinds, extension, &Kind::extension);
  return found == std::end(kKinds) ? nullptr : found;
}

std::unexpected<Error> wrong(std::string reason) {
  return fail(ErrorCode::invalid, std::move(reason));
}

// --- What the content looks like

constexpr std::string_view kOleMagic("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1");

// What libmagic gets: of many empty lines its expressions make work that grows with the square.
constexpr std::size_t kMagicBytes = 4U << 10;
constexpr std::size_t kRegexBytes = 512;

// Of libmagic, whose cookies are for one thread each. Texts and lists of texts only: nothing is
// unpacked, and no other program is asked.
std::string sniff(std::string_view head) {
  // Of an OLE file it wants the directory, which may be anywhere.
  if (!head.starts_with(kOleMagic)) head = head.substr(0, kMagicBytes);
  struct Close {
    void operator()(magic_t cookie) const { ::magic_close(cookie); }
  };
  thread_local std::unique_ptr<std::remove_pointer_t<magic_t>, Close> const cookie = [] {
    auto* const opened =
        ::magic_open(MAGIC_MIME_TYPE | MAGIC_NO_CHECK_COMPRESS | MAGIC_NO_CHECK_ELF);
    if (opened != nullptr && ::magic_load(opened, nullptr) != 0) {
      ::magic_close(opened);
      return std::unique_ptr<std::remove_pointer_t<magic_t>, Close>();
    }
    std::size_t regex_bytes = kRegexBytes;
    if (opened != nullptr) (void)::magic_setparam(opened, MAGIC_PARAM_REGEX_MAX, &regex_bytes);
    return std::unique_ptr<std::remove_pointer_t<magic_t>, Close>(opened);
  }();
  if (cookie == nullptr) return {};
  auto const* const type = ::magic_buffer(cookie.get(), head.data(), head.size());
  return type != nullptr ? type : "";
}

std::string read_at(int fd, std::int64_t offset, std::size_t bytes) {
  std::string text(bytes, '\0');
  std::size_t have = 0;
  while (have < bytes) {
    auto const got =
        ::pread(fd, text.data() + have, bytes - have, offset + static_cast<off_t>(have));
    if (got <= 0) break;
    have += static_cast<std::size_t>(got);
  }
  text.resize(have);
  return text;
}

std::uint32_t little32(std::string_view bytes) {
  std::uint32_t value = 0;
  for (std::size_t i = 4; i-- > 0;) value = value << 8 | static_cast<std::uint8_t>(bytes[i]);
  return value;
}

std::uint32_t big(std::string_view bytes) {
  std::uint32_t value = 0;
  for (char const c : bytes) value = value << 8 | static_cast<std::uint8_t>(c);
  return value;
}

// Readers look for the beginning of a PDF among the first bytes, not only before them.
bool begins_as_pdf(std::string_view head) {
  constexpr std::size_t kLookedAt = 1024;
  return head.substr(0, kLookedAt).find("%PDF-") != std::string_view::npos;
}

bool looks_like_html(std::string_view head, std::string_view sniffed) {
  return sniffed == "text/html" || sniffed == "application/xhtml+xml" || begins_as_html(head);
}

bool is_readable(std::string_view text) {
  Utf8Validator utf8;
  bool const control = std::ranges::any_of(text, [](char c) {
    return static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n' && c != '\r' && c != '\f';
  });
  return !control && utf8.feed(text);
}

// What libmagic calls texts.
bool is_text_type(std::string_view sniffed) {
  constexpr std::string_view kTypes[] = {"inode/x-empty",   "application/json",
                                         "application/csv", "application/x-ndjson",
                                         "message/rfc822",  "application/javascript"};
  return sniffed.starts_with("text/") || std::ranges::find(kTypes, sniffed) != std::end(kTypes);
}

// Of letters alone, and yet something else that a program opens.
bool is_other_form(std::string_view sniffed) {
  constexpr std::string_view kTypes[] = {"application/pdf", "application/postscript",
                                         "application/x-archive", "application/x-shar", "text/rtf"};
  return std::ranges::find(kTypes, sniffed) != std::end(kTypes);
}

Result<void> check_text(Sample const& sample, Kind const& kind, std::string_view sniffed) {
  auto const head = sample.head;
  bool const markdown = kind.extension == ".md";
  if (!markdown && looks_like_html(head, sniffed)) return wrong("the content is HTML");
  if (sniffed == "image/svg+xml" || has_svg_root(head)) return wrong("the content is SVG");
  // One that is very short, or of no known kind, is what it looks like.
  if (is_other_form(sniffed) || (!is_text_type(sniffed) && !is_readable(head))) {
    return wrong(fmt::format("the content is {}, not text", sniffed));
  }
  if (sample.has_nul) return wrong("the content is not text");
  return {};
}

// What libmagic calls an OLE file, where it can tell no more of it than that.
bool is_ole_type(std::string_view sniffed) {
  constexpr std::string_view kTypes[] = {"application/msword", "application/x-ole-storage",
                                         "application/CDFV2", "application/vnd.ms-office"};
  return std::ranges::find(kTypes, sniffed) != std::end(kTypes);
}

// How it begins.
bool begins_as(Form form, std::string_view head) {
  switch (form) {
    case Form::png: return head.starts_with("\x89PNG\r\n\x1a\n");
    case Form::jpeg: return head.starts_with("\xff\xd8\xff");
    case Form::gif: return head.starts_with("GIF87a") || head.starts_with("GIF89a");
    case Form::pdf: return head.starts_with("%PDF-");
    case Form::ole: return head.starts_with(kOleMagic);
    case Form::docx: return head.starts_with("PK\3\4");
    case Form::svg: return has_svg_root(head);
    case Form::text: return true;
  }
  return false;
}

bool has_form(Form form, Sample const& sample, std::string_view sniffed) {
  if (!begins_as(form, sample.head)) return false;
  if (form == Form::svg) return !sample.has_nul;
  if (form == Form::docx) return is_docx(sample.content, sample.tail);
  if (form == Form::ole) return is_ole_type(sniffed) && is_word_file(sample.content);
  return true;
}

// Whether it ends as it has to by its own account; what comes behind is something else.
bool ends_whole(Form form, std::string_view tail) {
  switch (form) {
    case Form::png: return tail.ends_with(std::string_view("IEND\xae\x42\x60\x82"));
    case Form::jpeg: return tail.ends_with("\xff\xd9");
    case Form::gif: return tail.ends_with(";");
    case Form::pdf: return tail.find("%%EOF") != std::string_view::npos;
    default: return true;
  }
}

// Whether it is so built up to there.
bool is_whole(Form form, Bytes const& content) {
  switch (form) {
    case Form::png: return is_whole_png(content);
    case Form::jpeg: return is_whole_jpeg(content);
    case Form::gif: return is_whole_gif(content);
    default: return true;
  }
}

std::string_view form_name(Form form) {
  constexpr std::string_view kNames[] = {"text", "SVG", "PNG",     "JPEG",
                                         "GIF",  "PDF", "MS Word", "DOCX"};
  return kNames[static_cast<std::size_t>(form)];
}

std::optional<ImageSize> png_size(std::string_view head) {
  if (head.size() < 24 || big(head.substr(8, 4)) != 13 || head.substr(12, 4) != "IHDR") return {};
  return ImageSize{big(head.substr(16, 4)), big(head.substr(20, 4))};
}

std::optional<ImageSize> gif_size(std::string_view head) {
  if (head.size() < 10) return {};
  return ImageSize{little32(std::string(head.substr(6, 2)) + std::string(2, '\0')),
                   little32(std::string(head.substr(8, 2)) + std::string(2, '\0'))};
}

std::optional<ImageSize> jpeg_size(Bytes const& content) {
  auto const frame = jpeg_frame(content);
  if (!frame) return std::nullopt;
  return ImageSize{frame->first, frame->second};
}

Result<std::optional<ImageSize>> check_image(Form form, Sample const& sample) {
  auto const head = sample.head;
  bool const image = form == Form::png || form == Form::jpeg || form == Form::gif;
  if (!image) return std::nullopt;
  if (begins_as_pdf(head)) return wrong("the content is a PDF as well");
  auto const size = form == Form::jpeg ? jpeg_size(sample.content) : image_size(head);
  if (!size || size->width <= 0 || size->height <= 0) {
    return wrong(fmt::format("the {} is damaged: its header tells no size", form_name(form)));
  }
  if (size->width > kImagePixelsMax / size->height) {
    return wrong(fmt::format("the image has {} x {} pixels, more than {} in all", size->width,
                             size->height, kImagePixelsMax));
  }
  return size;
}

Result<void> check_unpacked(Sample const& sample) {
  auto const packed = sample.content.size;
  auto const unpacked = unpacked_zip_bytes(sample.content, sample.tail);
  auto const most = std::min(kUnpackedTimesMax * packed, kUnpackedBytesMax);
  if (unpacked <= std::max(most, kUnpackedBytesFree)) return {};
  return wrong(
      fmt::format("the content is a ZIP bomb: its {} bytes unpack to {}", packed, unpacked));
}

}  // namespace

Result<std::string> clean_name(std::string_view sent) {
  auto const name = sent.substr(sent.find_last_of("/\\") + 1);
  if (name.empty() || name == "." || name == "..") return wrong("the file has no name");
  if (name.size() > kNameBytesMax) {
    return wrong(fmt::format("the name is longer than {} bytes", kNameBytesMax));
  }
  if (!is_valid_utf8(name)) return wrong("the name is not UTF-8");
  bool const control = std::ranges::any_of(
      name, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  if (control) return wrong("the name has control characters");
  return std::string(name);
}

std::string extension_of(std::string_view name) {
  auto const dot = name.rfind('.');
  if (dot == std::string_view::npos || dot == 0) return {};
  return to_lower(name.substr(dot));
}

std::string file_type_names() {
  std::string all;
  for (auto const& [type, name] : names_of(FileType{})) {
    all.append(all.empty() ? "" : ", ").append(name);
  }
  return all;
}

Result<void> check_extension(std::string_view name, FileType type) {
  auto const extension = extension_of(name);
  std::string allowed;
  for (auto const& kind : kKinds) {
    if (kind.type != type) continue;
    if (kind.extension == extension) return {};
    allowed.append(allowed.empty() ? "" : ", ").append(kind.extension);
  }
  return wrong(fmt::format("extension '{}' is not allowed for {}. Allowed: {}", extension,
                           describe::to_text(type), allowed));
}

Result<void> check_declared(std::string_view name, std::string_view declared) {
  auto const type = to_lower(trim(declared.substr(0, declared.find(';'))));
  if (type.empty() || type == "application/octet-stream") return {};
  auto const* const kind = kind_of(name);
  if (kind == nullptr || std::ranges::find(kind->declared, type) != kind->declared.end()) return {};
  return wrong(
      fmt::format("its type is declared as {}, which {} files do not have", type, kind->extension));
}

std::optional<ImageSize> image_size(std::string_view head) {
  if (begins_as(Form::png, head)) return png_size(head);
  if (begins_as(Form::gif, head)) return gif_size(head);
  if (begins_as(Form::jpeg, head)) {
    auto const read = [&](std::int64_t offset, std::size_t bytes) {
      return std::string(
          head.substr(std::min(static_cast<std::size_t>(offset), head.size()), bytes));
    };
    return jpeg_size({std::ssize(head), read});
  }
  return std::nullopt;
}

Result<Content> inspect(IncomingBlob const& blob, std::string_view name) {
  auto const head = read_at(blob.descriptor(), 0, kSniffedBytes);
  auto const before_tail = blob.size() - static_cast<std::int64_t>(kTailBytes);
  auto const tail = read_at(blob.descriptor(), std::max<std::int64_t>(before_tail, 0), kTailBytes);
  auto const read = [&](std::int64_t offset, std::size_t bytes) {
    return read_at(blob.descriptor(), offset, bytes);
  };
  return inspect(Sample{head, tail, {blob.size(), read}, blob.has_nul()}, name);
}

Result<Content> inspect(Sample const& sample, std::string_view name) {
  auto const* const kind = kind_of(name);
  if (kind == nullptr) return Content{"application/octet-stream"};
  auto const head = sample.head;
  auto const tail = sample.tail;
  auto const sniffed = sniff(head);
  if (!has_form(kind->form, sample, sniffed)) {
    auto const what = sniffed.empty() || sniffed == "application/octet-stream"
                          ? std::string("something else")
                          : sniffed;
    return wrong(fmt::format("the content is {}, not {}", what, form_name(kind->form)));
  }
  if (kind->form == Form::docx) {
    if (auto small = check_unpacked(sample); !small) return std::unexpected(small.error());
  } else if (ends_as_zip(sample.content, tail)) {
    return wrong("the content is a ZIP archive as well");
  }
  // Texts cannot hold one, and in that which is one others may be packed.
  bool const may_hold =
      kind->form != Form::text && kind->form != Form::svg && kind->form != Form::docx;
  if (auto const archive = may_hold ? archive_inside(sample.content) : ""; !archive.empty()) {
    return wrong(fmt::format("the content is a {} archive as well", archive));
  }
  auto const cut_off = [&] {
    return wrong(fmt::format("the {} is cut off, or something stands behind its end",
                             form_name(kind->form)));
  };
  if (!ends_whole(kind->form, tail)) return cut_off();
  if (kind->form == Form::text) {
    if (auto text = check_text(sample, *kind, sniffed); !text) {
      return std::unexpected(text.error());
    }
  }
  auto image = check_image(kind->form, sample);
  if (!image) return std::unexpected(image.error());
  if (!is_whole(kind->form, sample.content)) return cut_off();
  return Content{std::string(kind->declared.front()), *image};
}

}  // namespace subforge::files
