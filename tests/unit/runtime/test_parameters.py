"""Parameters of every kind in generated modules: nested arguments, constants, ``*`` and ``**``."""

from __future__ import annotations

import inspect
from collections import OrderedDict, UserDict
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import torch
from samples import Loaded, LoadPackage, call_manifest

Parameter = inspect.Parameter
X = torch.zeros(2, 3)
A, B, C, D = (torch.full((2, 3), float(i)) for i in range(4))


@pytest.fixture
def load(load_package: LoadPackage) -> Callable[..., Loaded]:
    """A model with these parameters, which returns their tensors."""

    def load(parameters: Mapping[str, Any], **kinds: Any) -> Loaded:
        return load_package(call_manifest(parameters, kinds))

    return load


Load = Callable[..., Loaded]


def same(result: list[Any], *expected: torch.Tensor) -> bool:
    return len(result) == len(expected) and all(map(lambda a, b: a is b, result, expected))


def signature(loaded: Loaded) -> str:
    """The signature as a user reads it, without the types."""
    found = inspect.signature(loaded.net)
    plain = [p.replace(annotation=Parameter.empty) for p in found.parameters.values()]
    return str(found.replace(parameters=plain, return_annotation=inspect.Signature.empty))


def refused(loaded: Loaded, *args: Any, **kwargs: Any) -> str:
    """The error of a wrong call, which must not reach the compiled code."""
    loaded.received = []
    with pytest.raises((TypeError, ValueError)) as caught:
        loaded.net(*args, **kwargs)
    assert loaded.received == []
    return str(caught.value)


def test_a_positional_only_parameter_is_taken_by_position(load: Load) -> None:
    loaded = load({"a": X, "b": X}, a=Parameter.POSITIONAL_ONLY)
    assert signature(loaded) == "(a, /, b, *, out=None)"
    assert same(loaded.net(A, B), A, B)
    assert same(loaded.net(A, b=B), A, B)


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {"a": A, "b": B}, "net() takes argument 'a' by position only"),
        ((B,), {"a": A}, "net() takes argument 'a' by position only"),
        ((), {}, "net() is missing required argument 'a'; it takes a, b"),
        ((A,), {}, "net() is missing required argument 'b'; it takes a, b"),
        ((A, B, C), {}, "net() got 3 positional arguments, 1 too many; it takes a, b"),
        ((A, B), {"b": B}, "net() got multiple values for argument 'b'"),
        ((A, B), {"c": B}, "net() has no argument 'c'; it takes a, b"),
    ],
)
def test_a_call_that_a_positional_only_parameter_refuses_is_told(
    load: Load, args: tuple[Any, ...], kwargs: dict[str, Any], message: str
) -> None:
    loaded = load({"a": X, "b": X}, a=Parameter.POSITIONAL_ONLY)
    assert refused(loaded, *args, **kwargs) == message


def variadic(load: Load) -> Loaded:
    """``forward(x, *rest, scale, **extra)``, traced with two of ``rest`` and one of ``extra``."""
    return load(
        {"x": X, "rest": (X, X), "scale": 2.0, "extra": {"k": X}},
        rest=Parameter.VAR_POSITIONAL,
        scale=Parameter.KEYWORD_ONLY,
        extra=Parameter.VAR_KEYWORD,
    )


def test_a_variadic_model_is_called_as_it_was_traced(load: Load) -> None:
    loaded = variadic(load)
    assert signature(loaded) == "(x, *rest, scale=2.0, out=None, **extra)"
    assert same(loaded.net(A, B, C, k=D), A, B, C, D)
    assert same(loaded.net(A, B, C, scale=2.0, k=D), A, B, C, D)


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {"k": D}, "net() is missing required argument 'x'; it takes x, *rest, scale, **extra"),
        ((A, B), {"k": D}, "argument 'rest' must be a tuple of 2, got tuple of 1"),
        ((A, B, C, D), {"k": D}, "argument 'rest' must be a tuple of 2, got tuple of 3"),
        ((A, B, C), {}, "argument 'extra' must be a dict with the keys 'k', got"),
        (
            (A, B, C),
            {"k": D, "more": D},
            "argument 'extra' must be a dict with the keys 'k', got the keys 'k', 'more'",
        ),
        ((A, B, C), {"x": A, "k": D}, "net() got multiple values for argument 'x'"),
        (
            (A, B, C),
            {"k": D, "scale": 3.0},
            "argument 'scale' is always 2.0 in the compiled model, got 3.0",
        ),
        ((A, B, 3.0), {"k": D}, "argument 'rest[1]' must be a torch.Tensor, got float"),
        ((A, B, C), {"k": D.double()}, "argument 'extra[\"k\"]' must have dtype float32"),
        ((A, B, torch.zeros(3, 3)), {"k": D}, "batch is 3, but 2 in 'x'"),
    ],
)
def test_a_wrong_call_of_a_variadic_model_is_told(
    load: Load, args: tuple[Any, ...], kwargs: dict[str, Any], message: str
) -> None:
    assert message in refused(variadic(load), *args, **kwargs)


