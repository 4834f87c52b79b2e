"""The CMake package of a C interface: ``find_package(digits)`` with a target for each model."""

from __future__ import annotations

from packaging.version import InvalidVersion, Version

from aotbuild.steps.files import HEADER
from aotbuild.steps.package.c_interface.described import Described


def config(package: Described, library: str) -> str:
    """The text of ``<name>Config.cmake``.

    Args:
        package: The package.
        library: File name of its library.
    """
    name = package.name
    models = [model.name for model in package.models]
    targets = "".join(
        f"""
if(NOT TARGET {name}::{model})
  add_library({name}::{model} INTERFACE IMPORTED)
  set_target_properties({name}::{model} PROPERTIES INTERFACE_LINK_LIBRARIES {name}::_library)
endif()
"""
        for model in models
    )
    return f"""\
{HEADER}
# Defines a target for each compiled model of {package.package}: {", ".join(models)}.
#
#   find_package({name} CONFIG REQUIRED)
#   target_link_libraries(program PRIVATE {name}::{models[0]})
#
# All of them link {library} of the installed package, which finds models and weights by itself.

get_filename_component(_{name}_root "${{CMAKE_CURRENT_LIST_DIR}}/.." REALPATH)

if(NOT TARGET {name}::_library)
  add_library({name}::_library SHARED IMPORTED)
  set_target_properties({name}::_library PROPERTIES
    IMPORTED_LOCATION "${{_{name}_root}}/{library}"
    IMPORTED_SONAME {library}
    INTERFACE_INCLUDE_DIRECTORIES "${{_{name}_root}}/include")
endif()
{targets}
foreach(_{name}_model IN LISTS {name}_FIND_COMPONENTS)
  if(TARGET {name}::${{_{name}_model}})
    set({name}_${{_{name}_model}}_FOUND TRUE)
  elseif({name}_FIND_REQUIRED_${{_{name}_model}})
    set({name}_FOUND FALSE)
    set({name}_NOT_FOUND_MESSAGE
        "{package.package} has no model ${{_{name}_model}} for C; it has {", ".join(models)}")
  endif()
endforeach()
unset(_{name}_model)
unset(_{name}_root)
"""


def config_version(version: str) -> str:
    """The text of ``<name>ConfigVersion.cmake``; empty where the version is not known.

    Args:
        version: That of the project. It serves who asks for one that is as new or older, and has
            the same first number.
    """
    try:
        release = Version(version).release
    except InvalidVersion:
        return ""
    shown = ".".join(map(str, release))
    return f"""\
{HEADER}
set(PACKAGE_VERSION "{shown}")
if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)
  set(PACKAGE_VERSION_EXACT TRUE)
endif()
if(PACKAGE_FIND_VERSION_MAJOR STREQUAL "{release[0]}"
   AND NOT PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
"""
