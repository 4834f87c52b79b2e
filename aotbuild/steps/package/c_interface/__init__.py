"""The C interface of a package: headers, a library that runs its models without Python, CMake."""
