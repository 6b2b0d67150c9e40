# How every target is compiled and linked: language, warnings, sanitizers, cache and linker.

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_SCAN_FOR_MODULES OFF)

# ccache can serve files that use a precompiled header when neither the header's time of compilation
# nor macros like __DATE__, which nothing here uses, have a say.
find_program(SUBFORGE_CCACHE ccache)
if(SUBFORGE_CCACHE AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros "${SUBFORGE_CCACHE}")
  add_compile_options("SHELL:-Xclang -fno-pch-timestamp")
endif()

include(CheckLinkerFlag)
foreach(linker IN ITEMS mold lld)
  check_linker_flag(CXX -fuse-ld=${linker} SUBFORGE_HAS_${linker})
  if(SUBFORGE_HAS_${linker})
    add_link_options(-fuse-ld=${linker})
    break()
  endif()
endforeach()

if(SUBFORGE_SANITIZE)
  add_compile_options(-fsanitize=${SUBFORGE_SANITIZE} -fno-sanitize-recover=all
                      -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${SUBFORGE_SANITIZE})
endif()

# The standard library checks indices, iterators and empty optionals wherever speed is not measured.
add_compile_definitions($<$<CONFIG:Debug>:_GLIBCXX_ASSERTIONS>)

# Paths in debug information and assertions are relative to the tree, wherever it was cloned.
# Debian 12's valgrind stops at the DWARF 5 that clang 19 writes by itself.
# (-gdwarf-4 would say as well that there is to be all of it.)
add_compile_options(-ffile-prefix-map=${CMAKE_SOURCE_DIR}/= -fdebug-default-version=4)

add_library(subforge_warnings INTERFACE)
target_compile_options(subforge_warnings INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow)
if(SUBFORGE_WERROR)
  target_compile_options(subforge_warnings INTERFACE -Werror)
endif()
