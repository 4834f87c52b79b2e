"""What runs a model that leaves that to the build: known before anything is compiled.

- ``chosen``: what is remembered, or else found out
- ``memory``: what the last build found out, and whether it still holds
- ``lowered``: what the code of a traced model calls: it is lowered, and not compiled

Whether a model needs torch where its wheel is installed, and with it the wheel, is decided in these
places, in the order in which a build comes to them:

==============================  ===================================================================
module                          decides
==============================  ===================================================================
``config/check_runtime``        which keys only torch can do; refused for a stand-alone model
``config/runtimes``             what the declaration tells, and which models it leaves open; also
                                that of a build for another architecture none may need torch
``hook/runtimes``               what runs each model of a wheel: of open ones it asks ``choose``, in
                                a process that may import torch; CMake is told
``hook/requirement``            whether the wheel requires torch, and whether it is declared so
``steps/choose``                the rest, as above
``steps/compile/only_torch``    what of a model only torch has, and its line: for ``lowered``, and
                                for a library that cannot be linked without torch
==============================  ===================================================================

``commands/check_runtime`` finds out the same for ``python -m aotbuild check``. Which versions of
torch run a model that needs it: ``aotbuild.torch_version``.
"""
