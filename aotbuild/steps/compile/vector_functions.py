"""Vector functions of a library that runs with torch: its own, in place of those inside torch.

The vectors of torch's headers call functions of the Sleef library, which torch contains but does
not promise to keep. A library that has its own needs only what torch promises.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from aotbuild.cache.store import Store
from aotbuild.steps.compile.cxx import Compiler
from aotbuild.steps.compile.standalone import (
    compiled_sources,
    missing_symbols,
    not_linked,
    sources,
)
from aotbuild.steps.files import replacing

PREFIX = "Sleef_"
"""Of the names of these functions."""

_HIDDEN = f"{{ local: {PREFIX}*; }};\n"
"""For the linker: torch's own ones are left to torch."""


def link_vector_functions(compiler: Compiler, library: Path, store: Store, directory: Path) -> None:
    """Link a library once more with the vector functions that its objects call, if they call any.

    Args:
        compiler: What compiled and linked it.
        library: The library.
        store: The cache, which keeps the object of these functions.
        directory: For that object; compiles that share it wait for one another.

    Raises:
        CompileError: The functions cannot be compiled, or the library not linked.
    """
    if sys.platform != "linux":
        return
    called = {name for name in missing_symbols(compiler.objects()) if name.startswith(PREFIX)}
    names = [name for name, each in sources().items() if any(map(each.may_define, called))]
    if not names:
        return
    script = compiler.script.with_name("hidden.map")
    script.write_text(_HIDDEN, encoding="ascii")
    objects = compiled_sources(compiler, names, store, directory)
    options = [f"-Wl,--version-script={script}", "-Wl,--gc-sections"]
    with replacing(library) as temporary:
        words = [*compiler.last_link(), *map(str, objects), *options, "-o", str(temporary)]
        done = subprocess.run(
            [str(compiler.script), *words], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise not_linked(done.stderr)
