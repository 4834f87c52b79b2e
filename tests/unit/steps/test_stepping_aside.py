"""A torch that is not known, with which kernels do not compile."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytest

from aotbuild.errors import CompileError
from aotbuild.steps.compile import stepping_aside as module
from aotbuild.steps.compile.attempts import Attempt
from aotbuild.steps.compile.stepping_aside import LowerWithout, stepping_aside
from aotbuild.steps.sizes.ranges import Ranges
from aotbuild.steps.torch_parts import moved
from aotbuild.steps.torch_parts.kernels import KERNELS

RANGES = Ranges({}, [])


def lowering(fails: Callable[[Collection[str]], bool], seen: list[set[str]]) -> LowerWithout:
    def lowered(
        sizes: dict[str, int], wanted: Callable[[Ranges], bool], aside: Collection[str]
    ) -> Attempt:
        assert wanted(RANGES)
        seen.append(set(aside))
        if fails(aside):
            raise CompileError(f"without {len(aside)} passes")
        return Attempt(sizes, RANGES, None)

    return lowered


@pytest.fixture
def unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moved, "torch_version", lambda: "2.99.0+cpu")


@pytest.mark.usefixtures("unknown")
def test_kernels_step_aside_where_an_unknown_torch_fails_with_them() -> None:
    seen: list[set[str]] = []
    attempt = stepping_aside(lowering(lambda aside: not aside, seen))({"n": 2}, lambda _: True)
    assert attempt.sizes == {"n": 2}
    assert attempt.aside == ["templates"]
    assert seen == [set(), set(KERNELS.passes)]


@pytest.mark.usefixtures("unknown")
def test_kernels_that_compile_stay() -> None:
    seen: list[set[str]] = []
    attempt = stepping_aside(lowering(lambda _: False, seen))({}, lambda _: True)
    assert attempt.aside == ()
    assert seen == [set()]


@pytest.mark.usefixtures("unknown")
def test_of_two_errors_the_first_is_told() -> None:
    with pytest.raises(CompileError, match="without 0 passes"):
        stepping_aside(lowering(lambda _: True, []))({}, lambda _: True)


def test_with_a_torch_that_is_known_an_error_is_one() -> None:
    assert moved.is_known()
    seen: list[set[str]] = []
    with pytest.raises(CompileError, match="without 0 passes"):
        stepping_aside(lowering(lambda aside: not aside, seen))({}, lambda _: True)
    assert len(seen) == 1


@pytest.mark.usefixtures("unknown")
def test_nothing_is_tried_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "passes_aside", lambda: set(KERNELS.passes))
    seen: list[set[str]] = []
    with pytest.raises(CompileError):
        stepping_aside(lowering(lambda _: True, seen))({}, lambda _: True)
    assert len(seen) == 1
