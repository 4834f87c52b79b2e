#[=======================================================================[.rst:
AotBuild
--------

Compiles the PyTorch models that ``[tool.aotbuild]`` of a project's pyproject.toml declares and
installs them as an import package.

.. command:: aotbuild_add_models

  ``aotbuild_add_models()`` adds every declared model.

.. command:: aotbuild_add_model

  ``aotbuild_add_model(<name>)`` adds the model ``tool.aotbuild.models.<name>``; call it once for
  each model that the wheel is to hold.

Both only note the names. At the end of the top-level CMakeLists.txt the build is planned once for
all of them: a custom command for each step of each model, the target ``aotbuild_models`` (built by
default) and an install rule for the package.

.. variable:: AOTBUILD_PROJECT_DIR

  Directory of the pyproject.toml. The aotbuild hook sets it; the default is ``CMAKE_SOURCE_DIR``.
#]=======================================================================]

include_guard(GLOBAL)

if(CMAKE_VERSION VERSION_LESS 3.21)
  message(FATAL_ERROR "AotBuild needs CMake 3.21 or newer; this is ${CMAKE_VERSION}. "
                      "Set tool.scikit-build.cmake.version to \">=3.21\".")
endif()

function(aotbuild_add_models)
  if(ARGC GREATER 0)
    message(FATAL_ERROR "aotbuild_add_models() takes no arguments; "
                        "to add one model, write aotbuild_add_model(${ARGV0}).")
  endif()
  _aotbuild_request(--all)
endfunction()

function(aotbuild_add_model name)
  if(ARGC GREATER 1)
    message(FATAL_ERROR "aotbuild_add_model(${name} ...) takes one name; "
                        "call it once for each model.")
  endif()
  _aotbuild_request("${name}")
endfunction()

# Note a model, and plan when the top-level CMakeLists.txt has been read: only then are all known.
function(_aotbuild_request name)
  get_property(requested GLOBAL PROPERTY _AOTBUILD_REQUESTED)
  if(NOT requested)
    cmake_language(DEFER DIRECTORY "${CMAKE_SOURCE_DIR}" CALL _aotbuild_plan)
  endif()
  if(NOT name IN_LIST requested)
    set_property(GLOBAL APPEND PROPERTY _AOTBUILD_REQUESTED "${name}")
  endif()
endfunction()

# Set ${result} to the files of the build that the list ${key} of a command in the plan names.
function(_aotbuild_files result command key)
  set(files)
  string(JSON count LENGTH "${command}" "${key}")
  if(count GREATER 0)
    math(EXPR last "${count} - 1")
    foreach(i RANGE ${last})
      string(JSON file GET "${command}" "${key}" ${i})
      cmake_path(ABSOLUTE_PATH file BASE_DIRECTORY "${CMAKE_BINARY_DIR}/aotbuild")
      list(APPEND files "${file}")
    endforeach()
  endif()
  set(${result} "${files}" PARENT_SCOPE)
endfunction()

