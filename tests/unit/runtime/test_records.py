"""Records are what dataclasses makes of the same classes."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from aotbuild.runtime import records
from aotbuild.runtime.dims import Affine, Dim
from aotbuild.runtime.manifest import Constant, File, Manifest, Variant


@records.dataclass(frozen=True)
class Point:
    """Has fields of each kind."""

    x: int
    y: int = 2
    tags: list[str] = records.field(default_factory=list)


@records.dataclass(frozen=True, eq=False)
class Handle:
    """Is equal to itself alone."""

    name: str


@dataclasses.dataclass(frozen=True)
class Plain:
    """The same, by dataclasses."""

    x: int
    y: int = 2
    tags: list[str] = dataclasses.field(default_factory=list)


def test_fields_are_given_by_position_by_name_or_by_default() -> None:
    assert vars(Point(1)) == {"x": 1, "y": 2, "tags": []}
    assert vars(Point(1, 3, ["a"])) == vars(Point(tags=["a"], y=3, x=1))
    assert Point(1).tags is not Point(1).tags
    assert Point.y == Plain.y == 2
    assert not hasattr(Point, "tags")


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((), {"y": 1}), ((1,), {"z": 1}), ((1,), {"x": 1}), ((1, 2, [], 4), {})],
)
def test_wrong_arguments_are_type_errors(args: Any, kwargs: Any) -> None:
    for cls in (Point, Plain):
        with pytest.raises(TypeError):
            cls(*args, **kwargs)


def test_the_error_names_the_field() -> None:
    with pytest.raises(TypeError, match=r"Point\(\) has the fields x, y, tags: z"):
        Point(1, z=3)  # type: ignore[call-arg]


def test_they_are_frozen() -> None:
    point: Any = Point(1)
    with pytest.raises(AttributeError, match="cannot assign to field 'x'"):
        point.x = 3
    with pytest.raises(AttributeError, match="cannot delete field 'x'"):
        del point.x


def test_they_are_equal_by_their_fields_or_not_at_all() -> None:
    assert Point(1) == Point(1, 2)
    assert Point(1) != Point(2)
    assert Point(1).__eq__(Plain(1)) is NotImplemented
    assert {Dim(1, 2): 1}[Dim(1, 2)] == 1
    assert Dim(1, 2) != Dim(1, 3)
    one = Handle("a")
    assert one == one  # noqa: PLR0124
    assert one != Handle("a")
    assert len({one, Handle("a")}) == 2


def test_they_show_their_fields() -> None:
    assert repr(Point(1)) == repr(Plain(1)).replace("Plain", "Point")
    assert repr(Dim(1, None)) == "Dim(min=1, max=None, multiple_of=1)"


def test_functions_of_dataclasses_take_them() -> None:
    assert dataclasses.asdict(Point(1)) == dataclasses.asdict(Plain(1))
    assert dataclasses.replace(Point(1), y=5) == Point(1, 5)
    for cls in (Point, Dim, Affine, Manifest, Variant, File, Constant):
        assert dataclasses.is_dataclass(cls)
    told = [(f.name, f.default, f.default_factory) for f in dataclasses.fields(Point)]
    assert told == [(f.name, f.default, f.default_factory) for f in dataclasses.fields(Plain)]


def test_a_dataclass_may_derive_from_one() -> None:
    @dataclasses.dataclass(frozen=True)
    class Named(Point):
        name: str = ""

    assert Named(1, name="a") == Named(1, 2, [], "a")


def test_they_are_copied_pickled_and_matched() -> None:
    point = Point(1, 2, ["a"])
    assert pickle.loads(pickle.dumps(point)) == copy.copy(point) == copy.deepcopy(point) == point  # noqa: S301
    match point:
        case Point(x, y):
            assert (x, y) == (1, 2)