def test_extra_arguments_may_have_the_name_of_a_positional_only_parameter(load: Load) -> None:
    loaded = load(
        {"x": X, "extra": {"x": X}}, x=Parameter.POSITIONAL_ONLY, extra=Parameter.VAR_KEYWORD
    )
    assert same(loaded.net(A, x=B), A, B)
    assert "argument 'extra[\"x\"]' must be a torch.Tensor" in refused(loaded, A, x=3)
    assert "is missing required argument 'x'" in refused(loaded, x=B)


def test_only_variadic_parameters_may_be_there(load: Load) -> None:
    loaded = load({"rest": (X, X)}, rest=Parameter.VAR_POSITIONAL)
    assert signature(loaded) == "(*rest, out=None)"
    assert same(loaded.net(A, B), A, B)
    assert "has no argument 'rest'; it takes *rest" in refused(loaded, rest=(A, B))


class Pair(NamedTuple):
    """A tuple with names."""

    first: Any
    second: Any


class Own(UserDict[str, Any]):
    """A mapping that is no dict."""


NESTED = {"state": (X, {"k": X, "v": [X]}), "x": X}


@pytest.mark.parametrize(
    "state",
    [
        (A, {"k": B, "v": [C]}),
        (A, {"v": [C], "k": B}),
        [A, {"k": B, "v": (C,)}],
        Pair(A, OrderedDict(k=B, v=[C])),
        (A, MappingProxyType({"k": B, "v": [C]})),
        (A, Own(k=B, v=[C])),
    ],
    ids=["as traced", "other order", "other sequences", "own tuple", "view", "own mapping"],
)
def test_nested_arguments_are_taken_in_any_alike_form(load: Load, state: Any) -> None:
    loaded = load(NESTED)
    assert same(loaded.net(state, D), A, B, C, D)
    assert same(loaded.net(x=D, state=state), A, B, C, D)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (A, "argument 'state' must be a tuple of 2, got torch.Tensor of 2"),
        (3, "argument 'state' must be a tuple of 2, got int"),
        ((A,), "argument 'state' must be a tuple of 2, got tuple of 1"),
        ((A, [B, C]), "argument 'state[1]' must be a dict with the keys 'k', 'v', got list"),
        ((A, {"k": B}), "'state[1]' must be a dict with the keys 'k', 'v', got the keys 'k'"),
        ((A, {"k": B, "v": []}), "argument 'state[1][\"v\"]' must be a list of 1, got list of 0"),
        (
            (A, {"k": None, "v": [C]}),
            "argument 'state[1][\"k\"]' must be a torch.Tensor, got NoneT",
        ),
        ((A, {"k": B, "v": [C.int()]}), "argument 'state[1][\"v\"][0]' must have dtype float32"),
        ((A, {"k": B, "v": [C[:1]]}), "batch is 1, but 2 in 'state[0]'"),
    ],
)
def test_a_wrong_nesting_is_told_with_its_place(load: Load, state: Any, message: str) -> None:
    assert message in refused(load(NESTED), state, D)


@pytest.mark.parametrize("empty", [(), [], {}], ids=["tuple", "list", "dict"])
def test_an_empty_argument_is_let_through_without_the_slow_path(load: Load, empty: Any) -> None:
    loaded = load({"x": X, "empty": empty})
    net = loaded.net
    net._nest = None  # it would be called
    assert same(net(A, empty), A)
    del net._nest
    assert "argument 'empty' must be" in refused(loaded, A, {"k": B})


CONSTANTS: list[tuple[Any, list[Any]]] = [
    (True, [False, 1, None]),
    (False, [0, True]),
    (None, [0, False, ""]),
    (3, [3.0, 4, True]),
    (1, [True, 1.0]),
    (0.5, [1, 0.25]),
    ("fast", ["slow", None]),
    (float("inf"), [float("-inf"), 1e300]),
]


@pytest.mark.parametrize(("value", "others"), CONSTANTS, ids=str)
def test_a_constant_is_that_value_of_that_type(load: Load, value: Any, others: list[Any]) -> None:
    loaded = load({"x": X, "flag": value})
    assert same(loaded.net(A), A)
    assert same(loaded.net(A, value), A)
    assert same(loaded.net(A, flag=value), A)
    for other in others:
        message = refused(loaded, A, other)
        assert (
            f"argument 'flag' is always {value!r} in the compiled model, got {other!r}" in message
        )
        assert f"Pass {value!r}, or compile another model with that value" in message


def test_a_constant_before_a_tensor_has_no_default(load: Load) -> None:
    assert signature(load({"flag": True, "x": X})) == "(flag, x, *, out=None)"


def test_a_constant_between_keywords_has_a_default(load: Load) -> None:
    loaded = load(
        {"x": X, "flag": 3, "y": X}, flag=Parameter.KEYWORD_ONLY, y=Parameter.KEYWORD_ONLY
    )
    assert signature(loaded) == "(x, *, flag=3, y, out=None)"
    assert same(loaded.net(A, y=B), A, B)


def test_arguments_that_nest_alike_may_have_alike_names(load: Load) -> None:
    loaded = load({"a": (X, X), "a_0": X, "outputs": X})
    assert same(loaded.net((A, B), C, D), A, B, C, D)
