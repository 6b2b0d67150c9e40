// Compression of answers: which coding a client wants (RFC 9110 section 12.5.3), and gzip
// (RFC 1952) and brotli (RFC 7932) themselves.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace subforge {
class BlockingPool;
}
namespace subforge::net {
class BodySource;
}

namespace subforge::http {

enum class Coding : std::uint8_t { identity, gzip, brotli };

inline constexpr std::size_t kCodings = 3;
// Shorter bodies fit into one packet with their head as they are.
inline constexpr std::size_t kPackedBytesMin = 1400;
// Beyond, packing would hold up the event loop for more than a millisecond or so.
inline constexpr std::size_t kPackedInlineBytesMax = 32U << 10;

// The coding that the client likes best; brotli before gzip where it does not care, and identity
// where neither is welcome. Allocates nothing.
[[nodiscard]] Coding choose_coding(std::string_view accept_encoding);
// Whether the client takes gzip, for what is there in this form already.
[[nodiscard]] bool accepts_gzip(std::string_view accept_encoding);

// As in Content-Encoding; empty for identity.
[[nodiscard]] std::string_view coding_name(Coding coding);
// What the entity tag of the packed form ends with: "-gzip", "-br"; empty for identity.
[[nodiscard]] std::string_view etag_suffix(Coding coding);

// Text of any kind, except event streams, whose events must not wait for company.
[[nodiscard]] bool is_packable(std::string_view content_type);

// Packs a body piece by piece.
class Packer {
 public:
  explicit Packer(Coding coding);  // Not identity.
  ~Packer();
  Packer(Packer&&) noexcept;
  Packer& operator=(Packer&&) noexcept;

  enum class End : std::uint8_t { more_follows, last };
  // Appends to `out` what is packed by now; with the last piece, everything.
  void add(std::string_view piece, End end, std::string& out);

 private:
  class Stream;
  class Gzip;
  class Brotli;
  std::unique_ptr<Stream> stream_;
};

[[nodiscard]] std::string pack(std::string_view body, Coding coding);

// A body that is packed while it is sent; the work is done on the pool.
[[nodiscard]] std::unique_ptr<net::BodySource> pack_stream(std::unique_ptr<net::BodySource> source,
                                                           Coding coding, BlockingPool& pool);

// A text that never changes, packed once.
class PackedText {
 public:
  explicit PackedText(std::string text);
  [[nodiscard]] std::string const& as(Coding coding) const {
    return forms_[static_cast<std::size_t>(coding)];
  }

 private:
  std::array<std::string, kCodings> forms_;
};

}  // namespace subforge::http
