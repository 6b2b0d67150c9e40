# One call per folder of src/ declares a library, its tests and its header check.

# Compiles every header alone, without the precompiled one.
add_custom_target(checkheaders)

# All programs that test; beside what users run they are built only when asked for, and, as nobody
# measures them, without the time that optimising takes. GoogleTest names the lines that fail by
# itself, so that nothing else has to know them.
add_custom_target(tests)
set(test_options -g0)
set(test_of_all)
if(CMAKE_BUILD_TYPE STREQUAL Release)
  list(APPEND test_options -O0)
  set(test_of_all EXCLUDE_FROM_ALL)
endif()

# What is compiled once for many: the vocabulary for all folders and, for those that deal with
# records, what they all include (PRECOMPILED records). Tests have GoogleTest with it.
function(subforge_precompile name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "HEADERS;LINK;OPTIONS")
  file(WRITE "${CMAKE_BINARY_DIR}/${name}.cpp" "")
  add_library(${name} OBJECT EXCLUDE_FROM_ALL "${CMAKE_BINARY_DIR}/${name}.cpp")
  target_compile_options(${name} PRIVATE ${arg_OPTIONS})
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/src")
  target_link_libraries(${name} PRIVATE ${arg_LINK} subforge_warnings)
  target_precompile_headers(${name} PRIVATE ${arg_HEADERS})
endfunction()
foreach(kind IN ITEMS vocabulary records)
  set(header "${PROJECT_SOURCE_DIR}/cmake/pch_${kind}.hpp")
  subforge_precompile(subforge_pch_${kind} HEADERS "${header}")
  if(SUBFORGE_TESTS)
    subforge_precompile(subforge_test_pch_${kind} LINK GTest::gmock OPTIONS ${test_options}
                        HEADERS "${header}" <gtest/gtest.h>)
  endif()
endforeach()

# Several files of a folder are one for the compiler, which then does a quarter less of work: where
# nobody edits them, so that it does not matter that a change compiles all of them.
#
# subforge_compile_together(<target> <file>... [APART])
#
# APART: what serves one version of the API (*_v<number>.cpp) is not compiled with what serves
# another, which says the same.
function(subforge_compile_together target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "APART" "" "")
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
  foreach(source IN LISTS arg_UNPARSED_ARGUMENTS)
    get_filename_component(source "${source}" ABSOLUTE)
    get_filename_component(directory "${source}" DIRECTORY)
    file(RELATIVE_PATH name "${CMAKE_CURRENT_SOURCE_DIR}" "${directory}")
    string(REPLACE "/" "_" name "${name}")
    if(arg_APART AND source MATCHES "(_v[0-9]+)\\.cpp$")
      string(APPEND name "${CMAKE_MATCH_1}")
    endif()
    if(NOT DEFINED count_${name})
      set(count_${name} 0)
    endif()
    math(EXPR group "${count_${name}} / 12")
    math(EXPR count_${name} "${count_${name}} + 1")
    string(APPEND name "_${group}")
    set_source_files_properties("${source}" PROPERTIES UNITY_GROUP ${name})
  endforeach()
endfunction()

