#include "http/content_coding.hpp"

#include <brotli/encode.h>

#include <algorithm>
#include <stdexcept>

#include <zlib.h>

#include "base/text.hpp"
#include "net/http_server.hpp"
#include "runtime/blocking_pool.hpp"

namespace subforge::http {
namespace {

// Levels at which JSON shrinks to nearly what the best ones reach, at a fraction of their time.
constexpr int kGzipLevel = 5;
constexpr int kBrotliQuality = 4;
constexpr int kBrotliWindowBits = 18;
constexpr int kGzipWindowBits = 15 + 16;  // 16 asks for the gzip format instead of zlib's.
constexpr int kGzipMemoryLevel = 8;
constexpr std::size_t kStepBytes = 16U << 10;

// Weights in thousandths; -1 where a coding is not named.
struct Weights {
  int gzip = -1;
  int brotli = -1;
  int identity = -1;
  int any = -1;
};

// "q=" and up to three decimals, in thousandths; what is malformed counts as 1.
int weight_of(std::string_view parameters) {
  auto const at = parameters.find('=');
  auto const name = trim(parameters.substr(0, at));
  if (at == std::string_view::npos || (name != "q" && name != "Q")) return 1000;
  auto const text = trim(parameters.substr(at + 1));
  if (text.empty() || text[0] != '0') return 1000;
  int weight = 0;
  int digit_worth = 100;
  for (char const c : text.substr(std::min<std::size_t>(2, text.size()))) {
    if (c < '0' || c > '9') break;
    weight += (c - '0') * digit_worth;
    digit_worth /= 10;
  }
  return weight;
}

Weights weights_of(std::string_view field) {
  Weights weights;
  while (!field.empty()) {
    auto const end = std::min(field.find(','), field.size());
    auto const item = field.substr(0, end);
    field.remove_prefix(std::min(end + 1, field.size()));
    auto const semicolon = std::min(item.find(';'), item.size());
    auto const name = trim(item.substr(0, semicolon));
    auto const rest = item.substr(semicolon);
    auto const weight = rest.empty() ? 1000 : weight_of(rest.substr(1));
    if (equal_ignoring_case(name, "gzip") || equal_ignoring_case(name, "x-gzip")) {
      weights.gzip = weight;
    } else if (equal_ignoring_case(name, "br")) {
      weights.brotli = weight;
    } else if (equal_ignoring_case(name, "identity")) {
      weights.identity = weight;
    } else if (name == "*") {
      weights.any = weight;
    }
  }
  // "*" stands for whatever is not named.
  for (auto* const weight : {&weights.gzip, &weights.brotli}) {
    if (*weight < 0) *weight = std::max(weights.any, 0);
  }
  return weights;
}

}  // namespace

Coding choose_coding(std::string_view accept_encoding) {
  auto const weights = weights_of(accept_encoding);
  auto const best = std::max(weights.brotli, weights.gzip);
  if (best == 0 || best < weights.identity) return Coding::identity;
  return weights.brotli == best ? Coding::brotli : Coding::gzip;
}

bool accepts_gzip(std::string_view accept_encoding) { return weights_of(accept_encoding).gzip > 0; }

std::string_view coding_name(Coding coding) {
  switch (coding) {
    case Coding::identity: return {};
    case Coding::gzip: return "gzip";
    case Coding::brotli: return "br";
  }
  return {};
}

std::string_view etag_suffix(Coding coding) {
  switch (coding) {
    case Coding::identity: return {};
    case Coding::gzip: return "-gzip";
    case Coding::brotli: return "-br";
  }
  return {};
}

bool is_packable(std::string_view content_type) {
  auto const type = trim(content_type.substr(0, content_type.find(';')));
  if (type == "application/json" || type == "application/problem+json") return true;
  return type.starts_with("text/") && type != "text/event-stream";
}

// --- The codings

class Packer::Stream {
 public:
  virtual ~Stream() = default;
  virtual void add(std::string_view piece, End end, std::string& out) = 0;
};

class Packer::Gzip final : public Packer::Stream {
 public:
  Gzip() {
    int const made = ::deflateInit2(&state_, kGzipLevel, Z_DEFLATED, kGzipWindowBits,
                                    kGzipMemoryLevel, Z_DEFAULT_STRATEGY);
    if (made != Z_OK) throw std::bad_alloc();
  }
  ~Gzip() override { ::deflateEnd(&state_); }
  Gzip(Gzip const&) = delete;
  Gzip& operator=(Gzip const&) = delete;

