"""Other dtypes, quantised weights, and the project's own check."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from wheels import Installed, assert_refused, edited, keep_models, pip_wheel

SETUP = """
import importlib.util, json, torch
from precision import modules
from precision.models import brain, bytes as in_bytes, checked, dynamic, half, nibbles

assert importlib.util.find_spec("torchao") is None
torch.manual_seed(7)
"""

WEIGHTS = 64 * 128 + 128 * 32


@pytest.fixture(scope="module")
def precision(installed: Callable[[str], Installed]) -> Installed:
    return installed("precision")


@pytest.mark.parametrize(("model", "dtype"), [("brain", "bfloat16"), ("half", "float16")])
def test_a_model_in_another_dtype(precision: Installed, model: str, dtype: str) -> None:
    precision.run(
        SETUP
        + f"dtype, model = torch.{dtype}, {model}\n"
        + "for batch in (1, 2, 9, 15, 16):\n    x = torch.randn(batch, 64, dtype=dtype)\n"
        + "    with torch.no_grad():\n        expected = modules.Net().to(dtype).eval()(x)\n"
        + "    actual = model(x)\n    assert actual.dtype == dtype\n"
        + "    torch.testing.assert_close(actual, expected, rtol=5e-2, atol=2e-2)\nprint(1)"
    )
    manifest = precision.manifest(model)
    (variant,) = manifest["variants"]
    assert [spec["dtype"] for spec in manifest["inputs"]] == [dtype]
    assert {constant["dtype"] for constant in variant["constants"]} == {dtype}
    assert sum(stored(precision, model).values()) == 2 * (WEIGHTS + 128 + 32)
    assert f"{dtype} tensor of shape (batch, 64)" in stub(precision)


def stub(precision: Installed) -> str:
    return precision.files["precision/models/__init__.pyi"].decode()


def stored(precision: Installed, model: str) -> dict[str, int]:
    return {n: size for n, size in precision.stored.items() if n.startswith(f"{model}.")}


def test_quantised_weights_take_a_quarter_and_an_eighth(precision: Installed) -> None:
    whole = sum(stored(precision, "checked").values())
    assert whole == 4 * (WEIGHTS + 128 + 32)
    for model, part in {"bytes": 1 / 4, "nibbles": 1 / 8}.items():
        share = sum(stored(precision, model).values()) / whole
        assert part <= share < part * 1.5, (model, share)


def test_quantised_models_are_near_the_float_model(precision: Installed) -> None:
    errors = precision.run(
        SETUP
        + "eager, errors = modules.Net().eval(), []\n"
        + "for model in (in_bytes, dynamic, nibbles):\n    worst = 0.0\n"
        + "    for batch in (1, 2, 9, 15, 16):\n        x = torch.randn(batch, 64)\n"
        + "        with torch.no_grad():\n            expected = eager(x)\n"
        + "        actual = model(x)\n        assert actual.dtype == torch.float32\n"
        + "        error = (actual - expected).norm() / expected.norm()\n"
        + "        worst = max(worst, float(error))\n    errors.append(worst)\n"
        + "print(json.dumps(errors))"
    )
    in_bytes, dynamic, nibbles = errors
    assert 0 < in_bytes < 0.02
    assert 0 < dynamic < 0.04
    assert 0.01 < nibbles < 0.2


def test_the_manifest_tells_what_quantisation_changed(precision: Installed) -> None:
    for model in ("bytes", "nibbles", "dynamic"):
        (variant,) = precision.manifest(model)["variants"]
        assert 0 < variant["verified"]["quantization-error"] < 0.5
        assert variant["verified"]["largest-error"] < 0.05
    (variant,) = precision.manifest("checked")["variants"]
    assert "quantization-error" not in variant["verified"]


def test_a_model_with_a_check_gives_what_eager_gives(precision: Installed) -> None:
    precision.run(
        SETUP
        + "for batch in (1, 2, 9, 15, 16):\n    x = torch.randn(batch, 64)\n"
        + "    with torch.no_grad():\n        expected = modules.Net().eval()(x)\n"
        + "    torch.testing.assert_close(checked(x), expected, rtol=1e-4, atol=1e-5)\nprint(1)"
    )


WRONG = [
    ("brain(torch.rand(2, 64))", "TypeError", "must have dtype bfloat16, got float32"),
    ("half(torch.rand(2, 64))", "TypeError", "x.to(torch.float16)"),
    ("in_bytes(torch.rand(2, 64).half())", "TypeError", "must have dtype float32, got float16"),
    ("nibbles(torch.rand(17, 64))", "ValueError", "batch is 17, the compiled model takes 1 to 16"),
]


def test_wrong_calls_name_the_dtype(precision: Installed) -> None:
    precision.refuses(SETUP, WRONG)


def test_the_check_of_the_project_stops_the_wheel(project: Callable[[str], Path]) -> None:
    source = keep_models(project("precision"), "checked")
    checks = source / "precision" / "checks.py"
    checks.write_text(
        "def same_classes(reference, compiled):\n"
        "    assert reference.shape == compiled.shape\n"
        "    return 'only 3% of the classes are those of the eager model'\n"
    )
    assert_refused(
        pip_wheel(source),
        '"precision.checks:same_classes" refuses the compiled model at',
        "tool.aotbuild.models.checked.verify",
        "why: only 3% of the classes are those of the eager model",
    )


def test_tolerances_that_four_bits_do_not_keep_stop_the_wheel(
    project: Callable[[str], Path],
) -> None:
    source = keep_models(project("precision"), "nibbles")
    recipe = 'quantize = "int4-weight-only"'
    edited(source, (recipe, f"{recipe}\nverify = {{ rtol = 1e-4, atol = 1e-5 }}"))
    assert_refused(
        pip_wheel(source),
        "differs from the eager model",
        "tool.aotbuild.models.nibbles",
        "rtol 0.0001, atol 1e-05",
    )
