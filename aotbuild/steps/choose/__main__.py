"""``python -m aotbuild.steps.choose <project> <file> <model>...``: what runs these models.

The hook calls it for the metadata of a wheel, before there is a build. The answer goes to the file.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from aotbuild.config.project import load_declared
from aotbuild.errors import reported
from aotbuild.steps.choose.chosen import choices_of


def main(directory: str, output: str, *names: str) -> None:
    """Find it out, and write it.

    Args:
        directory: Directory of the project.
        output: The file.
        names: The models.
    """
    with reported():
        choices = choices_of(load_declared(Path(directory)), names)
        told = {name: dataclasses.asdict(choice) for name, choice in choices.items()}
        Path(output).write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
