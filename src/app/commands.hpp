// The commands: serve, token, config. Each returns the process's exit code: 0 done, 1 it failed,
// 2 the command line or a setting is wrong.
#pragma once

#include <span>

namespace subforge::app {

int run_command_line(std::span<char*> arguments);

}  // namespace subforge::app
