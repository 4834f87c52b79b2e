# Stops a build in which no model was added. The hook of aotbuild sets CMAKE_PROJECT_INCLUDE to this
# file: a CMakeLists.txt that never calls aotbuild_add_models() would give a wheel without models.

include_guard(GLOBAL)

function(_aotbuild_check_added)
  get_property(requested GLOBAL PROPERTY _AOTBUILD_REQUESTED)
  if(NOT requested)
    message(NOTICE "aotbuild: error: no CMakeLists.txt of the project adds the models that it declares
  where: ${CMAKE_SOURCE_DIR}/CMakeLists.txt
  why:   the wheel would have no compiled models
  fix:   add these lines:
         find_package(AotBuild REQUIRED)
         aotbuild_add_models()")
    message(FATAL_ERROR "No compiled models were added; the reason is above.")
  endif()
endfunction()

# By now only project() has run; what follows in the CMakeLists.txt comes before this.
cmake_language(DEFER DIRECTORY "${CMAKE_SOURCE_DIR}" CALL _aotbuild_check_added)
