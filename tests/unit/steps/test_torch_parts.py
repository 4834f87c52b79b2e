"""Private parts of torch: the tables have all that is used, and builds step aside without some."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from private_names import private_names
from source_tree import import_graph

import aotbuild
from aotbuild.errors import CompileError
from aotbuild.passes.pipeline import PASSES
from aotbuild.passes.template import operators
from aotbuild.steps.compile.inductor_options import options_for
from aotbuild.steps.compile.inductor_patches import patched
from aotbuild.steps.torch_parts import moved
from aotbuild.steps.torch_parts.kernels import KERNELS
from aotbuild.steps.torch_parts.moved import (
    USES,
    aside,
    check_parts,
    passes_aside,
    table,
    told_aside,
    usable,
    where_usable,
)
from aotbuild.steps.torch_parts.part import (
    COMPILE,
    EXPORT,
    Option,
    Part,
    Text,
    Use,
    torch_version,
)

PACKAGE = Path(aotbuild.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
KNOWN = {str(part) for use in USES.values() for part in use.parts if type(part) is Part}

GEMM = "torch._inductor.codegen.cpp_gemm_template.gen_2d_view_of_epilogue_buf"


@pytest.fixture(autouse=True)
def looked_for_anew() -> Iterator[None]:
    forget()
    yield
    forget()


def forget() -> None:
    moved.moved.cache_clear()
    moved.usable.cache_clear()


def take_away(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch have no such name."""
    owner, _, attribute = name.rpartition(".")
    try:
        found = importlib.import_module(owner)
    except ModuleNotFoundError:
        module, _, class_name = owner.rpartition(".")
        found = getattr(importlib.import_module(module), class_name)
    monkeypatch.delattr(found, attribute)
    forget()


def test_this_torch_has_all_parts() -> None:
    assert [(each.use.name, [*map(str, each.parts)]) for each in moved.moved()] == []


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_every_private_name_is_in_a_table(file: Path) -> None:
    unknown = [
        name
        for name in sorted(private_names(file.read_text("utf-8")))
        if name not in KNOWN
        # A module is known by what is used of it, and an object by its name.
        and not any(each.startswith(f"{name}.") or name.startswith(f"{each}.") for each in KNOWN)
    ]
    assert unknown == []


def test_private_names_are_found_wherever_they_stand() -> None:
    code = """
import torch
import torch._a.b
from torch._c import d as e
from torch.f import _g
def h():
    module: Any = torch._a.b
    one, other = module.i, e.j
    one.k()
    getattr(other, "l")
    vars(_g)["m"]
    patch.object(e, "n")
    torch.nn.Linear(1, 2)
    self.torch._o
"""
    assert private_names(code) == {
        *("torch._a.b.i.k", "torch._c.d.j.l", "torch.f._g.m", "torch._c.d.n"),
    }


def test_the_tables_tell_each_part_once_and_what_happens_without_it() -> None:
    for use in USES.values():
        told = [str(part) for part in use.parts]
        assert sorted(set(told)) == sorted(told), use.name
        assert use.parts, use.name
        assert use.does, use.name
        assert use.without, use.name
        assert set(use.passes) <= set(PASSES), use.name
        assert not (use.required and use.passes), use.name


def with_kernels() -> set[str]:
    """The passes that put in operators of ours, which only a kernel computes."""
    graph = import_graph()
    found = set()
    for name, each in PASSES.items():
        waiting, known = [each.run.__module__], set[str]()
        while waiting:
            module = waiting.pop()
            known.add(module)
            waiting += graph[module] - known
        if any(module.endswith("operator") for module in known):
            found.add(name)
    return found


def test_every_pass_with_a_kernel_needs_templates_and_no_other_does() -> None:
    assert set(KERNELS.passes) == with_kernels() < set(PASSES)


def test_a_name_that_is_gone_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    part = Part(GEMM)
    assert part.is_there()
    take_away(GEMM, monkeypatch)
    assert not part.is_there()
    assert not Part("torch._no_such_module.name").is_there()


def test_a_function_that_takes_others_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor.codegen import cpp_gemm_template

    part = Part(GEMM, ("Y", "template_buffer", "epilogue_nodes"))
    assert part.is_there()

    def other(template_buffer: Any, Y: Any) -> None: ...  # noqa: N803

    monkeypatch.setattr(cpp_gemm_template, "gen_2d_view_of_epilogue_buf", other)
    assert not part.is_there()


def test_the_parameters_of_a_class_are_those_of_its_constructor() -> None:
    class Node:
        def __init__(self, layout: Any, *, inputs: Any) -> None: ...

    own = Part("torch._inductor.ir.CppTemplateBuffer", ("layout", "inputs"))
    assert own.is_there()
    from aotbuild.steps.torch_parts.part import _takes

    assert _takes(Node, ("layout", "inputs"))
    assert not _takes(Node, ("inputs", "layout"))
    assert _takes(len, ("anything",))  # a function of C tells none


def test_options_and_texts_are_looked_for() -> None:
    assert Option("cpp.threads").is_there()
    assert not Option("cpp.thread").is_there()
    file = "_inductor/codegen/cpp.py"
    assert Text(file, text='"#pragma omp for"').is_there()
    assert not Text(file, text='"#pragma omp fore"').is_there()
    assert not Text("_inductor/none.py", text="x").is_there()


