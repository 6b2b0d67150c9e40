// The command line of SubForge.
#include <signal.h>

#include <cstdio>
#include <string>
#include <vector>

#include "app/commands.hpp"
#include "runtime/memory.hpp"

int main(int argc, char** argv) {
  subforge::keep_freed_memory();
  return subforge::app::run_command_line({argv, static_cast<std::size_t>(argc)});
}
