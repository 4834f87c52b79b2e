"""Binding: declared inputs and example calls to parameters, and nesting told and rebuilt."""

from __future__ import annotations

import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch

from aotbuild.errors import ConfigError, ExportError
from aotbuild.steps.export.arguments import (
    Argument,
    Parameter,
    as_call,
    bind_declared,
    bind_example,
    call_tree,
    nested_call,
    tensors_of,
    with_tensors,
)

PATH = "tool.aotbuild.models.net"
Forward = Callable[..., Any]


def ordinary(x: Any, y: Any, scale: Any = 1.0) -> None: ...
def positional(x: Any, y: Any = 2, /, z: Any = 3) -> None: ...
def keywords(x: Any, *, mask: Any, scale: Any = 1.0) -> None: ...
def variadic(x: Any, *rest: Any, scale: Any = 1.0, **extra: Any) -> None: ...
def defaults(x: Any, y: Any = None, *rest: Any) -> None: ...


def forward(x: Any, y: Any = None, z: Any = None) -> None: ...


def bound(method: Forward, **declared: Any) -> list[Argument]:
    return bind_declared(method, declared, f"{PATH}.inputs")


def kinds(arguments: list[Argument]) -> dict[str, str]:
    return {argument.name: argument.kind.name for argument in arguments}


def received(method: Forward, arguments: list[Argument]) -> dict[str, Any]:
    """What a method gets when it is called with bound arguments."""
    args, kwargs = as_call(arguments)
    return dict(inspect.signature(method).bind(*args, **kwargs).arguments)


CALLS: list[tuple[Forward, dict[str, Any]]] = [
    (ordinary, {"x": 1, "y": 2}),
    (ordinary, {"x": 1, "y": 2, "scale": 3}),
    (positional, {"x": 1}),
    (positional, {"x": 1, "z": 5}),
    (positional, {"x": 1, "y": 4, "z": 5}),
    (keywords, {"x": 1, "mask": 2}),
    (keywords, {"x": 1, "mask": 2, "scale": 3}),
    (variadic, {"x": 1}),
    (variadic, {"x": 1, "rest": (2, 3)}),
    (variadic, {"x": 1, "extra": {"k": 2, "v": 3}}),
    (variadic, {"x": 1, "rest": (2,), "scale": 3, "extra": {"k": 4}}),
    (defaults, {"x": 1}),
    (defaults, {"x": 1, "y": 2, "rest": (3, 4)}),
    (forward, {"x": 1, "z": 3}),
]


@pytest.mark.parametrize(("method", "declared"), CALLS)
def test_a_call_passes_to_each_parameter_what_was_declared_for_it(
    method: Forward, declared: dict[str, Any]
) -> None:
    assert received(method, bound(method, **declared)) == declared
    backwards = dict(reversed(declared.items()))
    assert received(method, bound(method, **backwards)) == declared


def test_arguments_come_in_the_order_of_the_parameters() -> None:
    assert list(kinds(bound(ordinary, scale=3, y=2, x=1))) == ["x", "y", "scale"]


def test_behind_an_omitted_parameter_the_others_are_passed_by_name() -> None:
    assert kinds(bound(forward, x=1, z=3)) == {"x": "POSITIONAL_OR_KEYWORD", "z": "KEYWORD_ONLY"}
    assert as_call(bound(forward, x=1, z=3))[1]["z"] == 3


def test_before_star_args_all_are_passed_by_position() -> None:
    assert as_call(bound(variadic, x=1, rest=(2, 3), scale=4)) == ((1, 2, 3), {"scale": 4})


