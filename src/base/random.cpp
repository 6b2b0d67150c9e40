#include "base/random.hpp"

#include <sys/random.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <vector>

#include "base/text.hpp"

namespace subforge {
namespace {

void fill_from_kernel(std::span<std::uint8_t> out) {
  while (!out.empty()) {
    ssize_t const got = ::getrandom(out.data(), out.size(), 0);
    if (got < 0) {
      if (errno == EINTR) continue;
      throw std::system_error(errno, std::generic_category(), "getrandom");
    }
    out = out.subspan(static_cast<std::size_t>(got));
  }
}

struct Pool {
  std::array<std::uint8_t, 1024> bytes;
  std::size_t used = sizeof(bytes);
};

}  // namespace

void secure_random(std::span<std::uint8_t> out) {
  if (out.empty()) return;
  thread_local Pool pool;
  if (out.size() > pool.bytes.size() / 4) return fill_from_kernel(out);
  if (pool.bytes.size() - pool.used < out.size()) {
    fill_from_kernel(pool.bytes);
    pool.used = 0;
  }
  auto* const taken = pool.bytes.data() + pool.used;
  std::memcpy(out.data(), taken, out.size());
  std::memset(taken, 0, out.size());  // What was handed out as a secret must not linger here.
  pool.used += out.size();
}

std::uint64_t fast_random() {
  // splitmix64 over a counter that starts at a random place (Steele, Lea, Flood 2014).
  thread_local std::uint64_t state = [] {
    std::array<std::uint8_t, 8> seed{};
    fill_from_kernel(seed);
    std::uint64_t value = 0;
    std::memcpy(&value, seed.data(), sizeof value);
    return value;
  }();
  std::uint64_t z = (state += 0x9e3779b97f4a7c15ULL);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

std::string random_token(std::size_t bytes) {
  std::vector<std::uint8_t> raw(bytes);
  secure_random(raw);
  return base64url_encode(raw);
}

}  // namespace subforge
