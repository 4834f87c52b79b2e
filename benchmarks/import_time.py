"""Time of ``from digits.models import net`` in fresh processes that have imported torch already.

Two kinds of process take turns. One times the whole import. The other counts only the load, which
is opening the library (``dlopen`` among it) and handing over the constants; it wraps what does
these, so it is not used for the whole.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from common import Row, example_wheel, install, python_json, show

BOUND_IMPORT = 50
BOUND_LOAD = 20

IMPORT = """
import json, time
import torch
start = time.perf_counter()
from digits.models import net
print(json.dumps((time.perf_counter() - start) * 1e3))
"""

LOAD = """
import json, time
import torch
from digits.models._runtime import loader, native_engine

spent = 0.0

def timed(method):
    def call(*args):
        global spent
        start = time.perf_counter()
        try:
            return method(*args)
        finally:
            spent += time.perf_counter() - start
    return call

loader.open_engine = timed(loader.open_engine)
native_engine.NativeEngine.set_constants = timed(native_engine.NativeEngine.set_constants)
from digits.models import net
print(json.dumps(spent * 1e3))
"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--wheel", type=Path, help="wheel of the example; built when left out")
    options = parser.parse_args()
    show(measure(options.repeats, options.wheel))


def measure(repeats: int, wheel: Path | None = None) -> list[Row]:
    """Measure both kinds of process in turn, of the example's wheel or of one that is built."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        install(wheel or example_wheel(directory), directory / "site")
        env = {"PYTHONPATH": str(directory / "site"), "OMP_NUM_THREADS": "1"}
        python_json("-c", IMPORT, env=env)  # the first one reads the files from the disk
        imports, loads = [], []
        for _ in range(repeats):
            imports.append(python_json("-c", IMPORT, env=env))
            loads.append(python_json("-c", LOAD, env=env))
    return [
        Row("import of net, median", statistics.median(imports), "ms", BOUND_IMPORT),
        Row("import of net, least", min(imports), "ms"),
        Row("  of it the load, median", statistics.median(loads), "ms", BOUND_LOAD),
        Row("  of it the load, least", min(loads), "ms"),
    ]


if __name__ == "__main__":
    main()
