"""Why torch.export finds a declared dimension narrower than it was declared, in which line.

What the guards of a trace leave of the declared range is found by trying its sizes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise, product
from pathlib import Path
from typing import Any

import sympy

from aotbuild.runtime.dims import Affine, Dim, Size
from aotbuild.steps.export.guards import Frame, Recorder, line_of, replacement
from aotbuild.steps.export.partial_ranges import as_toml, partial_range
from aotbuild.steps.sizes.conditions import as_function, condition_text
from aotbuild.steps.sizes.symbols import SizeSymbol

_SCANNED = 4096
"""How many sizes of a range are tried."""
_SOURCE = re.compile(r"L\['tensors'\]\[(\d+)\]\.size\(\)\[(\d+)\]")
"""How torch names a size of a tensor that ``flat.Flat`` takes."""


@dataclass(frozen=True)
class Finding:
    """A dimension, or several of them, that the model does not leave as they were declared."""

    dim: str
    text: str
    """What the model needs of it, in words."""
    line: str
    """The line of the model, such as ``src/net.py:7 in forward: return x.reshape(4, 4)``."""
    fix: str
    part: Dim | None = None
    """The range that ``fix`` proposes, if it is one."""


def fixed_products(
    recorder: Recorder, symbols: Mapping[sympy.Symbol, SizeSymbol], project: Path
) -> list[Finding]:
    """The products and sums of several sizes that a trace fixed, which torch.export accepts.

    Args:
        recorder: Of the trace.
        symbols: What torch's symbols stand for.
        project: Directory of the project, whose lines are the ones to tell.
    """
    findings: dict[str, Finding] = {}
    for guard, frames in recorder.guards:
        fixed = _fixed(sympy.sympify(recorder.shape_env.replace(guard)))
        if fixed is None or not fixed[0].free_symbols <= set(symbols):
            continue
        value, number = fixed
        names = sorted({symbols[symbol].dim for symbol in value.free_symbols})
        if len(names) < 2:  # of one dimension torch.export itself tells
            continue
        text = _text(value.xreplace({symbol: symbols[symbol].solved for symbol in symbols}))
        finding = Finding(
            ", ".join(names),
            f"it works where {text} is {number} only, as in the example",
            line_of(frames, project),
            replacement(frames, project) or "make the model independent of the sizes",
        )
        findings.setdefault(text, finding)
    return list(findings.values())


def _fixed(guard: sympy.Basic) -> tuple[sympy.Expr, int] | None:
    """The expression that a guard says to be a number, and that number."""
    if not isinstance(guard, sympy.Eq):
        return None
    number, rest = sympy.expand(guard.lhs - guard.rhs).as_coeff_Add()
    if not number.is_Integer or not number or not rest.is_polynomial():
        return None
    if number > 0:
        number, rest = -number, -rest
    divisor, _ = rest.primitive()
    return (rest / divisor, int(-number / divisor)) if (number / divisor).is_Integer else None


def findings(
    recorder: Recorder,
    labels: Sequence[str],
    shapes: Sequence[Sequence[Size]],
    dims: Mapping[str, Dim],
    project: Path,
    *,
    finished: bool = True,
    least: int = 2,
) -> list[Finding]:
    """What the guards of a trace leave of the declared dimensions.

    Args:
        recorder: Of the trace.
        labels: For each tensor the expression that picks it from the arguments.
        shapes: The declared shape of each tensor.
        dims: The declared dimensions.
        project: Directory of the project, whose lines are the ones to tell.
        finished: Whether the trace came to its end. If not, the answer that is the last guard is
            taken to be what it failed for: that two sizes differ, or that one is too small.
        least: The smallest size that the trace did not rule out: it mostly supposes neither 0
            nor 1.
    """
    if recorder.shape_env is None:
        return []
    names, places = _declared_names(recorder.shape_env, labels, shapes)
    state = _Findings(dims, places, project, least)
    assumptions = [(guard.xreplace(names), frames) for guard, frames in recorder.guards]
    known = {symbol for value in names.values() for symbol in value.free_symbols}
    usable = [
        (e, frames) for e, frames in assumptions if e.free_symbols and e.free_symbols <= known
    ]
    if not finished and usable and isinstance(usable[-1][0], sympy.core.relational.Relational):
        failed, frames = usable[-1]
        usable[-1] = sympy.Not(failed), frames
    for assumption, frames in usable:
        state.narrow(assumption, frames)
    for assumption, frames in usable:
        state.relate(assumption, frames)
    return state.findings()


def _declared_names(
    shape_env: Any, labels: Sequence[str], shapes: Sequence[Sequence[Size]]
) -> tuple[dict[sympy.Symbol, sympy.Expr], dict[str, list[str]]]:
    """Torch's symbols in the names of the declaration, and the places where each name stands."""
    names: dict[sympy.Symbol, sympy.Expr] = {}
    places: dict[str, list[str]] = {}
    for symbol, sources in shape_env.var_to_sources.items():
        for source in sources:
            text = source.name if isinstance(source.name, str) else source.name()
            match = _SOURCE.fullmatch(text)
            if match is None:
                continue
            tensor, axis = int(match[1]), int(match[2])
            size = shapes[tensor][axis]
            if isinstance(size, int):
                continue
            affine = Affine.of(size)
            dim = sympy.Symbol(affine.dim, integer=True, positive=True)
            names.setdefault(symbol, affine.factor * dim + affine.offset)
            places.setdefault(affine.dim, []).append(f"{labels[tensor]}, position {axis}")
    return names, places


