# Brotli comes without a CMake package: Brotli::enc and Brotli::dec, the latter for tests.
find_path(BROTLI_INCLUDE_DIR brotli/encode.h)
find_library(BROTLI_ENC_LIBRARY brotlienc)
find_library(BROTLI_DEC_LIBRARY brotlidec)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Brotli REQUIRED_VARS BROTLI_ENC_LIBRARY BROTLI_DEC_LIBRARY
                                                       BROTLI_INCLUDE_DIR)
foreach(part IN ITEMS enc dec)
  string(TOUPPER ${part} upper)
  if(Brotli_FOUND AND NOT TARGET Brotli::${part})
    add_library(Brotli::${part} UNKNOWN IMPORTED)
    set_target_properties(Brotli::${part} PROPERTIES
      IMPORTED_LOCATION "${BROTLI_${upper}_LIBRARY}"
      INTERFACE_INCLUDE_DIRECTORIES "${BROTLI_INCLUDE_DIR}")
  endif()
endforeach()
