"""Proofs: whether what a trace asks about sizes has one answer for all of their ranges.

torch decides a condition by the bounds of its two sides alone. Those of ``2*((h - 3)//2) < h - 2``
overlap, so that it notes a guard, and refuses a range in which that guard always holds. Here such a
condition is decided by what it is made of, or by trying the sizes of a range that is not too long.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator, Mapping
from itertools import islice, product
from typing import Any

import sympy
import torch.utils._sympy.functions as torch_functions
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._sympy.functions import FloorDiv
from torch.utils._sympy.numbers import int_oo
from torch.utils._sympy.value_ranges import ValueRanges, bound_sympy

from aotbuild.steps.sizes.conditions import as_function

_COMBINATIONS = 1 << 16
"""How many combinations of sizes are tried."""
_RESIDUES = 256
"""How many cases sizes are divided into by what remains of divisions."""
_NESTED = 3
"""How many divisions of one another are resolved."""
_REMAINDERS = tuple(
    getattr(torch_functions, name)
    for name in ("Mod", "PythonMod", "ModularIndexing")
    if name != "ModularIndexing" and hasattr(torch_functions, name)
)

_CONDITIONS = (sympy.core.relational.Relational, sympy.logic.boolalg.BooleanFunction)
"""A symbol is a boolean too, to sympy."""

Sizes = Mapping[sympy.Symbol, "ValueRanges[Any]"]


def decided(condition: sympy.Basic, sizes: Sizes) -> bool | None:
    """Whether a condition holds for all sizes, or for none.

    Args:
        condition: A condition on symbols that stand for integers.
        sizes: The range of each symbol, and of others.

    Returns:
        True if it holds for all combinations of sizes, False if it holds for none, and None if it
        depends on them or nothing proves it.
    """
    free = sorted(condition.free_symbols, key=str)
    if not isinstance(condition, _CONDITIONS) or not set(free) <= set(sizes):
        return None
    return _decided(condition, tuple((symbol, sizes[symbol]) for symbol in free))


@contextlib.contextmanager
def proving() -> Iterator[None]:
    """Let torch add no guard for what is proved here.

    torch 2.13 to 2.15; ``test_proofs.py`` notices when torch itself decides these conditions.
    """
    env: Any = ShapeEnv
    original = getattr(env, "_maybe_evaluate_static", None)
    if original is None:  # another torch: it asks more than it has to
        yield
        return

    @functools.wraps(original)
    def evaluate(self: Any, expr: Any, *args: Any, **kwargs: Any) -> Any:
        known = original(self, expr, *args, **kwargs)
        if known is not None or args or any(kwargs.values()):
            return known
        answer = decided(self.simplify(expr), self.var_to_range)
        return known if answer is None else sympy.sympify(answer)

    env._maybe_evaluate_static = evaluate
    try:
        yield
    finally:
        env._maybe_evaluate_static = original


@functools.lru_cache(maxsize=1 << 14)
def _decided(
    condition: sympy.Basic, sizes: tuple[tuple[sympy.Symbol, ValueRanges[Any]], ...]
) -> bool | None:
    ranges = dict(sizes)
    bounded = _by_bounds(condition, ranges)
    if bounded is not None:
        return bounded
    example = _by_example(condition, ranges)
    if example is None:  # some sizes fulfil it, and others do not
        return None
    if _by_residues(condition, ranges, _NESTED) is example:
        return example
    return example if _for_each(condition, ranges, holds=example) else None


def _by_bounds(condition: sympy.Basic, sizes: Sizes) -> bool | None:
    """What the bounds of the sides prove, or the sign of their difference."""
    condition = _without_remainders(condition, sizes)
    forms = [condition]
    if isinstance(condition, sympy.core.relational.Relational):
        # Bounds of the two sides overlap in ``4*new < 4*new*batch``; the sign of a product of
        # factors, ``4*new*(1 - batch) < 0``, is plain.
        difference = sympy.expand(condition.lhs - condition.rhs)
        forms.append(condition.func(difference, 0))
        with contextlib.suppress(sympy.PolynomialError):
            forms.append(condition.func(sympy.factor(difference), 0))
            forms.append(condition.func(*map(sympy.factor, condition.args)))
    for form in map(sympy.sympify, forms):
        if form in {sympy.true, sympy.false}:
            return bool(form)
        with contextlib.suppress(Exception):  # what torch has no bounds for
            bounds = bound_sympy(form, dict(sizes))
            if bounds.is_singleton():
                return bool(bounds.lower)
    return None


def _without_remainders(condition: sympy.Basic, sizes: Sizes) -> sympy.Basic:
    """A condition in which no smaller number is divided by a larger one."""
    smaller = {
        remainder: remainder.args[0]
        for remainder in condition.atoms(*_REMAINDERS)
        if _is_between(remainder.args[0], remainder.args[1], sizes)
    }
    smaller |= {
        quotient: sympy.Integer(0)
        for quotient in condition.atoms(FloorDiv)
        if _is_between(quotient.args[0], quotient.args[1], sizes)
    }
    return sympy.sympify(condition.xreplace(smaller)) if smaller else condition


def _is_between(dividend: sympy.Expr, divisor: sympy.Expr, sizes: Sizes) -> bool:
    """Whether ``0 <= dividend < divisor``."""
    below = sympy.factor(sympy.expand(divisor - dividend))
    with contextlib.suppress(Exception):  # what torch has no bounds for
        least = bound_sympy(dividend, dict(sizes)).lower
        return bool(least >= 0 and bound_sympy(below, dict(sizes)).lower > 0)
    return False


def _by_residues(condition: sympy.Basic, sizes: Sizes, depth: int) -> bool | None:
    """What is proved for each remainder that sizes can leave, where they are divided by numbers.

    With ``h = 2*q`` and ``h = 2*q + 1`` no division is left in ``2*((h - 3)//2) < h - 2``.
    """
    periods = _periods(condition)
    if not depth or not periods or math.prod(periods.values()) > _RESIDUES:
        return None
    answers: set[bool | None] = set()
    for residues in product(*(range(period) for period in periods.values())):
        parts = dict(sizes)
        values: dict[sympy.Symbol, sympy.Expr] = {}
        for (symbol, period), residue in zip(periods.items(), residues, strict=True):
            quotient = sympy.Symbol(f"{symbol}_over_{period}", integer=True, nonnegative=True)
            values[symbol] = period * quotient + residue
            parts[quotient] = _quotients(sizes[symbol], period, residue)
        if any(parts[q].lower > parts[q].upper for q in parts if q not in sizes):
            continue  # no size of the range leaves it
        case = _divided(sympy.sympify(condition.xreplace(values)))
        answer = _by_bounds(case, parts)
        if answer is None:
            answer = _by_residues(case, parts, depth - 1)
        answers.add(answer)
        if len(answers) > 1 or answer is None:
            return None
    return answers.pop() if answers else None


def _periods(condition: sympy.Basic) -> dict[sympy.Symbol, int]:
    """For each symbol that is divided by numbers the least common multiple of these."""
    periods: dict[sympy.Symbol, int] = {}
    for division in condition.atoms(FloorDiv, *_REMAINDERS):
        dividend, divisor = division.args
        if divisor.is_Integer and divisor > 0 and not dividend.has(FloorDiv, *_REMAINDERS):
            for symbol in dividend.free_symbols:
                periods[symbol] = math.lcm(periods.get(symbol, 1), int(divisor))
    return dict(sorted(periods.items(), key=str))


def _quotients(sizes: ValueRanges[Any], period: int, residue: int) -> Any:
    low = -((residue - int(sizes.lower)) // period)
    unlimited = sizes.upper == int_oo
    high = int_oo if unlimited else (int(sizes.upper) - residue) // period
    return _Ends(low, high) if not unlimited and low > high else ValueRanges(low, high)


class _Ends:
    """The ends of a range that is empty, which torch's class refuses."""

    def __init__(self, lower: int, upper: int) -> None:
        self.lower = lower
        self.upper = upper


def _divided(condition: sympy.Basic) -> sympy.Basic:
    """A condition whose divisions by numbers are carried out where they can be."""

    def quotient(dividend: Any, divisor: Any) -> Any:
        if not divisor.is_Integer or divisor <= 0:
            return FloorDiv(dividend, divisor)
        whole, rest = _split(dividend, divisor)
        return whole + (FloorDiv(rest, divisor) if rest.free_symbols else rest // divisor)

    condition = condition.replace(FloorDiv, quotient)
    for kind in _REMAINDERS:

        def remainder(dividend: Any, divisor: Any, kind: Any = kind) -> Any:
            if not divisor.is_Integer or divisor <= 0:
                return kind(dividend, divisor)
            _, rest = _split(dividend, divisor)
            return kind(rest, divisor) if rest.free_symbols else rest % divisor

        condition = condition.replace(kind, remainder)
    return sympy.sympify(condition)


def _split(dividend: sympy.Expr, divisor: sympy.Integer) -> tuple[sympy.Expr, sympy.Expr]:
    """``whole`` and ``rest`` for which ``dividend == divisor * whole + rest``."""
    terms = sympy.Add.make_args(sympy.expand(dividend))
    divisible = [term for term in terms if (term / divisor).is_integer]
    rest = sympy.Add(*[term for term in terms if term not in divisible])
    return sympy.Add(*divisible) / divisor, rest


def _by_example(condition: sympy.Basic, sizes: Sizes) -> bool | None:
    """What some sizes say, both ends of each range among them; None if they differ."""
    try:
        accepts = as_function(condition, list(sizes))
    except Exception:  # noqa: BLE001  # an expression that torch prints as no Python
        return None
    answers: set[bool] = set()
    for point in islice(product(*(_some(each) for each in sizes.values())), _COMBINATIONS):
        try:
            answers.add(accepts(*point))
        except Exception:  # noqa: BLE001  # such as a function that is not Python's
            return None
        if len(answers) > 1:
            return None
    return answers.pop()


def _some(sizes: ValueRanges[Any]) -> list[int]:
    low = -64 if sizes.lower == -int_oo else int(sizes.lower)
    high = low + (1 << 20) if sizes.upper == int_oo else int(sizes.upper)
    step = max(1, (high - low) // 7)
    return sorted({*range(low, min(low + 4, high) + 1), *range(low, high, step), high})


def _for_each(condition: sympy.Basic, sizes: Sizes, *, holds: bool) -> bool:
    """Whether trying each combination of sizes gives the same; False when they are too many."""
    ends = [end for each in sizes.values() for end in (each.lower, each.upper)]
    if any(end in {int_oo, -int_oo} or not end.is_integer for end in ends):
        return False
    each = [range(int(values.lower), int(values.upper) + 1) for values in sizes.values()]
    if math.prod(map(len, each)) > _COMBINATIONS:
        return False
    # A division by 0 counts as not fulfilled, also for what has to be false.
    wanted = condition if holds else sympy.Not(condition)
    accepts = as_function(wanted, list(sizes))
    return all(accepts(*combination) for combination in product(*each))
