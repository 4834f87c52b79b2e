"""Which versions of torch run what was compiled, and whether the wheel requires these."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from aotbuild.config.messages import located
from aotbuild.errors import CompileError
from aotbuild.steps.artifacts.build_record import BuildRecord
from aotbuild.torch_version import TorchNeed, installed_range, runtime_range


def torch_range(records: Sequence[BuildRecord], policy: str) -> str:
    """The versions of torch that run libraries, such as ``>=2.13``.

    Args:
        records: Their build records; none where eager torch runs the models.
        policy: Which versions the wheel runs with, as in the declaration.
    """
    if not records:
        return installed_range()
    return runtime_range(Version(records[0].compiled["torch"]), policy, _need(records))


def check_required(records: Sequence[BuildRecord], policy: str, required: str) -> None:
    """Check that each version of torch that the wheel allows runs its libraries.

    What the wheel requires was decided before they were compiled.

    Args:
        records: The build records of all libraries.
        policy: Which versions the wheel runs with, as in the declaration.
        required: The versions that the wheel requires; empty where that is not known.

    Raises:
        CompileError: It requires others.
    """
    need = _need(records)
    if not required or need is None:
        return
    found = torch_range(records, policy)
    if not _allows_more(required, found):
        return
    raise CompileError(
        f"the wheel would require torch{required}, but its libraries run with torch{found}",
        where=located("tool.aotbuild.torch"),
        why=need.bound or f"they call functions that torch has since {need.oldest}",
        fix='write torch = "minor", and report it to the aotbuild project',
    )


def _need(records: Sequence[BuildRecord]) -> TorchNeed | None:
    """What libraries need of torch; None where they need none."""
    needs = [record.torch for record in records if record.torch]
    return functools.reduce(TorchNeed.joined, needs) if needs else None


def _allows_more(required: str, found: str) -> bool:
    """Whether a version, as far as minor ones tell, is in the first range and not in the other."""
    one, other = SpecifierSet(required), SpecifierSet(found)
    numbers = {Version(each.version).release[:2] for each in (*one, *other)}
    minors = {(major, minor + step) for major, minor in numbers for step in (-1, 0, 1)}
    versions = [f"{major}.{max(minor, 0)}.0" for major, minor in minors]
    return any(
        one.contains(version, prereleases=True) and not other.contains(version, prereleases=True)
        for version in versions
    )
