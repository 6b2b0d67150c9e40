// Whether a content is built from its beginning to its end as its form asks for, and what else is
// in it. A form is more than the few bytes that it begins with.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/function_ref.hpp"

namespace subforge::files {

// A content that can be looked at anywhere; read() gives fewer bytes at the end.
struct Bytes {
  std::int64_t size = 0;
  FunctionRef<std::string(std::int64_t offset, std::size_t bytes)> read;
};

// Each chunk, block or segment up to the last, which ends the content. A JPEG may have others
// behind it, as cameras write them.
[[nodiscard]] bool is_whole_png(Bytes const& content);
[[nodiscard]] bool is_whole_gif(Bytes const& content);
[[nodiscard]] bool is_whole_jpeg(Bytes const& content);

// Width and height by the frame header of a JPEG, however much stands before it.
[[nodiscard]] std::optional<std::pair<std::int64_t, std::int64_t>> jpeg_frame(Bytes const& content);

// Whether the root element is `svg`, with nothing but a prolog, comments and a type before it.
[[nodiscard]] bool has_svg_root(std::string_view head);

// Whether browsers would take it for a page (https://mimesniff.spec.whatwg.org section 7.1,
// whatever prolog, comments and blanks stand before), or nothing but those is to be seen of it.
[[nodiscard]] bool begins_as_html(std::string_view head);

// Readers find a ZIP archive from its end, whatever stands before it and behind it. `tail` is the
// end of the content.
[[nodiscard]] bool ends_as_zip(Bytes const& content, std::string_view tail);
// Whether the archive's own directory has what a Word document has, no program, and no name that
// leads out of it, and nothing stands behind it.
[[nodiscard]] bool is_docx(Bytes const& content, std::string_view tail);
// What the archive unpacks to, by its own directory.
[[nodiscard]] std::int64_t unpacked_zip_bytes(Bytes const& content, std::string_view tail);
// An OLE file with a sane header, in whose directory there is a Word document.
[[nodiscard]] bool is_word_file(Bytes const& content);

// The name of a kind of archive that is somewhere in the content, and found there by its readers;
// empty for none.
[[nodiscard]] std::string_view archive_inside(Bytes const& content);

}  // namespace subforge::files
