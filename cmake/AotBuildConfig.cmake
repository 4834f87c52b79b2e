# find_package(AotBuild REQUIRED) loads the functions of AotBuild.cmake.
include("${CMAKE_CURRENT_LIST_DIR}/AotBuild.cmake")
