"""Options of Inductor: those that aotbuild sets, and the check of those that a project gives."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch._inductor import config as inductor_config

from aotbuild.config.messages import did_you_mean, located
from aotbuild.errors import ConfigError
from aotbuild.steps.compile.vector_isa import vector_isa
from aotbuild.steps.torch_parts.moved import usable
from aotbuild.target import Target


def all_options(
    target: Target, output: Path, compiler: Path, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """The options of a compile.

    Args:
        target: What to compile for.
        output: Directory for what Inductor writes.
        compiler: The script in place of the C++ compiler.
        extra: Options of the project and of the recipe, which go over the usual ones.
    """
    own = _own_options(output, compiler)
    if target.isa:  # else an ATEN_CPU_CAPABILITY in the environment would choose
        own["cpp.simdlen"] = vector_isa(target.isa).bit_width()
    usual = _ON_CPU if target.device == "cpu" else {}
    if extra.get("freezing"):
        usual = {**usual, **_PLAIN_WEIGHTS}
    if os.environ.get(_LITE_MODE) == "1":
        usual = {**_WITH_PASSES, **usual}
    return {**_present(_by_canonical({**own, **usual})), **_by_canonical(extra)}


def recorded_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that tell how a library was compiled: none that names a path."""
    left_out = _by_canonical(dict.fromkeys(_MACHINE_OPTIONS))
    return {key: value for key, value in options.items() if key not in left_out}


def options_for(graph: torch.fx.GraphModule, options: dict[str, Any]) -> dict[str, Any]:
    """The options, without the block of memory where it would not be right.

    That is where a graph has others in it, as loops have.

    Inductor of torch 2.13 frees the memory of these where their names are not known, and the code
    does not compile.
    """
    looped = any(
        str(node.target).startswith(_LOOPED)
        and any(not isinstance(size, int) for size in node.args[0].meta["val"].shape)
        for node in graph.graph.nodes
    )
    # Without that patch, two values may get the same memory.
    unplanned = looped or not usable("memory of results")
    if unplanned or any(isinstance(each, torch.fx.GraphModule) for each in graph.children()):
        return {**options, "memory_planning": False}
    return options


def _own_options(output: Path, compiler: Path) -> dict[str, Any]:
    return {
        "aot_inductor.output_path": str(output),
        # The library without its weights: they come from the mapped weights file.
        "aot_inductor.package": True,
        "aot_inductor.package_constants_in_so": False,
        # Names and paths of the build machine stay out of the library.
        "aot_inductor.model_name_for_generated_files": "model",
        "aot_inductor.enable_line_tables": False,
        # aotbuild shares its own between the compiles.
        "aot_inductor.precompile_headers": False,
        "cpp.cxx": (None, str(compiler)),
        # The ISA is given; probing it would run the compiler several times.
        "cpp.vec_isa_ok": True,
        # The number of threads is torch's at run time, not that of the build machine, by which
        # Inductor would also decide which loops to divide among them.
        "cpp.dynamic_threads": True,
        "cpp.threads": 16,
        # One step compiles one model, and Ninja runs the steps in parallel.
        "compile_threads": 1,
    }


_CONFIG = f"{inductor_config.__name__}."


def _canonical(name: str) -> str:
    """The name of an option that another one is an alias of; of others their own."""
    alias = getattr(_entries().get(name), "alias", None) or ""
    target = alias.removeprefix(_CONFIG)
    return target if target in _entries() else name  # there are aliases of other modules, too


def _by_canonical(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options by the names that others are aliases of."""
    return {_canonical(name): value for name, value in options.items()}


def _entries() -> Mapping[str, Any]:
    """All options of this torch with what is known of them; aliases and deprecated ones, too."""
    config: Any = inductor_config
    entries: Mapping[str, Any] = config._config
    return entries


def _present(options: dict[str, Any]) -> dict[str, Any]:
    """The options that this torch has; older ones lack a few that only save time or bytes."""
    present = inductor_config.get_config_copy()
    return {key: value for key, value in options.items() if key in present}


_ON_CPU = {"memory_planning": True}
"""Unless the project wants otherwise: ``kept_memory`` keeps the block from call to call."""

_LITE_MODE = "TORCHINDUCTOR_LITE_MODE"
_WITH_PASSES = {
    "allow_buffer_reuse": True,
    "fallback_by_default": False,
    "reorder_for_peak_memory": True,
    "selective_decompose": False,
    "use_dce": True,
    "use_joint_graph_passes": True,
    "use_post_grad_passes": True,
    "use_pre_grad_passes": True,
}
"""What that variable changes in torch 2.15 and newer, for its own tests: nothing would be fused.

A project that wants one of them otherwise says so in its options."""

_LOOPED = ("aten.gru.", "aten.lstm.", "aten.rnn_tanh.", "aten.rnn_relu.")
"""Operators that ``recurrent`` makes loops of where a size is dynamic."""


_PLAIN_WEIGHTS = {"cpp.weight_prepack": False}
"""With freezing, unless the project wants it: packed weights are for one kind of CPU."""

_MACHINE_OPTIONS = {"aot_inductor.output_path", "cpp.cxx"}

_OWN_OPTIONS = {*_own_options(Path(), Path()), "cpp.march", "cpp.simdlen"}
"""What aotbuild sets itself: the library would not be what the other steps take it for."""


def check_options(options: Mapping[str, Any], path: str) -> None:
    """Check options of a project against those of this torch.

    Args:
        options: By their dotted names.
        path: Dotted path of the table that holds them.

    Raises:
        ConfigError: An option does not exist, is aotbuild's own, or has a value of another type.
    """
    for name, value in options.items():
        where = located(f"{path}.{name}")
        if name not in _entries():
            raise ConfigError(
                f'Inductor has no option "{name}"',
                where=where,
                why=f"the options of torch {torch.__version__} are meant",
                fix=did_you_mean(name, _entries())
                or "see torch/_inductor/config.py for the options and their meaning",
            )
        if _canonical(name) in _by_canonical(dict.fromkeys(_OWN_OPTIONS)):
            raise ConfigError(
                f'the option "{name}" is set by aotbuild',
                where=where,
                why="it decides what the library is made for and where its parts are",
                fix="remove it",
            )
        default = _default(name)
        if default is None or isinstance(value, list):
            continue
        number = isinstance(default, float) and type(value) is int
        if not number and type(value) is not type(default):
            raise ConfigError(
                f'the option "{name}" is a {type(default).__name__}, found {value!r}',
                where=where,
                fix=f"write a value such as {json.dumps(default, default=str)}, its default",
            )


def _default(name: str) -> Any:
    """The value of an option that is not set; None where it is not known."""
    present = inductor_config.get_config_copy()
    if _canonical(name) in present:
        return present[_canonical(name)]
    with warnings.catch_warnings(action="ignore"):  # a deprecated one is told when it is used
        try:
            return getattr(inductor_config, name)  # an alias of another module's
        except AttributeError:  # which this torch does not have
            return None
