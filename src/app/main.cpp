// The command line of SubForge.
#include <signal.h>

#include <cstdio>
#include <string>
#include <vector>

#include "app/commands.hpp"

int main(int argc, char** argv) {
  return subforge::app::run_command_line({argv, static_cast<std::size_t>(argc)});
}