def refusal(method: Forward, **declared: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        bound(method, **declared)
    return caught.value


def test_an_unknown_parameter_is_told_with_a_suggestion() -> None:
    error = refusal(ordinary, x=1, y=2, scal=3)
    assert error.what == 'ordinary() has no parameter "scal"'
    assert error.where == f"pyproject.toml: {PATH}.inputs.scal"
    assert error.fix == 'did you mean "scale"?'
    assert refusal(ordinary, qqqq=3).fix == "its parameters are: x, y, scale"
    assert refusal(lambda: None, qqqq=3).fix == "its parameters are: none"


def test_a_required_parameter_without_an_input_is_told_with_what_to_add() -> None:
    error = refusal(keywords, x=1)
    assert error.what == 'the parameter "mask" of keywords() has no input'
    assert error.where == f"pyproject.toml: {PATH}.inputs"
    assert error.why.startswith("keywords(x: ")
    assert error.fix == 'add mask = { shape = [...], dtype = "float32" }'


@pytest.mark.parametrize(
    ("declared", "what", "fix"),
    [
        (
            {"rest": 3},
            'the inputs of "*rest" are no array',
            "write rest = [ { shape = [...] }, ... ]",
        ),
        (
            {"rest": {"k": 3}},
            'the inputs of "*rest" are no array',
            "write rest = [ { shape = [...] }, ... ]",
        ),
        (
            {"extra": (3,)},
            'the inputs of "**extra" are no table',
            "write extra = { name = { shape = [...] }, ... }",
        ),
    ],
)
def test_a_variadic_parameter_takes_an_array_or_a_table(
    declared: dict[str, Any], what: str, fix: str
) -> None:
    error = refusal(variadic, x=1, **declared)
    assert (error.what, error.fix) == (what, fix)
    assert error.where == f"pyproject.toml: {PATH}.inputs.{next(iter(declared))}"


@pytest.mark.parametrize(("method", "name"), [(positional, "y"), (defaults, "rest")])
def test_a_parameter_that_can_only_follow_another_is_told(method: Forward, name: str) -> None:
    def holes(a: Any = 1, b: Any = 2, /) -> None: ...

    method = holes if name == "y" else method
    last, omitted = ("b", "a") if name == "y" else ("rest", "y")
    required = {} if name == "y" else {"x": 1}
    error = refusal(method, **required, **{last: (3,)})
    assert error.what == f'the parameter "{omitted}" is left out, but "{last}" behind it is not'
    assert error.why == f"{last} can only be passed by position"
    assert error.fix == f"declare {omitted} too"


def test_an_example_call_is_bound_as_python_binds_it() -> None:
    arguments = bind_example(variadic, (1, 2, 3), {"k": 4, "scale": 5}, f"{PATH}.example")
    found = {argument.name: argument.value for argument in arguments}
    assert found == {"x": 1, "rest": (2, 3), "scale": 5, "extra": {"k": 4}}
    assert as_call(arguments) == ((1, 2, 3), {"k": 4, "scale": 5})


@pytest.mark.parametrize(
    ("args", "kwargs", "why"),
    [
        ((), {}, "missing a required argument: 'x'"),
        ((1, 2, 3, 4), {}, "too many positional arguments"),
        ((1,), {"x": 2, "y": 3}, "multiple values for argument 'x'"),
        ((1, 2), {"scal": 3}, "got an unexpected keyword argument 'scal'"),
    ],
)
def test_an_example_call_that_does_not_bind_is_told(
    args: tuple[Any, ...], kwargs: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        bind_example(ordinary, args, kwargs, f"{PATH}.example")
    assert caught.value.what.startswith("the example does not fit ordinary(x: ")
    assert caught.value.where == f"pyproject.toml: {PATH}.example"
    assert caught.value.why == why
    assert caught.value.fix == "return (args, kwargs) as the method takes them"


def test_a_function_without_a_name_of_its_own_can_be_told() -> None:
    partial = functools.partial(ordinary, scale=2.0)
    assert received(partial, bound(partial, x=1, y=2)) == {"x": 1, "y": 2}
    assert refusal(partial, x=1).what == 'the parameter "y" of forward() has no input'
    with pytest.raises(ConfigError, match=r"^the example does not fit forward\("):
        bind_example(partial, (), {}, PATH)


class Pair(NamedTuple):
    """A tuple with names."""

    first: Any
    second: Any


T = torch.zeros(2)
TREES: list[tuple[Any, dict[str, Any], list[str]]] = [
    (T, {"type": "tensor", "index": 0}, ["x"]),
    (None, {"type": "constant", "value": None}, []),
    ("mode", {"type": "constant", "value": "mode"}, []),
    ((T,), {"type": "tuple", "items": [{"type": "tensor", "index": 0}]}, ["x[0]"]),
    ([T], {"type": "list", "items": [{"type": "tensor", "index": 0}]}, ["x[0]"]),
    (
        {"k": T, 3: 1.5},
        {
            "type": "dict",
            "keys": ["k", 3],
            "items": [{"type": "tensor", "index": 0}, {"type": "constant", "value": 1.5}],
        },
        ['x["k"]'],
    ),
    ({3: [T]}, {"type": "dict", "keys": [3]}, ["x[3][0]"]),
    (
        Pair(T, T),
        {"type": "tuple", "items": [{"type": "tensor", "index": i} for i in range(2)]},
        ["x[0]", "x[1]"],
    ),
]


@pytest.mark.parametrize(("value", "tree", "labels"), TREES)
def test_nesting_is_told_in_the_terms_of_the_call_spec(
    value: Any, tree: dict[str, Any], labels: list[str]
) -> None:
    spec, found = call_tree([Argument("x", Parameter.POSITIONAL_OR_KEYWORD, value)], PATH)
    assert (spec["type"], spec["keys"], found) == ("dict", ["x"], labels)
    (item,) = spec["items"]
    assert {key: item[key] for key in tree} == tree
    assert "kind" not in item


def test_parameters_that_are_not_ordinary_tell_their_kind() -> None:
    arguments = bound(variadic, x=T, rest=(T,), scale=2, extra={"k": T})
    spec, labels = call_tree(arguments, PATH)
    told = {key: item.get("kind") for key, item in zip(spec["keys"], spec["items"], strict=True)}
    assert told == {
        "x": None,
        "rest": "var-positional",
        "scale": "keyword-only",
        "extra": "var-keyword",
    }
    assert labels == ["x", "rest[0]", 'extra["k"]']
    items = call_tree(bound(positional, x=T, y=T), PATH)[0]["items"]
    assert [item["kind"] for item in items] == ["positional-only"] * 2


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, torch.float32, {(1, 2): T}, [{None: T}], torch.Size([2]).__iter__]
)
def test_what_a_compiled_model_cannot_take_is_told(value: Any) -> None:
    arguments = [Argument("x", Parameter.POSITIONAL_OR_KEYWORD, value)]
    with pytest.raises(ExportError, match=r"^the argument x(\[0\])? is a ") as caught:
        call_tree(arguments, f"pyproject.toml: {PATH}")
    assert caught.value.where == f"pyproject.toml: {PATH}"
    assert "tensors, numbers, strings and None in tuples, lists and dicts" in caught.value.why