  void add(std::string_view piece, End end, std::string& out) override {
    int const flush = end == End::last ? Z_FINISH : Z_NO_FLUSH;
    state_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(piece.data()));
    state_.avail_in = static_cast<uInt>(piece.size());
    do {
      auto const before = out.size();
      out.resize(before + kStepBytes);
      state_.next_out = reinterpret_cast<Bytef*>(out.data() + before);
      state_.avail_out = static_cast<uInt>(kStepBytes);
      ::deflate(&state_, flush);
      out.resize(before + kStepBytes - state_.avail_out);
    } while (state_.avail_out == 0);
  }

 private:
  z_stream state_{};
};

class Packer::Brotli final : public Packer::Stream {
 public:
  Brotli() : state_(::BrotliEncoderCreateInstance(nullptr, nullptr, nullptr)) {
    if (state_ == nullptr) throw std::bad_alloc();
    ::BrotliEncoderSetParameter(state_, BROTLI_PARAM_QUALITY, kBrotliQuality);
    ::BrotliEncoderSetParameter(state_, BROTLI_PARAM_LGWIN, kBrotliWindowBits);
    ::BrotliEncoderSetParameter(state_, BROTLI_PARAM_MODE, BROTLI_MODE_TEXT);
  }
  ~Brotli() override { ::BrotliEncoderDestroyInstance(state_); }
  Brotli(Brotli const&) = delete;
  Brotli& operator=(Brotli const&) = delete;

  void add(std::string_view piece, End end, std::string& out) override {
    auto const operation = end == End::last ? BROTLI_OPERATION_FINISH : BROTLI_OPERATION_PROCESS;
    auto const* next_in = reinterpret_cast<std::uint8_t const*>(piece.data());
    std::size_t available_in = piece.size();
    do {
      std::size_t available_out = 0;
      if (::BrotliEncoderCompressStream(state_, operation, &available_in, &next_in, &available_out,
                                        nullptr, nullptr) == BROTLI_FALSE) {
        throw std::runtime_error("brotli failed");
      }
      while (::BrotliEncoderHasMoreOutput(state_) == BROTLI_TRUE) {
        std::size_t taken = 0;
        auto const* const bytes = ::BrotliEncoderTakeOutput(state_, &taken);
        out.append(reinterpret_cast<char const*>(bytes), taken);
      }
    } while (available_in > 0 ||
             (end == End::last && ::BrotliEncoderIsFinished(state_) == BROTLI_FALSE));
  }

 private:
  BrotliEncoderState* state_;
};

Packer::Packer(Coding coding) {
  if (coding == Coding::brotli) {
    stream_ = std::make_unique<Brotli>();
  } else {
    stream_ = std::make_unique<Gzip>();
  }
}
Packer::~Packer() = default;
Packer::Packer(Packer&&) noexcept = default;
Packer& Packer::operator=(Packer&&) noexcept = default;

void Packer::add(std::string_view piece, End end, std::string& out) {
  stream_->add(piece, end, out);
}

std::string pack(std::string_view body, Coding coding) {
  std::string out;
  Packer(coding).add(body, Packer::End::last, out);
  return out;
}

namespace {

class PackedSource final : public net::BodySource {
 public:
  PackedSource(std::unique_ptr<net::BodySource> source, Coding coding, BlockingPool& pool)
      : source_(std::move(source)), packer_(coding), pool_(pool) {}

  Task<Result<bool>> next(std::string& out) override {
    std::string piece;
    auto const more = co_await source_->next(piece);
    if (!more) co_return more;
    auto work = [&]() -> Result<bool> {
      packer_.add(piece, *more ? Packer::End::more_follows : Packer::End::last, out);
      return *more;
    };
    co_return co_await pool_.run(std::move(work));
  }

 private:
  std::unique_ptr<net::BodySource> source_;
  Packer packer_;
  BlockingPool& pool_;
};

}  // namespace

std::unique_ptr<net::BodySource> pack_stream(std::unique_ptr<net::BodySource> source, Coding coding,
                                             BlockingPool& pool) {
  return std::make_unique<PackedSource>(std::move(source), coding, pool);
}

PackedText::PackedText(std::string text) {
  forms_[static_cast<std::size_t>(Coding::gzip)] = pack(text, Coding::gzip);
  forms_[static_cast<std::size_t>(Coding::brotli)] = pack(text, Coding::brotli);
  forms_[static_cast<std::size_t>(Coding::identity)] = std::move(text);
}

}  // namespace subforge::http
