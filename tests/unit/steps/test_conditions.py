"""Conditions between sizes: torch's expressions as Python, and what the runtime evaluates."""

from __future__ import annotations

import math
from typing import Any

import pytest
import sympy
from torch.utils._sympy import functions

from aotbuild.runtime.conditions import calls, compiled, holds
from aotbuild.steps.sizes.conditions import as_function, condition_text

of_torch: Any = functions

N, M = (sympy.Symbol(name, integer=True, positive=True) for name in "nm")
FLOAT = of_torch.ToFloat(N)

EXPRESSIONS: dict[str, tuple[Any, Any]] = {
    "round": (of_torch.RoundToInt(0.25 * FLOAT), lambda n, _: round(0.25 * n)),
    "round to digits": (of_torch.RoundDecimal(0.123 * FLOAT, 2), lambda n, _: round(0.123 * n, 2)),
    "ceil": (of_torch.CeilToInt(of_torch.IntTrueDiv(N, 3)), lambda n, _: math.ceil(n / 3)),
    "floor": (
        of_torch.FloorToInt(of_torch.FloatTrueDiv(FLOAT, 1.5)),
        lambda n, _: math.floor(n / 1.5),
    ),
    "int": (of_torch.TruncToInt(0.7 * FLOAT + 0.5), lambda n, _: int(n * 0.7 + 0.5)),
    "truncated": (of_torch.TruncToFloat(0.7 * FLOAT), lambda n, _: float(int(0.7 * n))),
    "root": (
        of_torch.TruncToInt(of_torch.OpaqueUnaryFn_sqrt(FLOAT)),
        lambda n, _: int(math.sqrt(n)),
    ),
    "log2": (of_torch.OpaqueUnaryFn_log2(FLOAT), lambda n, _: math.log2(n)),
    "power": (of_torch.FloatPow(FLOAT, 0.5), lambda n, _: n**0.5),
    "square": (of_torch.PowByNatural(N, 2) * M, lambda n, m: n**2 * m),
    "max": (of_torch.Max(N, 3 * M), lambda n, m: max(n, 3 * m)),
    "min": (of_torch.Min(N, M + 1), lambda n, m: min(n, m + 1)),
    "abs": (sympy.Abs(N - 2 * M), lambda n, m: abs(n - 2 * m)),
    "mod": (of_torch.Mod(N, 4), lambda n, _: n % 4),
    "python mod": (of_torch.PythonMod(N - 9, M), lambda n, m: (n - 9) % m),
    "floor division": (of_torch.FloorDiv(N, 2), lambda n, _: n // 2),
    "ceil division": (of_torch.CeilDiv(N, 4), lambda n, _: -(-n // 4)),
    "indexing": (of_torch.ModularIndexing(N, 2, 3), lambda n, _: n // 2 % 3),
    "where": (of_torch.Where(N > 3, N, M), lambda n, m: n if n > 3 else m),
    "floor of sympy": (sympy.floor(N / 3), lambda n, _: n // 3),
    "ceiling of sympy": (sympy.ceiling(N / 3), lambda n, _: -(-n // 3)),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_what_torch_prints_for_itself_is_plain_arithmetic_here(name: str) -> None:
    expression, expected = EXPRESSIONS[name]
    for bound in (0, 1, 2.5, 6):
        condition = sympy.Gt(expression, bound, evaluate=False)
        accepts = as_function(condition, [N, M])
        text = condition_text(condition)
        assert "torch" not in text
        for n in (1, 2, 3, 9, 10, 18, 50):
            for m in (1, 4, 7):
                right = expected(n, m) > bound
                assert accepts(n, m) is right
                assert holds(text, {"n": n, "m": m}) is right


def test_every_function_of_sizes_that_torch_has_is_known() -> None:
    names = {name for name in vars(of_torch) if name.startswith("OpaqueUnaryFn_")}
    assert len(names) > 10
    for name in names:
        assert condition_text(getattr(of_torch, name)(FLOAT)).endswith("(float(n))")


@pytest.mark.parametrize("text", ["n / (n - 4) > 1", "sqrt(n - 9) > 1", "log(n - 4) > 0"])
def test_what_cannot_be_computed_does_not_hold(text: str) -> None:
    assert holds(text, {"n": 4}) is False


def test_a_dimension_may_be_called_as_a_function_is() -> None:
    assert holds("round(0.5*round) == 2", {"round": 4})


@pytest.mark.parametrize(
    "text", ["open('f')", "n.bit_length() > 2", "__import__('os')", "[n][0] > 1", "max(key=n) > 1"]
)
def test_anything_else_is_no_condition(text: str) -> None:
    with pytest.raises(ValueError, match=r"no (condition|function)"):
        compiled(text)


def test_calls_are_told_from_arithmetic() -> None:
    assert calls("floor(0.5*n) >= 1")
    assert not calls("(n % 2) == 0")
