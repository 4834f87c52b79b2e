"""Passes: rewrites of a traced graph that make its compiled code faster, and change nothing else.

Before them come rewrites that are no matter of speed and are always made: ``numerics`` and
``complex_numbers`` put operators that Inductor compiles right in place of those that it does not.

A pass proves on the graph what it needs: shapes, types, strides, and which tensors are constants.
Where it cannot, the graph stays as it is. It only puts operators in place of others, those of
``aotbuild.passes`` among them, and marks what is computed from constants alone; that is computed
here at the end, once for all calls.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from aotbuild.passes.attention import constant_masks, expand
from aotbuild.passes.attention import rewrite as attention
from aotbuild.passes.complex_numbers import rewrite as complex_numbers
from aotbuild.passes.convolution import fold_batch_norm, fold_padding, winograd
from aotbuild.passes.convolution import rewrite as convolution
from aotbuild.passes.graph.derived import evaluate
from aotbuild.passes.linear import bfloat16_onednn
from aotbuild.passes.linear import bfloat16_rewrite as bfloat16
from aotbuild.passes.linear import rewrite as linear
from aotbuild.passes.numerics import bounds, indices
from aotbuild.passes.numerics import rewrite as exact
from aotbuild.passes.recurrent import rewrite as recurrent


@dataclass(frozen=True)
class Pass:
    """A rewrite, and what it needs to be allowed to do."""

    run: Callable[[torch.fx.GraphModule], int]
    """Rewrites a graph; returns how many rewrites it made."""
    derives: bool
    """Whether it computes constants from parameters, whose values then cannot be replaced."""
    guarded: tuple[str, ...] = ()
    """Instructions above the CPU level that its code only reaches on a CPU that has them."""
    precision: str = ""
    """The type that it computes in, where that is less exact: applied where it is asked for."""


PASSES: dict[str, Pass] = {
    "recurrent": Pass(recurrent.run, derives=True),
    "constant_masks": Pass(constant_masks.run, derives=False),
    "attention": Pass(attention.run, derives=False),
    "fold_batch_norm": Pass(fold_batch_norm.run, derives=True),
    "linear": Pass(linear.run, derives=True, guarded=("vdpbf16ps",)),
    "convolution": Pass(convolution.run, derives=True),
    "fold_padding": Pass(fold_padding.run, derives=False),
    "bfloat16": Pass(bfloat16.run, derives=True, guarded=("vdpbf16ps",), precision="bfloat16"),
    "winograd": Pass(winograd.run, derives=True),
}
"""All passes, in the order in which they are applied."""

REWRITES: dict[str, Callable[[torch.fx.GraphModule], None]] = {
    "attention-math": expand.run,
    "bfloat16": bfloat16_onednn.run,
}
"""Rewrites that belong to recipes and not to every build."""


@dataclass(frozen=True)
class Applied:
    """What passes did to a graph."""

    counts: dict[str, int] = field(default_factory=dict)
    """How often each pass that found something rewrote it."""
    derived: dict[str, Any] = field(default_factory=dict)
    """How each constant that they computed follows from the others, by its name in the module: see
    ``aotbuild.passes.graph.derived``."""
    failed: dict[str, Exception] = field(default_factory=dict)
    """What passes raised that then stepped aside, by their names."""


def apply(
    graph: torch.fx.GraphModule,
    names: Collection[str] | None = None,
    *,
    derive: bool = True,
    precision: str = "",
) -> Applied:
    """Apply passes to a graph for a CPU, and always put right what Inductor decomposes wrongly.

    Args:
        graph: Of an exported program, with its constants as attributes; it is changed.
        names: Passes that are applied; None for all.
        derive: Whether constants may be computed from parameters.
        precision: The type in which they may compute, if it is less exact than that of the graph.

    Returns:
        How often each pass rewrote the graph, and how the constants that they computed follow from
        others. The graph computes the same as before, up to rounding.
    """
    counts: dict[str, int] = {}
    failed: dict[str, Exception] = {}
    # Whatever passes are wanted: it is no matter of speed.
    mended = bounds.run(graph) + exact.run(graph) + indices.run(graph)
    mended += complex_numbers.run(graph)
    for name, each in PASSES.items():
        wanted = (names is None or name in names) and each.precision in {"", precision}
        if wanted and (derive or not each.derives):
            try:
                with torch.no_grad():
                    count = each.run(graph)
            except Exception as error:  # noqa: BLE001  # a pass may be left out, a model may not
                # What it has rewritten until then stays: each rewrite puts one whole computation
                # in the place of another.
                failed[name] = error
                graph.graph.eliminate_dead_code()
                continue
            if count:
                counts[name] = count
    derived = evaluate(graph)
    if counts or mended or failed:
        graph.graph.lint()
        graph.recompile()
    return Applied(counts, derived, failed)


def rewrite(graph: torch.fx.GraphModule, names: Sequence[str]) -> None:
    """Change a graph by ``REWRITES`` of these names, in this order."""
    for name in names:
        REWRITES[name](graph)
    if names:
        graph.graph.lint()
        graph.recompile()
