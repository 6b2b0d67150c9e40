// Random bytes from the kernel, buffered per thread so that an id does not cost a system call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace subforge {

// Fills `out` with bytes fit for keys and ids (getrandom(2)).
void secure_random(std::span<std::uint8_t> out);

// A random number for spreading load and naming requests; not for secrets.
std::uint64_t fast_random();

// `bytes` random bytes as URL-safe base64 without padding; for secrets and tokens.
std::string random_token(std::size_t bytes);

}  // namespace subforge
