"""The CMake side of aotbuild: ``find_package(AotBuild)`` and the project used by default.

A package only so that the entry point ``cmake.root`` can name this directory.
"""
