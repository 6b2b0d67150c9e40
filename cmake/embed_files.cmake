# Run at build time by subforge_embed: packs the files that FOLDER/manifest lists and writes
# FOLDER/assets.cpp. The assembler takes the bytes in, so that no compiler has to read them.

set(types_html "text/html; charset=utf-8")
set(types_css "text/css; charset=utf-8")
set(types_js "text/javascript; charset=utf-8")
set(types_svg "image/svg+xml")
set(types_png "image/png")
set(types_txt "text/plain; charset=utf-8")

file(STRINGS "${FOLDER}/manifest" lines)
set(number 0)
set(data)
set(declarations)
set(rows)
foreach(line IN LISTS lines)
  string(FIND "${line}" "|" bar)
  string(SUBSTRING "${line}" 0 ${bar} path)
  math(EXPR bar "${bar} + 1")
  string(SUBSTRING "${line}" ${bar} -1 file)

  get_filename_component(extension "${file}" LAST_EXT)
  if(extension)
    string(SUBSTRING "${extension}" 1 -1 extension)
  else()
    set(extension txt)  # LICENSE and the like.
  endif()
  if(NOT DEFINED types_${extension})
    message(FATAL_ERROR "${file}: which content type does .${extension} have?")
  endif()
  file(SHA256 "${file}" hash)
  string(SUBSTRING "${hash}" 0 16 hash)

  # Without a name and a time inside, so that equal files make equal bytes.
  set(packed "${FOLDER}/${number}.gz")
  execute_process(COMMAND "${GZIP}" -9 -n -c "${file}" OUTPUT_FILE "${packed}"
                  COMMAND_ERROR_IS_FATAL ANY)
  file(SIZE "${file}" bytes)
  file(SIZE "${packed}" packed_bytes)

  string(APPEND data "asset_${number}: .incbin \"${file}\"\n"
                     "asset_${number}_gzip: .incbin \"${packed}\"\n")
  string(APPEND declarations "extern char const asset_${number}[${bytes}];\n"
                             "extern char const asset_${number}_gzip[${packed_bytes}];\n")
  string(APPEND rows "    {\"${path}\", \"${types_${extension}}\", {asset_${number}, ${bytes}},\n"
                     "     {asset_${number}_gzip, ${packed_bytes}}, \"${hash}\"},\n")
  math(EXPR number "${number} + 1")
endforeach()

file(WRITE "${FOLDER}/assets.cpp" "// Made by cmake/embed_files.cmake.
#include \"web/assets.hpp\"

asm(R\"(.section .rodata
${data}.previous
)\");

extern \"C\" {
${declarations}}

namespace subforge::web {
namespace {

constexpr Asset kAssets[] = {
${rows}};

}  // namespace

std::span<Asset const> assets() { return kAssets; }

}  // namespace subforge::web
")
