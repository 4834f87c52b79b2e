"""A model by another runtime, measured: ``python -P -m aotbuild.commands.bench.others SPEC``.

It runs in a process of its own, as ``worker`` does, but where aotbuild and torch are installed.
SPEC and what it prints are JSON.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings

from aotbuild.commands.bench.worker import resident
from aotbuild.errors import AotBuildError


def main(text: str) -> None:
    """Measure, and print the figures, or why there are none."""
    before = resident()
    from aotbuild.commands.bench.arms import LeftOutError, measured  # imports torch

    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    try:
        found = measured(json.loads(text), before)
    except (LeftOutError, AotBuildError) as error:
        found = {"left_out": str(error).partition("\n")[0]}
    except Exception as error:  # noqa: BLE001  # whatever the runtime or the module raises
        said = str(error).strip().partition("\n")[0]
        found = {"left_out": f"{type(error).__name__}: {said}".rstrip(": ")}
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
