#include "store/sqlite/unicode_lower.hpp"

#include <locale.h>
#include <wctype.h>

#include <cstdint>
#include <string>
#include <string_view>

#include <sqlite3.h>

namespace subforge::store {
namespace {

// Takes one character off the front of well-formed UTF-8; a byte that is none stands for itself.
char32_t next_character(std::string_view& text) {
  auto const first = static_cast<unsigned char>(text.front());
  std::size_t const length = first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (length == 1 || length > text.size()) {
    text.remove_prefix(1);
    return first;
  }
  char32_t character = first & (0xffU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    character = (character << 6) | (static_cast<unsigned char>(text[i]) & 0x3fU);
  }
  text.remove_prefix(length);
  return character;
}

void append_utf8(std::string& out, char32_t c) {
  auto const tail = [&](int shift) {
    out.push_back(static_cast<char>(0x80 | ((c >> shift) & 63)));
  };
  if (c < 0x80) {
    out.push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out.push_back(static_cast<char>(0xc0 | (c >> 6)));
    tail(0);
  } else if (c < 0x10000) {
    out.push_back(static_cast<char>(0xe0 | (c >> 12)));
    tail(6), tail(0);
  } else {
    out.push_back(static_cast<char>(0xf0 | (c >> 18)));
    tail(12), tail(6), tail(0);
  }
}

void lower(sqlite3_context* context, int, sqlite3_value** arguments) {
  auto const* text = reinterpret_cast<char const*>(sqlite3_value_text(arguments[0]));
  if (text == nullptr) return sqlite3_result_null(context);
  std::string_view rest(text, static_cast<std::size_t>(sqlite3_value_bytes(arguments[0])));
  auto const locale = static_cast<locale_t>(sqlite3_user_data(context));
  std::string out;
  out.reserve(rest.size());
  while (!rest.empty()) {
    auto const character = next_character(rest);
    append_utf8(out, static_cast<char32_t>(::towlower_l(static_cast<wint_t>(character), locale)));
  }
  sqlite3_result_text64(context, out.data(), out.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
}

void free_locale(void* locale) { ::freelocale(static_cast<locale_t>(locale)); }

}  // namespace

void install_unicode_lower(sqlite3* handle) {
  auto const locale = ::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  if (locale == nullptr) return;
  sqlite3_create_function_v2(handle, "lower", 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC, locale, &lower,
                             nullptr, nullptr, &free_locale);
}

}  // namespace subforge::store
