// What a file is: by its name, by what the client says, and by what is in it. All of them have to
// agree before it is stored.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "files/file.hpp"
#include "files/structure.hpp"

namespace subforge::files {

class IncomingBlob;

inline constexpr std::size_t kNameBytesMax = 255;
inline constexpr std::size_t kSniffedBytes = 64U << 10;  // Of the beginning.
// Of the end: where a ZIP archive ends, with the longest comment.
inline constexpr std::size_t kTailBytes = 22 + 0xffff;
// Pixels that an image may have, since whoever shows it has to unpack them all.
inline constexpr std::int64_t kImagePixelsMax = 100'000'000;
// What a document that is an archive may unpack to: so many times its own size, but never more than
// the one and always as much as the other.
inline constexpr std::int64_t kUnpackedTimesMax = 100;
inline constexpr std::int64_t kUnpackedBytesMax = 1LL << 30;
inline constexpr std::int64_t kUnpackedBytesFree = 16LL << 20;

// The name without the path before it, which some browsers send. Error: invalid, with the reason.
[[nodiscard]] Result<std::string> clean_name(std::string_view sent);

// ".json", in lower case; empty for none.
[[nodiscard]] std::string extension_of(std::string_view name);
// All of them, for who named none.
[[nodiscard]] std::string file_type_names();

// Error: invalid, with the reason, for an extension that files of this type do not have.
[[nodiscard]] Result<void> check_extension(std::string_view name, FileType type);
// The same for the type that the client declares; none is fine.
[[nodiscard]] Result<void> check_declared(std::string_view name, std::string_view declared);

struct ImageSize {
  std::int64_t width = 0;
  std::int64_t height = 0;
};

struct Content {
  std::string mime_type;
  std::optional<ImageSize> image = {};
};

// A content, and what is looked at most.
struct Sample {
  std::string_view head;  // Its first kSniffedBytes.
  std::string_view tail;  // Its last kTailBytes.
  Bytes content;          // All of it.
  bool has_nul = false;   // Anywhere.
};
[[nodiscard]] Result<Content> inspect(Sample const& sample, std::string_view name);

// Looks at what has arrived. Error: invalid, with the reason, where that is not what the name says,
// or is something else as well. For the threads of a pool.
[[nodiscard]] Result<Content> inspect(IncomingBlob const& blob, std::string_view name);

// The size that the header of a PNG, JPEG or GIF tells; nothing where it is none, or is damaged.
[[nodiscard]] std::optional<ImageSize> image_size(std::string_view head);

}  // namespace subforge::files
