"""The constants of a library, read from its generated code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from aotbuild.errors import CompileError
from aotbuild.steps.compile.constants import expected_constants
from aotbuild.steps.compile.inductor import Compiled

CODE = """\
    constants_info_[0].name = "layer_weight";
    constants_info_[0].shape = {2, 3};
    constants_info_[0].stride = {3, 1};
    constants_info_[0].original_fqn = "layer.weight";
"""


@pytest.fixture
def compiled(tmp_path: Path) -> Compiled:
    source = tmp_path / "model.wrapper.cpp"
    source.write_text(CODE)
    return Compiled(tmp_path / "x.so", source, None, {"layer.weight": torch.zeros(2, 3)}, {})


def test_they_are_told_by_both_names(compiled: Compiled) -> None:
    assert expected_constants(compiled, "net") == {"layer_weight": "layer.weight"}


def test_one_of_other_strides_is_an_error(compiled: Compiled) -> None:
    compiled.source.write_text(CODE.replace("{3, 1}", "{1, 2}"))
    with pytest.raises(CompileError) as caught:
        expected_constants(compiled, "net")
    assert (
        caught.value.what == "the library's constant layer_weight is not the model's layer.weight"
    )


def test_code_that_tells_none_of_them_is_an_error(compiled: Compiled) -> None:
    compiled.source.write_text(CODE.replace("constants_info_", "constants_"))
    with pytest.raises(CompileError) as caught:
        expected_constants(compiled, "net")
    assert caught.value.block() == (
        "aotbuild: error: the generated code tells none of the model's constants\n"
        "  where: net\n"
        f"  why:   torch {torch.__version__} writes them in a form that is not known here\n"
        "  fix:   install a newer aotbuild, or an older torch"
    )
