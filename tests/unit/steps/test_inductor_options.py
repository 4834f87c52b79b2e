"""The options that a project passes to Inductor, with the names that torch has beside the usual."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from samples import run_python
from torch._inductor import config as inductor_config
from torch.utils import _config_module as config_module
from torch_pin import TORCH

from aotbuild.errors import ConfigError
from aotbuild.steps.compile.inductor_options import all_options, check_options
from aotbuild.target import TARGETS

PATH = "tool.aotbuild.inductor"


OWN = [name for name, entry in vars(inductor_config)["_config"].items() if entry.alias]
"""The aliases that this torch has."""


@pytest.fixture(autouse=True)
def aliases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names as later versions of torch have them: aliases, and some that are deprecated."""
    config: Any = config_module
    names: dict[str, Any] = {
        "old_fusion": {"alias": "torch._inductor.config.epilogue_fusion", "deprecated": True},
        "old_threads": {"alias": "torch._inductor.config.compile_threads"},
        "lost": {"alias": "torch._inductor.config.no_such_option"},
        "old": {"default": 3, "deprecated": True, "deprecation_message": "use another"},
        "elsewhere": {"alias": "torch.compiler.config.force_disable_caches"},
    }
    for name, given in names.items():
        entry = config._ConfigEntry(config.Config(**given), name)
        monkeypatch.setitem(vars(inductor_config)["_config"], name, entry)


def refused(name: str, value: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        check_options({name: value}, PATH)
    assert caught.value.where == f"pyproject.toml: {PATH}.{name}"
    return caught.value


def test_aliases_and_deprecated_options_are_taken() -> None:
    with warnings.catch_warnings(action="error"):
        check_options({"old_fusion": False, "old": 4, "elsewhere": True, "lost": "any"}, PATH)


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [("old_fusion", 1, "bool"), ("old", "4", "int"), ("elsewhere", "yes", "bool")],
)
def test_their_types_are_checked(name: str, value: Any, kind: str) -> None:
    assert refused(name, value).what == f'the option "{name}" is a {kind}, found {value!r}'


def test_no_alias_leads_to_what_aotbuild_sets() -> None:
    assert refused("old_threads", 4).what == 'the option "old_threads" is set by aotbuild'


def test_an_option_that_is_misspelt_is_told_with_the_aliases_in_mind() -> None:
    error = refused("old_fusio", 1)
    assert error.what == 'Inductor has no option "old_fusio"'
    assert error.why == f"the options of torch {torch.__version__} are meant"
    assert error.fix == 'did you mean "old_fusion"?'


def test_a_compile_gets_them_under_the_names_that_they_stand_for() -> None:
    extra = {"old_fusion": False, "elsewhere": True, "old": 4}
    options = all_options(TARGETS["cpu-x86-64-v3"], Path("output"), Path("g++"), extra)
    assert options["epilogue_fusion"] is False
    assert "old_fusion" not in options
    assert options["elsewhere"] is True
    assert options["old"] == 4
    default = torch.compiler.config.force_disable_caches
    with warnings.catch_warnings(action="ignore"), inductor_config.patch(options):
        assert torch.compiler.config.force_disable_caches is True
    assert torch.compiler.config.force_disable_caches == default


def test_the_aliases_of_this_torch_are_taken() -> None:
    assert "force_disable_caches" in OWN
    with warnings.catch_warnings(action="ignore"):  # of deprecated ones
        values = {name: getattr(inductor_config, name) for name in OWN}
    check_options(values, PATH)


def test_an_option_of_aotbuild_may_become_an_alias(monkeypatch: pytest.MonkeyPatch) -> None:
    config: Any = config_module
    alias = config.Config(alias="torch._inductor.config.max_autotune", deprecated=True)
    entry = config._ConfigEntry(alias, "memory_planning")
    monkeypatch.setitem(vars(inductor_config)["_config"], "memory_planning", entry)
    options = all_options(TARGETS["cpu-x86-64-v3"], Path("output"), Path("g++"), {})
    assert options["max_autotune"] is True
    assert "memory_planning" not in options


def test_lite_mode_leaves_no_build_without_fusion(monkeypatch: pytest.MonkeyPatch) -> None:
    target = TARGETS["cpu-x86-64-v3"]
    passes = "use_post_grad_passes"
    assert passes not in all_options(target, Path("output"), Path("g++"), {})
    monkeypatch.setenv("TORCHINDUCTOR_LITE_MODE", "1")
    options = all_options(target, Path("output"), Path("g++"), {"use_dce": False})
    assert options[passes] is True
    assert options["use_dce"] is False  # the project's own wish


@pytest.mark.skipif(TORCH.release < (2, 15), reason="lite mode came with torch 2.15")
def test_all_that_lite_mode_changes_is_as_it_is_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import json, torch\nfrom torch._inductor import config\n"
        "names = [n for n in config._config if not n.startswith(('triton.', 'test_configs'))]\n"
        "values = {n: config._config[n].default for n in names}\n"
        "print(json.dumps({n: v for n, v in values.items() if isinstance(v, bool)}))"
    )
    usual = run_python(code, cwd=tmp_path)
    monkeypatch.setenv("TORCHINDUCTOR_LITE_MODE", "1")
    lite = run_python(code, cwd=tmp_path)
    changed = {name for name in usual if usual[name] != lite[name]}
    assert changed
    options = all_options(TARGETS["cpu-x86-64-v3"], Path("output"), Path("g++"), {})
    assert {name: options[name] for name in changed} == {name: usual[name] for name in changed}
