"""Runs the compiled models of a package: the standard library, and torch where a model needs it.

numpy and ml_dtypes are used where they are installed: for arrays of theirs, and for the state dict
of a model that needs no torch.

aotbuild copies this directory into each package of compiled models, as ``_runtime``. It imports
torch only where it is needed: calls with arrays on the CPU do without. What it offers is imported
when it is first used: ``aotbuild.runtime.dims`` is also imported in the hooks of a build, where
milliseconds count.

Loading a model:

- ``model``: the classes of models, which the generated modules derive from
- ``manifest``: ``model.json``, what a model takes, returns and needs
- ``loader``: the choice of a variant that this machine can run
- ``machine``: this machine and this torch: CPU, versions, symbols
- ``integrity``, ``digest``: whether the files are those that the build wrote
- ``variables``: whether the environment's variables have values that are understood
- ``operators``: libraries of custom operators
- ``other_torch``, ``recorded_call``: the recorded call, with a torch that the build did not know
- ``fallback``: the eager program, where no variant fits

Calling it:

- ``signature``: the signature that users see, and what it needs to refuse a wrong call
- ``arguments``: checks and conversion of tensors, and the errors of wrong arguments
- ``arrays``, ``buffers``: calls with arrays of numpy, of other libraries, or with plain buffers
- ``checks``, ``dims``, ``conditions``: dtypes, shapes and ranges, for tensors and arrays alike
- ``engine_arrays``: what is done with arrays of the engine, which calls with buffers return
- ``memory``: where arrays lie, and whether two of them share memory
- ``results``: writing a result to ``out``
- ``description``: ``net.inputs`` and ``net.outputs``

In torch:

- ``tracing``, ``traced_operator``, ``dynamo``: models in ``torch.compile`` and ``torch.export``
- ``as_module``, ``not_a_module``: a model as a ``torch.nn.Module``, and what it has not of one

Engines, which run a compiled library:

- ``engines``: torch's runners, one for each type of device, and pools of them
- ``native_engine``: the extension module ``_engine`` on the CPU
- ``threads``: how many a call uses
- ``processes``: forks, and the end of the interpreter

Weights:

- ``weights``: the weights file, mapped
- ``state_dict``, ``parameters``: the state dict: read, replaced, merged into
- ``derived``: constants that are computed from parameters
- ``chosen_library``, ``array_library``, ``torch_arrays``, ``numpy_arrays``: what a state dict is of
- ``numpy_operators``, ``numpy_dtypes``: what numpy has by other names, or not at all
- ``checkpoint``, ``deltas``: files and differences that are loaded

State, which a model keeps between calls:

- ``model_state``: the state, and its memory
- ``state_assignment``: what is assigned to a buffer of it
- ``holding``: the state of a call, while it runs
- ``written_inputs``: whether a call can write to the inputs that it changes
- ``state_file``: safetensors files of states
- ``scanning``: steps in a row, without Python between them

Serving:

- ``batching``: requests of many threads and tasks that share calls
- ``joining``: several requests as one call, and its outputs split again

In development:

- ``development``: the models that are older than their sources; wheels do not have it

``errors`` has the exceptions, ``lazy`` torch and numpy before they are imported, ``records``
dataclasses that are made in microseconds, ``selftest`` is ``python -m <package>``, and
``c_interface`` tells where the package's headers for C are.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .arguments import dispatch_modes
    from .arrays import Array
    from .errors import ModelLoadError, QueueFullError, StateDictError, StateError
    from .model import CompiledMethods, CompiledModel
    from .model_state import ModelState
    from .signature import MISSING, Refused

__all__ = [
    "MISSING",
    "Array",
    "CompiledMethods",
    "CompiledModel",
    "ModelLoadError",
    "ModelState",
    "QueueFullError",
    "Refused",
    "StateDictError",
    "StateError",
    "dispatch_modes",
]

_MODULES = {
    "arguments": ("dispatch_modes",),
    "arrays": ("Array",),
    "errors": ("ModelLoadError", "QueueFullError", "StateDictError", "StateError"),
    "model": ("CompiledMethods", "CompiledModel"),
    "model_state": ("ModelState",),
    "signature": ("MISSING", "Refused"),
}
"""Where each of these names is defined."""


def __getattr__(name: str) -> object:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