class _Findings:
    """Gathers what is found, first about each dimension alone, then about several."""

    def __init__(
        self, dims: Mapping[str, Dim], places: Mapping[str, list[str]], project: Path, least: int
    ) -> None:
        self._dims = dims
        self._places = places
        self._project = project
        self._declared = {name: _sizes(dim, least) for name, dim in dims.items()}
        self._allowed = dict(self._declared)
        self._lines: dict[str, list[str]] = {name: [] for name in dims}
        self._advice: dict[str, str] = {}
        self._texts: dict[str, list[str]] = {name: [] for name in dims}
        self._equal: dict[sympy.Symbol, sympy.Expr] = {}
        self._relations: list[Finding] = []

    def narrow(self, assumption: sympy.Basic, frames: list[Frame]) -> None:
        """Take what is assumed of one dimension, or that one follows from others."""
        assumption = self._substituted(assumption)
        free = sorted(assumption.free_symbols, key=str)
        if len(free) == 1:
            name = str(free[0])
            accepts = as_function(assumption, free)
            fitting = [size for size in self._allowed[name] if accepts(size)]
            if fitting and fitting != self._allowed[name]:
                self._allowed[name] = fitting
                self._texts[name].append(_text(assumption))
                line = line_of(frames, self._project)
                if line and line not in self._lines[name]:
                    self._lines[name].append(line)
                advice = replacement(frames, self._project)
                if advice and len(fitting) == 1:
                    self._advice.setdefault(name, advice)
        elif isinstance(assumption, sympy.Eq) and len(free) > 1:
            solved = _solved(assumption, free, list(self._dims))
            if solved is not None:
                symbol, value = solved
                self._equal[symbol] = value
                name, text = str(symbol), _text(value)
                self._relations.append(
                    Finding(
                        name,
                        f"{name} is always {text}",
                        line_of(frames, self._project),
                        f'write "{text}" in place of "{name}" ({self._shown_places(name)})'
                        if len(value.free_symbols) == 1
                        else f"declare ranges in which {name} is {text}, or let the model compute "
                        f"one size from the others",
                    )
                )

    def relate(self, assumption: sympy.Basic, frames: list[Frame]) -> None:
        """Take what is assumed of several dimensions and makes none of them follow."""
        assumption = self._substituted(assumption)
        free = sorted(assumption.free_symbols, key=str)
        if len(free) < 2:
            return
        accepts = as_function(assumption, free)
        sample = product(*(_spread(self._allowed[str(symbol)]) for symbol in free))
        if all(accepts(*point) for point in islice(sample, _SCANNED)):
            return
        names = ", ".join(map(str, free))
        text = f"the model needs {_text(assumption)}"
        if text not in [finding.text for finding in self._relations]:
            self._relations.append(
                Finding(
                    names,
                    text,
                    line_of(frames, self._project),
                    "declare ranges in which that holds",
                )
            )

    def _substituted(self, assumption: sympy.Basic) -> sympy.Basic:
        """An assumption without the dimensions that follow from others."""
        for _ in range(len(self._equal) + 1):
            assumption = sympy.sympify(assumption.xreplace(self._equal))
        return assumption

    def findings(self) -> list[Finding]:
        """All that was found."""
        findings = []
        related = {finding.dim for finding in self._relations}
        for name, sizes in self._allowed.items():
            if sizes != self._declared[name] and name not in related:
                text, fix, part = self._explained(name, sizes)
                findings.append(Finding(name, text, "\n".join(self._lines[name]), fix, part))
        return [*findings, *self._relations]

    def _explained(self, name: str, sizes: list[int]) -> tuple[str, str, Dim | None]:
        dim, declared = self._dims[name], self._declared[name]
        if len(sizes) == 1:
            place = f'write {sizes[0]} in place of "{name}" ({self._shown_places(name)})'
            return (
                f"it works for {name} = {sizes[0]} only",
                f"{self._advice.get(name, 'make the model independent of the size')}, or {place}",
                None,
            )
        steps = {high - low for low, high in pairwise(sizes)}
        step = min(steps)
        if len(steps) > 1 or sizes[0] % step:
            proposed = partial_range(dim, declared, sizes)
            return (
                f"it works where {' and '.join(self._texts[name])}",
                "make the model do the same for every size"
                + (f", or declare a part of them: {as_toml(name, proposed)}" if proposed else ""),
                proposed,
            )
        # The last size that was tried stands for the declared end.
        high = dim.max if sizes[-1] + step > declared[-1] else sizes[-1]
        low = dim.min if sizes[0] == declared[0] and step == dim.multiple_of else sizes[0]
        if step > dim.multiple_of and sizes[0] == 2 * step and dim.min <= step:
            low = step  # one step, which tracing supposes does not occur
        part = Dim(low, None if high is None else high - high % step, step)
        return f"it works if {name} is {part}", as_toml(name, part), part

    def _shown_places(self, name: str) -> str:
        return "; ".join(self._places.get(name, []))