# subforge_library(<folder> [DEPENDS <folder>...] [LINK <external target>...] [WHOLE <beginning>...]
#                  [TEST_HELPERS <file>...] [PRECOMPILED records] [APART] [SPARING])
#
# The sources are all *.cpp in the folder and below it; *_test.cpp become the program
# subforge_<folder>_test, and main.cpp is left to the folder's own executable. A folder that has no
# sources yet becomes a library of nothing, so that the table can name it before it exists.
# TEST_HELPERS are *_test.cpp of other folders that its tests need too. APART is as above.
# SPARING is for what no request waits for long enough to notice: a release inlines less of it,
# which takes a quarter off the time to compile it.
function(subforge_library folder)
  cmake_parse_arguments(PARSE_ARGV 1 arg "APART;SPARING" "PRECOMPILED"
                        "DEPENDS;LINK;WHOLE;TEST_HELPERS")
  if(NOT arg_PRECOMPILED)
    set(arg_PRECOMPILED vocabulary)
  endif()
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "subforge_library(${folder}): what is ${arg_UNPARSED_ARGUMENTS}?")
  endif()
  set(target subforge_${folder})
  set(needs ${arg_LINK})
  foreach(dependency IN LISTS arg_DEPENDS)
    if(NOT TARGET subforge_${dependency})
      message(FATAL_ERROR "subforge_library(${folder}): ${dependency} must come before it")
    endif()
    list(APPEND needs subforge_${dependency})
  endforeach()

  set(directory "${CMAKE_CURRENT_SOURCE_DIR}/${folder}")
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${directory}/*.cpp")
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS "${directory}/*.hpp")
  set(tests ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  list(FILTER sources EXCLUDE REGEX "(_test|/main)\\.cpp$")

  if(sources)
    add_library(${target} STATIC ${sources})
    target_include_directories(${target} PUBLIC "${CMAKE_CURRENT_SOURCE_DIR}")
    target_link_libraries(${target} PUBLIC ${needs} PRIVATE subforge_warnings)
    target_precompile_headers(${target} REUSE_FROM subforge_pch_${arg_PRECOMPILED})
    if(arg_SPARING AND CMAKE_BUILD_TYPE STREQUAL Release)
      target_compile_options(${target} PRIVATE "SHELL:-mllvm -inline-threshold=60")
    endif()
    if(SUBFORGE_TOGETHER)
      if(arg_APART)
        list(APPEND sources APART)
      endif()
      subforge_compile_together(${target} ${sources})
    endif()
  else()
    add_library(${target} INTERFACE)
    target_include_directories(${target} INTERFACE "${CMAKE_CURRENT_SOURCE_DIR}")
    target_link_libraries(${target} INTERFACE ${needs})
  endif()

  if(tests AND SUBFORGE_TESTS)
    list(TRANSFORM arg_TEST_HELPERS PREPEND "${CMAKE_CURRENT_SOURCE_DIR}/")
    subforge_test(${target}_test SOURCES ${tests} ${arg_TEST_HELPERS} LINK ${target}
                  WHOLE ${arg_WHOLE} PRECOMPILED ${arg_PRECOMPILED})
  endif()
  subforge_check_headers(${target} ${headers})
endfunction()

# subforge_test(<name> SOURCES <file>... LINK <target>... [LABEL <label>] [WHOLE <beginning>...]
#               [PRECOMPILED records])
#
# A GoogleTest program whose every test is one test of ctest. The label says when it is run: `unit`
# (the default) in every run, any other one only in those that run everything. Suites whose name
# ends in `Proof` take long and have the label `proof` instead. What WHOLE names (beginnings of
# suites' names) is two tests of ctest each with the label `service`, so that what its tests start
# is started twice only.
function(subforge_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "LABEL;PRECOMPILED" "SOURCES;LINK;WHOLE")
  if(NOT arg_PRECOMPILED)
    set(arg_PRECOMPILED vocabulary)
  endif()
  if(NOT arg_LABEL)
    set(arg_LABEL unit)
  endif()
  add_executable(${name} ${test_of_all} ${arg_SOURCES})
  if(SUBFORGE_TESTS_TOGETHER)
    subforge_compile_together(${name} ${arg_SOURCES})
  endif()
  add_dependencies(tests ${name})
  target_compile_options(${name} PRIVATE ${test_options})
  target_link_libraries(${name} PRIVATE ${arg_LINK} GTest::gmock GTest::gtest_main
                        subforge_warnings)
  target_precompile_headers(${name} REUSE_FROM subforge_test_pch_${arg_PRECOMPILED})
  string(REGEX REPLACE "^subforge_|_test$" "" prefix ${name})
  set(left_out "*Proof.*")
  foreach(beginning IN LISTS arg_WHOLE)
    # In two processes: alone each would still run when all else has ended.
    foreach(shard RANGE 1)
      add_test(NAME "${prefix}/${beginning}-${shard}"
               COMMAND ${name} "--gtest_filter=${beginning}*:-*Proof.*")
      # They take longest, and so begin first.
      set_tests_properties("${prefix}/${beginning}-${shard}" PROPERTIES LABELS service COST 100
        ENVIRONMENT "GTEST_TOTAL_SHARDS=2;GTEST_SHARD_INDEX=${shard}")
    endforeach()
    string(APPEND left_out ":${beginning}*")
  endforeach()
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST TEST_PREFIX "${prefix}/"
                       TEST_FILTER "-${left_out}" PROPERTIES LABELS ${arg_LABEL})
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST TEST_PREFIX "${prefix}/"
                       TEST_FILTER "*Proof.*" TEST_LIST ${name}_proofs PROPERTIES LABELS proof)
  # The same as `unit`, but in few processes: most tests take less time than a process to start.
  if(arg_LABEL STREQUAL unit)
    list(LENGTH arg_SOURCES files)
    set(shards 4)
    if(files LESS 4)
      set(shards 1)
    endif()
    math(EXPR last "${shards} - 1")
    foreach(shard RANGE ${last})
      add_test(NAME "${prefix}/quick-${shard}"
               COMMAND ${name} --gtest_brief=1 "--gtest_filter=-${left_out}")
      set_tests_properties("${prefix}/quick-${shard}" PROPERTIES LABELS quick
        ENVIRONMENT "GTEST_TOTAL_SHARDS=${shards};GTEST_SHARD_INDEX=${shard}")
    endforeach()
  endif()
endfunction()

# subforge_fuzz_target(<name> SOURCES <file>... LINK <target>... [FOLLOW <file under src>...])
#
# A libFuzzer program in <build>/fuzzers, where `./dev fuzz` finds it. The target `fuzzers` builds
# all of them, and of the product only what they link. The fuzzer is told where its inputs go in the
# files that FOLLOW names, or, without any, in the folders that LINK names; in no others, which
# would take a fifth longer to compile. These are the instruments that clang's
# -fsanitize=fuzzer-no-link stands for.
set(subforge_fuzz_instruments
    -fsanitize-coverage=inline-8bit-counters,indirect-calls,trace-cmp,pc-table,stack-depth)
add_custom_target(fuzzers)
function(subforge_fuzz_target name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LINK;FOLLOW")
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_LINK} subforge_warnings)
  target_compile_options(${name} PRIVATE -O1 ${subforge_fuzz_instruments})
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  if(arg_FOLLOW)
    foreach(file IN LISTS arg_FOLLOW)
      if(NOT EXISTS "${PROJECT_SOURCE_DIR}/src/${file}")
        message(FATAL_ERROR "subforge_fuzz_target(${name}): there is no src/${file}")
      endif()
    endforeach()
    list(TRANSFORM arg_FOLLOW PREPEND "${PROJECT_SOURCE_DIR}/src/")
    set_source_files_properties(${arg_FOLLOW} DIRECTORY "${PROJECT_SOURCE_DIR}/src"
                                PROPERTIES COMPILE_OPTIONS "${subforge_fuzz_instruments}")
  else()
    foreach(library IN LISTS arg_LINK)
      set_property(TARGET ${library} APPEND PROPERTY COMPILE_OPTIONS ${subforge_fuzz_instruments})
    endforeach()
  endif()
  set_target_properties(${name} PROPERTIES
                        RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/fuzzers")
  add_dependencies(fuzzers ${name})
endfunction()

function(subforge_check_headers target)
  set(probes)
  foreach(header IN LISTS ARGN)
    file(RELATIVE_PATH path "${CMAKE_CURRENT_SOURCE_DIR}" "${header}")
    set(probe "${CMAKE_CURRENT_BINARY_DIR}/checkheaders/${path}.cpp")
    if(NOT EXISTS "${probe}")
      file(WRITE "${probe}" "#include \"${path}\"\n")
    endif()
    list(APPEND probes "${probe}")
  endforeach()
  if(probes)
    add_library(${target}_headers OBJECT EXCLUDE_FROM_ALL ${probes})
    target_compile_options(${target}_headers PRIVATE -O0 -g0)
    target_link_libraries(${target}_headers PRIVATE ${target} subforge_warnings)
    add_dependencies(checkheaders ${target}_headers)
  endif()
endfunction()
