"""The options that a project passes to Inductor, with the names that torch has beside the usual."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._inductor import config as inductor_config
from torch.utils import _config_module as config_module

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
    check_options({name: getattr(inductor_config, name) for name in OWN}, PATH)
