// Reads .env files: lines NAME=value, as shells and the common dotenv libraries take them.
//
//   export NAME=value          `export` may stand before.
//   NAME=a value  # comment    A # after a blank begins a comment; blanks at the ends are cut.
//   NAME='as it is: \n # $x'   Nothing has a meaning between single quotes.
//   NAME="two\nlines # \"x\""  Between double quotes \n, \r, \t, \", \\ and \$ are escapes.
//
// Names in values ($x) are not replaced, and a value ends with its line.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace subforge::config {

struct DotEnv {
  std::map<std::string, std::string> values;  // Of equal names the last one counts.
  std::vector<std::string> warnings;          // One sentence for each line that is left out.
};

[[nodiscard]] DotEnv parse_dot_env(std::string_view text);

}  // namespace subforge::config
