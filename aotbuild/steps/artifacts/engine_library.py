"""The engine, compiled: the extension module that a package carries in its runtime.

It has one name, ``ENGINE``, in the directory of the step engine and in that of the runtime.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from aotbuild.interpreter import ENGINE
from aotbuild.runtime import machine


def use_engine(directory: Path) -> None:
    """Let the runtime of this process, which is not in a package, run libraries by the engine.

    Args:
        directory: Where the engine was built; there may be none.
    """
    name = f"{machine.__package__}._engine"
    path = directory / ENGINE
    if name in sys.modules or not path.exists():
        return
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # noqa: S101  # its name ends in .so
    assert spec.loader is not None  # noqa: S101
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    machine.engine_module.cache_clear()