def _sizes(dim: Dim, least: int) -> list[int]:
    """The sizes of a range that are tried, from ``least`` on."""
    step = dim.multiple_of
    first = dim.multiple_from(max(dim.min, least))
    last = first + _SCANNED * step if dim.max is None else dim.max
    return list(range(first, last + 1, step))[:_SCANNED]


def _solved(
    equation: sympy.Eq, free: Sequence[sympy.Symbol], order: Sequence[str]
) -> tuple[sympy.Symbol, sympy.Expr] | None:
    """A symbol as a polynomial of the others, the simplest one, if the equation gives it."""
    best: tuple[tuple[int, int, int], sympy.Symbol, sympy.Expr] | None = None
    difference = sympy.expand(equation.lhs - equation.rhs)
    if not difference.is_polynomial(*free) or difference.atoms(sympy.Function):
        return None
    for symbol in free:
        if sympy.degree(difference, symbol) != 1:
            continue
        solutions = sympy.solve(difference, symbol)
        if not solutions:  # as where what the other sizes are rules every one out
            continue
        value = sympy.expand(solutions[0])
        others = sorted(value.free_symbols, key=str)
        if not value.is_polynomial(*others):
            continue
        coefficients = sympy.Poly(value, *others).coeffs() if others else [value]
        if not all(coefficient.is_Integer for coefficient in coefficients):
            continue
        negative = sum(bool(coefficient < 0) for coefficient in coefficients)
        cost = (negative, int(value.count_ops()), -order.index(str(symbol)))
        if best is None or cost < best[0]:
            best = (cost, symbol, value)
    return best and best[1:]


def _spread(sizes: list[int]) -> list[int]:
    """A few sizes of many, both ends among them."""
    if len(sizes) <= 12:
        return sizes
    return [*sizes[:4], *sizes[4 : -4 : max(1, len(sizes) // 4)], *sizes[-4:]]


def _text(expression: sympy.Basic) -> str:
    """An expression as a person writes it: ``seq + 1`` and not sympy's ``1 + seq``."""
    if isinstance(expression, sympy.Add):
        number, rest = expression.as_coeff_Add()
        if number.is_Integer and number and rest:
            shown = condition_text(rest)
            return f"{shown}{'+' if number > 0 else '-'}{abs(int(number))}"
    return condition_text(expression)
