# Files that become part of the program.

# subforge_embed(<target> <url path> <file> [<url path> <file>...])
#
# Makes a library that has the files in its read-only data, each as it is and packed with gzip, with
# a table of them (src/web/assets.hpp). What the packing gives depends on the files alone.
function(subforge_embed target)
  find_program(SUBFORGE_GZIP gzip REQUIRED)
  set(lines)
  set(files)
  list(LENGTH ARGN count)
  math(EXPR last "${count} - 1")
  foreach(i RANGE 0 ${last} 2)
    math(EXPR j "${i} + 1")
    list(GET ARGN ${i} path)
    list(GET ARGN ${j} file)
    get_filename_component(file "${file}" ABSOLUTE)
    get_source_file_property(generated "${file}" GENERATED)
    if(NOT generated AND NOT EXISTS "${file}")
      message(FATAL_ERROR "There is no ${file}, which is to be served as ${path}. If it comes from "
                          "an npm package: ./dev setup brings node_modules up to date.")
    endif()
    string(APPEND lines "${path}|${file}\n")
    list(APPEND files "${file}")
  endforeach()

  set(folder "${CMAKE_CURRENT_BINARY_DIR}/${target}")
  set(script "${PROJECT_SOURCE_DIR}/cmake/embed_files.cmake")
  file(CONFIGURE OUTPUT "${folder}/manifest" CONTENT "${lines}" @ONLY)
  add_custom_command(
    OUTPUT "${folder}/assets.cpp"
    COMMAND "${CMAKE_COMMAND}" -D "FOLDER=${folder}" -D "GZIP=${SUBFORGE_GZIP}" -P "${script}"
    DEPENDS "${folder}/manifest" "${script}" ${files}
    COMMENT "Packing the files of ${target}"
    VERBATIM)
  add_library(${target} STATIC "${folder}/assets.cpp")
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/src")
  target_link_libraries(${target} PRIVATE subforge_warnings)
endfunction()
