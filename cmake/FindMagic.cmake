# libmagic comes without a CMake package: Magic::magic.
find_path(MAGIC_INCLUDE_DIR magic.h)
find_library(MAGIC_LIBRARY magic)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Magic REQUIRED_VARS MAGIC_LIBRARY MAGIC_INCLUDE_DIR)
if(Magic_FOUND AND NOT TARGET Magic::magic)
  add_library(Magic::magic UNKNOWN IMPORTED)
  set_target_properties(Magic::magic PROPERTIES
    IMPORTED_LOCATION "${MAGIC_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${MAGIC_INCLUDE_DIR}")
endif()