def test_a_required_part_that_moved_stops_the_build_with_one_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_parts(EXPORT)
    check_parts(COMPILE)
    take_away("torch._inductor.codecache.AotCodeCompiler", monkeypatch)
    monkeypatch.setattr(moved, "torch_version", lambda: "2.19.0")
    check_parts(EXPORT)  # which does not need it
    with pytest.raises(CompileError) as caught:
        check_parts(COMPILE)
    assert caught.value.what == "this aotbuild cannot build with torch 2.19.0"
    assert caught.value.why == (
        "torch._inductor.codecache.AotCodeCompiler.compile moved, by which aotbuild lowers a "
        "graph, and steps in before its code is compiled"
    )
    assert caught.value.fix == (
        "install a newer aotbuild, or a torch that this one knows: 2.13 to 2.15"
    )


@pytest.mark.parametrize(
    ("gone", "passes"),
    [
        (GEMM, {name for use in USES.values() for name in use.passes}),
        ("torch._inductor.lowering.expand", {"attention"}),
        ("torch._inductor.ir.is_storage_and_layout", {"convolution", "fold_padding", "winograd"}),
        ("torch.cpu.get_capabilities", set()),
    ],
)
def test_passes_step_aside_where_what_they_need_moved(
    gone: str, passes: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert passes_aside() == set()
    take_away(gone, monkeypatch)
    check_parts(COMPILE)
    assert passes_aside() == passes
    assert len(aside()) == 1


def test_lowerings_of_passes_that_stepped_aside_are_not_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    imported: list[str] = []

    class Lowering:
        @staticmethod
        def register() -> None: ...

    def import_module(name: str) -> type[Lowering]:
        imported.append(name.removeprefix("aotbuild.passes."))
        return Lowering

    monkeypatch.setattr(importlib, "import_module", import_module)
    operators.register_lowerings(["attention", "bfloat16"])
    assert set(imported) == {"recurrent.lowering", "linear.lowering", "convolution.lowering"}


def test_the_log_tells_in_one_line_what_stepped_aside() -> None:
    assert told_aside([]) == ""
    told = told_aside(["templates", "kept memory", "templates", "of an older aotbuild"])
    assert told == (
        f"aotbuild: torch {torch_version()} has moved what this aotbuild uses for templates, "
        "kept memory, of an older aotbuild: models are compiled without these passes, and are "
        "slower; each call allocates the block anew, which is slower. python -m aotbuild check "
        "--torch tells more"
    )


def test_patches_step_aside_where_what_they_need_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import lowering

    take_away("torch._inductor.sizevars.SizeVarAllocator.guard_or_false", monkeypatch)
    assert not usable("pooling")
    assert usable("choice of convolutions")
    pooling, backend = vars(lowering)["pooling_size"], torch._C._select_conv_backend
    with patched(lambda _: False):
        assert vars(lowering)["pooling_size"] is pooling
        assert torch._C._select_conv_backend is not backend
    assert torch._C._select_conv_backend is backend


def test_memory_is_not_planned_where_a_result_might_lose_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = torch.fx.symbolic_trace(torch.nn.ReLU())
    options = {"memory_planning": True}
    assert options_for(graph, options) == options
    take_away("torch._inductor.codegen.memory_planning.MemoryPlanner", monkeypatch)
    assert options_for(graph, options) == {"memory_planning": False}


def test_a_patch_is_left_out_where_what_it_needs_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entered(Exception):  # noqa: N818
        pass

    def patch() -> Any:
        raise Entered

    with pytest.raises(Entered):
        where_usable("complex numbers", patch)
    take_away("torch._inductor.decomposition.fast_random_decomps", monkeypatch)
    with where_usable("complex numbers", patch):
        pass


def test_names_of_uses_are_those_of_the_tables() -> None:
    with pytest.raises(KeyError):
        usable("no such use")


def test_the_table_tells_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert table(everything=False) == ""
    take_away("torch.cpu.get_capabilities", monkeypatch)
    (line,) = table(everything=False).splitlines()
    assert line == (
        "sizes of caches: lacks torch.cpu.get_capabilities (compile; aotbuild lets max_autotune "
        "divide work by the same cache sizes on every machine; without: libraries that "
        "max_autotune makes differ between build machines)"
    )
    whole = table(everything=True).splitlines()
    assert "  - torch.cpu.get_capabilities" in whole
    assert f"  + {GEMM}" in whole
    assert len([line for line in whole if not line.startswith(" ")]) == len(USES)


def test_what_only_a_newer_torch_has_has_not_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [Part("torch.nn.Linear"), Part("torch.nn.Linear2", since="2.99")]
    use = Use("x", COMPILE, "does", "nothing", parts, required=True)
    monkeypatch.setattr(moved, "USES", {"x": use})
    assert moved.moved() == ()
    assert not usable("x")
    assert table(everything=True).splitlines() == [
        "x: is of a newer torch (compile; aotbuild does; without: required)",
        "  + torch.nn.Linear",
        "  - torch.nn.Linear2 (since torch 2.99)",
    ]
    monkeypatch.setattr("aotbuild.steps.torch_parts.part.torch_version", lambda: "2.99.1+cpu")
    forget()
    assert [[*each.parts] for each in moved.moved()] == [parts[1:]]


def test_looking_for_them_takes_a_few_milliseconds() -> None:
    import timeit

    moved.moved(COMPILE)  # imports

    def look() -> None:
        moved.moved.cache_clear()
        moved.moved(COMPILE)

    assert min(timeit.repeat(look, number=1, repeat=5)) < 0.03  # on a busy machine