function(_aotbuild_plan)
  find_package(Python 3.11 COMPONENTS Interpreter REQUIRED)
  if(NOT DEFINED AOTBUILD_PROJECT_DIR)
    set(AOTBUILD_PROJECT_DIR "${CMAKE_SOURCE_DIR}")
  endif()
  get_property(requested GLOBAL PROPERTY _AOTBUILD_REQUESTED)
  set(build_dir "${CMAKE_BINARY_DIR}/aotbuild")
  file(MAKE_DIRECTORY "${build_dir}")
  # -P keeps the working directory out of sys.path; the environment of the build stays (no -I).
  set(aotbuild "${Python_EXECUTABLE}" -P -m aotbuild.steps)
  if(NOT WIN32)
    # Ninja runs a command again that has changed. An isolated build has its Python and its CMake at
    # a new path each time: neither may be in a command that has to stay the same over builds.
    set(launcher)
    if(CMAKE_CXX_COMPILER_LAUNCHER)  # such as ccache
      set(launcher "export CMAKE_CXX_COMPILER_LAUNCHER='${CMAKE_CXX_COMPILER_LAUNCHER}'")
    endif()
    file(CONFIGURE OUTPUT "${build_dir}/step" CONTENT "#!/bin/sh
@launcher@
exec '@Python_EXECUTABLE@' -P -m aotbuild.steps \"$@\"
" @ONLY)
    file(CHMOD "${build_dir}/step" PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
    set(aotbuild "./step")
  endif()
  # Without CMP0116, which 3.20 brought: else each command ends with a call of CMake for its depfile.
  cmake_policy(VERSION 3.19)

  execute_process(
    COMMAND ${aotbuild} plan "${AOTBUILD_PROJECT_DIR}" "--runtimes=${AOTBUILD_RUNTIMES}"
            "--torch=${AOTBUILD_TORCH}" "--version=${SKBUILD_PROJECT_VERSION_FULL}"
            "--develop=${AOTBUILD_DEVELOP}" ${requested}
    WORKING_DIRECTORY "${build_dir}"
    RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "The compiled models could not be planned; the reason is above.")
  endif()
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
                                         "${AOTBUILD_PROJECT_DIR}/pyproject.toml")
  if(EXISTS "${AOTBUILD_PROJECT_DIR}/aotbuild.lock.toml")
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
                                           "${AOTBUILD_PROJECT_DIR}/aotbuild.lock.toml")
  endif()

  file(READ "${build_dir}/plan.json" plan)
  # Ninja runs as many at once as there are cores; the memory may not be enough for that.
  string(JSON jobs GET "${plan}" jobs)
  set_property(GLOBAL APPEND PROPERTY JOB_POOLS "aotbuild=${jobs}")
  string(JSON last_command LENGTH "${plan}" commands)
  math(EXPR last_command "${last_command} - 1")
  foreach(i RANGE ${last_command})
    string(JSON command GET "${plan}" commands ${i})
    string(JSON step GET "${command}" step)
    string(JSON comment GET "${command}" comment)
    string(JSON spec GET "${command}" spec)
    string(JSON output GET "${command}" output)
    _aotbuild_files(depends "${command}" depends)
    _aotbuild_files(others "${command}" others)
    add_custom_command(
      OUTPUT "${build_dir}/${output}" ${others}
      DEPENDS "${build_dir}/${spec}" ${depends}
      DEPFILE "${build_dir}/${output}.d"
      COMMAND ${aotbuild} ${step} "${spec}" "${comment}"
      WORKING_DIRECTORY "${build_dir}"
      COMMENT "${comment}"
      JOB_POOL aotbuild
      VERBATIM)
  endforeach()
  # The last command, the bundle, needs the outputs of all others.
  add_custom_target(aotbuild_models ALL DEPENDS "${build_dir}/${output}")

  string(JSON package_dir GET "${plan}" package-dir)
  string(JSON metadata_dir GET "${plan}" metadata-dir)
  string(JSON destination GET "${plan}" destination)
  if(DEFINED SKBUILD_PLATLIB_DIR)
    # A wheel has its models whichever components are installed into it (install.components), and
    # wherever the other files go (wheel.install-dir).
    set(destination "${SKBUILD_PLATLIB_DIR}/${destination}")
    install(CODE "file(INSTALL \"${build_dir}/${package_dir}/\" DESTINATION \"${destination}\")"
            ALL_COMPONENTS)
    # What becomes .dist-info. The imports of an editable install that rebuilds itself install again,
    # when the directory that it was made of is gone.
    install(CODE "if(IS_DIRECTORY \"${SKBUILD_METADATA_DIR}\")
  file(INSTALL \"${build_dir}/${metadata_dir}/\" DESTINATION \"${SKBUILD_METADATA_DIR}\")
endif()" ALL_COMPONENTS)
  else()
    install(DIRECTORY "${build_dir}/${package_dir}/" DESTINATION "${destination}")
  endif()
endfunction()
