// The standard library's vocabulary, compiled once for all folders: it halves the time that a
// usual source file takes. Nobody includes this file by name, and every header still includes
// what it uses: the target checkheaders compiles each of them without it.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <cstring>
#include <deque>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>
