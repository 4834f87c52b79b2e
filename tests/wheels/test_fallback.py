"""The traced program, run by eager torch where no compiled variant fits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from forks import forked
from wheels import Installed, assert_refused, edited, pip_wheel

from aotbuild.runtime.derived import uses
from aotbuild.runtime.manifest import _digest

CODE = """
import json, os, torch, warnings
os.environ["AOTBUILD_FALLBACK"] = "{policy}"
torch.manual_seed(0)
ids, past = torch.randint(0, 30, (3, 1)), 7
cache = tuple({"k": torch.randn(3, past, 16), "v": torch.randn(3, past, 16)} for _ in range(2))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    try:
        from nested.models import decoder
        for _ in range(2):
            result = decoder(ids, cache)
        told = torch.utils._pytree.tree_flatten(result)[0]
        told = ["result", [tensor.tolist() for tensor in told]]
    except ImportError as error:
        told = [type(error).__name__, str(error)]
    try:
        decoder(ids, cache[:1])
    except Exception as error:  # noqa: BLE001
        refused = str(error)
print(json.dumps([told, [str(w.message) for w in caught], refused]))
"""


@pytest.fixture(scope="module")
def nested(installed: Callable[[str], Installed]) -> Installed:
    return installed("nested")


@pytest.fixture
def elsewhere(nested: Installed, tmp_path: Path) -> Path:
    """The package as on a machine that its compiled code does not fit."""
    site = tmp_path / "site"
    shutil.copytree(nested.directory, site, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (site / "nested" / "models").glob("*/model.json"):
        table = json.loads(path.read_text())
        table["variants"][0]["requires"] = ["avx1024"]
        table.pop("digest")
        path.write_text(json.dumps({**table, "digest": _digest(table)}))
    return site


def run(nested: Installed, site: Path, policy: str) -> tuple[list[object], list[str], str]:
    status, output = forked(nested.python, site, CODE.replace("{policy}", policy))
    assert status == 0, output
    told, warned, refused = json.loads(output.splitlines()[-1])
    return told, warned, refused


@pytest.mark.parametrize("policy", ["", "warn", "silent"])
def test_it_gives_the_compiled_result(nested: Installed, elsewhere: Path, policy: str) -> None:
    (kind, compiled), warned, refused = run(nested, nested.directory, policy)
    assert (kind, warned) == ("result", [])
    (kind, eager), warned, checked = run(nested, elsewhere, policy)
    assert kind == "result"
    assert _close(eager, compiled)
    assert checked == refused
    assert "argument 'cache' must be a tuple of 2" in checked
    if policy == "silent":
        assert warned == []
    else:
        (message,) = warned
        assert message.startswith("decoder runs uncompiled: no variant of decoder can run on cpu:")
        assert "this CPU lacks avx1024" in message


def _close(one: object, other: object) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_close, one, other))
    return one == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("error", "this CPU lacks avx1024"),
        ("never", "AOTBUILD_FALLBACK=never: expected warn, silent"),
    ],
)
def test_it_is_not_used_where_it_is_not_wanted(
    nested: Installed, elsewhere: Path, policy: str, message: str
) -> None:
    told, _, _ = run(nested, elsewhere, policy)
    assert told[0] == "ModelLoadError"
    assert message in str(told[1])


def test_the_weights_are_in_the_package_once(nested: Installed) -> None:
    manifest = nested.manifest("decoder")
    compiled = {constant["offset"] for constant in manifest["variants"][0]["constants"]}
    packed = uses(list(manifest["variants"][0]["derived"].values()))
    # Constants of a few elements are in the compiled code itself.
    assert [
        constant["fqn"]
        for constant in manifest["fallback"]["constants"]
        if constant["offset"] not in compiled
        and constant["size"] > 64
        and constant["fqn"] not in packed
    ] == []


def test_it_tells_no_path_of_the_build(nested: Installed) -> None:
    sources = [text for name, text in nested.files.items() if name.endswith("eager.py")]
    assert len(sources) == 3
    for text in sources:
        assert b"/" not in text.replace(b"\n", b"")


def test_a_program_that_cannot_stand_in_stops_the_build(project: Callable[[str], Path]) -> None:
    source = project("failing")
    (source / "failing" / "ops.py").write_text(OPERATOR)
    edited(
        source,
        ('source = "failing.modules:Net"', 'source = "failing.ops:Net"\nfallback = "eager"'),
        ("max = 64 }", 'max = 64 }\nop-libraries = ["failing.ops"]'),
    )
    assert_refused(
        pip_wheel(source),
        "the traced program cannot stand in for the compiled code",
        "tool.aotbuild.models.net.fallback",
        "only compiled code may call this",
    )


OPERATOR = """
import sys
import torch

@torch.library.custom_op("failing::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    if any("fallback" in frame.f_code.co_filename for frame in frames()):
        raise RuntimeError("only compiled code may call this")
    return x * 2

def frames():
    frame = sys._getframe()
    while frame:
        yield frame
        frame = frame.f_back

@twice.register_fake
def _(x):
    return torch.empty_like(x)

class Net(torch.nn.Module):
    def forward(self, x):
        return torch.ops.failing.twice(x)
"""