VALUES: list[dict[str, Any]] = [
    {"x": T},
    {"x": T, "rest": (T, [T, {"k": T}]), "scale": 2.5, "extra": {"b": (T, None), "a": "mode"}},
    {"x": {"b": T, "a": [T]}, "rest": ((), [], {})},
]


def numbered(values: list[Any]) -> list[torch.Tensor]:
    return [torch.tensor(i) for i, _ in enumerate(values)]


@pytest.mark.parametrize("declared", VALUES)
def test_a_call_is_rebuilt_from_the_call_spec_and_the_tensors(declared: dict[str, Any]) -> None:
    arguments = bound(variadic, **declared)
    spec, labels = call_tree(arguments, PATH)
    tensors = numbered(labels)
    given = iter(tensors)
    expected = as_call([Argument(a.name, a.kind, with_tensors(a.value, given)) for a in arguments])
    assert next(given, None) is None
    assert nested_call(spec, tensors) == expected


@pytest.mark.parametrize("declared", VALUES)
def test_tensors_are_in_the_order_of_their_labels(declared: dict[str, Any]) -> None:
    arguments = bound(variadic, **declared)
    _, labels = call_tree(arguments, PATH)
    tensors = numbered(labels)
    given = iter(tensors)
    values = {a.name: with_tensors(a.value, given) for a in arguments}
    for label, tensor in zip(labels, tensors, strict=True):
        assert eval(label, values) is tensor  # noqa: S307
    assert [t for value in values.values() for t in tensors_of(value)] == tensors


def test_the_types_of_arguments_survive_new_tensors() -> None:
    value = OrderedDict(b=Pair(T, [T]), a=(T, 3, None, "x"))
    found = with_tensors(value, iter("wxyz"))
    assert found == OrderedDict(b=Pair("w", ["x"]), a=("y", 3, None, "x"))
    assert (type(found), type(found["b"])) == (OrderedDict, Pair)
    assert tensors_of(found) == []
