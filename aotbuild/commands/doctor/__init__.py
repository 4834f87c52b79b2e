"""``doctor``: whether this machine and this environment can build models, and what would help.

- ``command``: asks, and prints
- ``finding``: what is found of one thing
- ``machine``: the CPU, the memory, the disk, the C library, accelerators
- ``tools``: Python, the compiler, CMake, ninja, what ``repair`` needs
- ``torch``: torch, and its private parts that builds use
- ``caches``: the directory and the shared cache
"""
