"""A program is loaded and lowered as if it had been traced with an example of another size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from aotbuild.cache.notes import Notes
from aotbuild.cache.settings import cache_settings
from aotbuild.cache.store import Store
from aotbuild.runtime.dims import Affine, Dim
from aotbuild.runtime.manifest import Input
from aotbuild.steps.compile.inductor import compile_library, set_up
from aotbuild.steps.compile.library_cache import Libraries
from aotbuild.steps.compile.shared_headers import Shared
from aotbuild.steps.sizes.hints import hinted, hints_at
from aotbuild.steps.sizes.ranges import Ranges, compiled_ranges
from aotbuild.steps.sizes.symbols import dimension_symbols
from aotbuild.target import usual_targets

ROWS = torch.export.Dim("rows", min=2, max=500)


class Derives(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> Any:
        return torch.cat([a, b[:-1]]).repeat(3, 1), a.nonzero()


class Crossed(torch.nn.Module):
    def forward(self, column: torch.Tensor) -> torch.Tensor:
        return column @ torch.ones(1, 4)


def saved(path: Path, module: torch.nn.Module, *tensors: torch.Tensor, dims: Any) -> Path:
    shapes = tuple({0: dim} for dim in dims)
    program = torch.export.export(module, tensors, dynamic_shapes=shapes, strict=False)
    torch.export.save(program, path)
    return path


def loaded(path: Path, inputs: list[Input], **sizes: int) -> torch.fx.GraphModule:
    graph: Any = torch.export.load(path).module(check_guards=False)
    symbols, _ = dimension_symbols(graph.graph, inputs)
    named = {str(symbol): linear for symbol, linear in symbols.items()}
    with hinted(hints_at(named, sizes)):
        hinted_graph: Any = torch.export.load(path).module(check_guards=False)
    found: torch.fx.GraphModule = hinted_graph
    return found


def symbolic(graph: torch.fx.GraphModule) -> Iterator[Any]:
    for node in graph.graph.nodes:
        value = node.meta.get("val")
        for size in value.shape if isinstance(value, torch.Tensor) else [value]:
            if isinstance(size, torch.SymInt):
                yield size.node


@pytest.mark.parametrize("rows", [9, 40])
def test_every_size_follows_from_the_hint(tmp_path: Path, rows: int) -> None:
    inputs = [
        Input("a", "float32", ["rows", 3], [0, 1]),
        Input("b", "float32", [Affine("rows", 2, 1), 3], [0, 1]),
    ]
    tensors = torch.zeros(4, 3), torch.zeros(9, 3)
    path = saved(tmp_path / "x.pt2", Derives(), *tensors, dims=(ROWS, 2 * ROWS + 1))
    graph = loaded(path, inputs, rows=rows)
    # What nonzero() finds depends on data: it has no hint, with any example.
    hints = {node.hint for node in symbolic(graph)}
    assert hints == {None, rows, 2 * rows + 1, 2 * rows, 3 * rows, 9 * rows}


def test_of_a_multiple_the_symbol_is_what_it_is_made_of(tmp_path: Path) -> None:
    class Blocks(torch.nn.Module):
        def forward(self, a: torch.Tensor) -> torch.Tensor:
            return a.view(-1, 8, 3).sum(1)

    inputs = [Input("a", "float32", ["rows", 3], [0, 1])]
    path = saved(tmp_path / "x.pt2", Blocks(), torch.zeros(16, 3), dims=(8 * ROWS,))
    hints = {node.hint for node in symbolic(loaded(path, inputs, rows=40))}
    assert hints == {40, 5}


def test_what_was_patched_is_as_before() -> None:
    env: Any = ShapeEnv
    before = dict(vars(env))
    with hinted({"s0": 3}):
        assert dict(vars(env)) != before
    assert dict(vars(env)) == before


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's own
def test_code_for_another_hint_accepts_other_sizes_and_no_compiler_runs(tmp_path: Path) -> None:
    inputs = [Input("column", "float32", ["rows", 1], [0, 1])]
    declared = {"rows": Dim(1, 500)}
    dims = (torch.export.Dim("rows", min=1, max=500),)
    path = saved(tmp_path / "x.pt2", Crossed(), torch.zeros(4, 1), dims=dims)
    target = usual_targets()[-1]
    compiler = tmp_path / "g++"
    compiler.write_text('#!/bin/sh\ncase "$*" in *--version*) echo g++ 14 ;; *) exit 1 ;; esac\n')
    compiler.chmod(0o755)
    shared = Shared(None, precompile=False)
    store = Store(cache_settings({"AOTBUILD_CACHE": "off"}), Notes(None))
    libraries = Libraries(store, tmp_path / "libraries", tmp_path)

    def ranges(rows: int) -> Ranges:
        scratch = tmp_path / str(rows)
        scratch.mkdir()
        graph = loaded(path, inputs, rows=rows)
        with set_up(target, [str(compiler)], scratch, {}, shared, libraries) as setup:
            unwanted = compile_library(
                graph, ((torch.zeros(4, 1),), {}), setup, lambda _: False, lambda _: False
            )
        assert unwanted is None
        return compiled_ranges(graph.graph, inputs, declared, {"rows": rows})

    assert ranges(4) == Ranges({"rows": Dim(1, 28)}, [])
    assert ranges(300) == Ranges({"rows": Dim(29, 500)}, [])
    assert ranges(5) == Ranges({"rows": Dim(1, 28)}, [])
