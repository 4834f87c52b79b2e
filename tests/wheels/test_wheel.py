"""What a wheel holds, and what it does not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from torch_pin import REQUIRED
from wheels import REPOSITORY, Installed

from aotbuild.runtime import torch_arrays
from aotbuild.runtime.derived import compute

MODELS = ("net", "denoiser", "reader")
RUNTIME = {path.stem for path in (REPOSITORY / "aotbuild" / "runtime").glob("*.py")}
RUNTIME -= {"development"}  # of editable installs alone


@pytest.fixture(scope="module")
def example(installed: Callable[[str], Installed]) -> Installed:
    return installed("example_project")


def test_the_layout_is_that_of_the_documentation(example: Installed) -> None:
    names = {name for name in example.files if "dist-info" not in name}
    models = {name for name in names if name.startswith("digits/models/")}
    assert models == {
        "digits/models/__init__.py",
        "digits/models/__init__.pyi",
        "digits/models/__main__.py",
        "digits/models/py.typed",
        "digits/models/weights.safetensors",
        *(f"digits/models/_{model}.py" for model in MODELS),
        *(f"digits/models/{model}/model.json" for model in MODELS),
        *(f"digits/models/{model}/selftest.safetensors" for model in MODELS),
        *(f"digits/models/{model}/cpu-x86-64-v3.so" for model in MODELS),
        "digits/models/_pyinstaller/__init__.py",
        "digits/models/_pyinstaller/hook-digits.models.py",
        "digits/models/_runtime/_engine.abi3.so",
        *(f"digits/models/_runtime/{module}.py" for module in RUNTIME),
    }


def test_pip_installs_the_files_of_the_wheel(example: Installed, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-P", "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
        + ["--target", tmp_path, example.wheel],
        check=True,
    )
    files = {p.relative_to(tmp_path).as_posix(): p for p in tmp_path.rglob("*") if p.is_file()}
    record = "digits-0.1.0.dist-info/RECORD"  # to which pip adds what it writes itself
    for name, data in example.files.items():
        assert name == record or files.pop(name).read_bytes() == data
    assert all(name.startswith("digits-0.1.0.dist-info/") for name in files)


def test_one_wheel_serves_every_python(example: Installed) -> None:
    assert re.fullmatch(r"digits-0\.1\.0-cp311-abi3-linux_x86_64\.whl", example.wheel.name)


def test_the_wheel_requires_the_torch_of_the_build(example: Installed) -> None:
    metadata = example.files["digits-0.1.0.dist-info/METADATA"].decode()
    assert f"Requires-Dist: {REQUIRED}" in metadata


def test_no_file_tells_a_path_of_the_build_machine(example: Installed) -> None:
    paths = [sys.prefix, sys.base_prefix, str(Path.home()), "/tmp/", "site-packages", ".scratch-"]
    for name, data in example.files.items():
        for path in paths:
            assert path.encode() not in data, (name, path)


def test_a_v3_library_has_no_avx512_and_some_avx2(example: Installed) -> None:
    library = example.directory / "digits/models/net/cpu-x86-64-v3.so"
    listing = subprocess.run(
        ["objdump", "-d", str(library)], capture_output=True, text=True, check=True
    ).stdout
    assert "%zmm" not in listing
    assert "%ymm" in listing


def test_libraries_are_stripped_and_have_no_line_tables(example: Installed) -> None:
    library = example.directory / "digits/models/net/cpu-x86-64-v3.so"
    sections = subprocess.run(
        ["readelf", "-S", "-W", str(library)], capture_output=True, text=True, check=True
    ).stdout
    assert ".debug" not in sections
    assert ".symtab" not in sections


def test_threads_are_not_baked_in(example: Installed) -> None:
    manifest = json.loads(example.files["digits/models/net/model.json"])
    options = manifest["variants"][0]["compiled"]["options"]
    assert options["cpp.dynamic_threads"] is True
    used = example.run(
        "import json, torch\nfrom digits.models import net\nx = torch.rand(256, 1, 8, 8)\n"
        "results = []\n"
        "for threads in (1, 2):\n    torch.set_num_threads(threads)\n    results.append(net(x))\n"
        "print(json.dumps(torch.allclose(*results, atol=1e-5)))"
    )
    assert used


def test_nothing_but_torch_is_imported_at_run_time(example: Installed) -> None:
    before, after = example.run(
        "import json, sys, torch\nbefore = set(sys.modules)\n"
        "from digits.models import net\nnet(torch.rand(1, 1, 8, 8))\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(json.dumps([sorted(n for n in new if n not in sys.stdlib_module_names), "
        "sorted(n for n in sys.modules if n.startswith(('aotbuild', 'digits.network')))]))"
    )
    assert set(before) <= {"digits", "torch"}
    assert after == []


def test_the_manifest_tells_the_call(example: Installed) -> None:
    manifest = json.loads(example.files["digits/models/denoiser/model.json"])
    assert manifest["inputs"] == [
        {
            "name": "image",
            "dtype": "float32",
            "shape": ["batch", 1, 8, 8],
            "order": [0, 1, 2, 3],
        }
    ]
    assert manifest["dims"] == {"batch": {"min": 1, "max": 256, "multiple_of": 1}}
    assert manifest["outputs"]["type"] == "dict"
    assert manifest["outputs"]["items"][0]["shape"] == ["batch", 1, 8, 8]
    assert manifest["variants"][0]["verified"]["cases"] == [
        "the example",
        "batch = 1",
        "batch = 256",
    ]


def test_the_package_is_lazy_and_lists_its_models(example: Installed) -> None:
    listed, loaded, missing = example.run(
        "import json, sys\nimport digits.models as models\n"
        "loaded = 'torch' in sys.modules or 'digits.models._net' in sys.modules\n"
        "try:\n    models.nett\nexcept AttributeError as error:\n    missing = str(error)\n"
        "print(json.dumps([dir(models), loaded, missing]))",
        env={},
    )
    assert set(MODELS) <= set(listed)
    assert loaded is False
    assert missing == "module 'digits.models' has no attribute 'nett'"


def test_weights_open_with_safetensors_and_follow_from_the_source(example: Installed) -> None:
    from safetensors.torch import load_file

    packed = load_file(example.directory / "digits/models/weights.safetensors")
    source = load_file(
        Path(__file__).parents[2] / "example_project" / "weights" / "net.safetensors"
    )
    variant = example.manifest("net")["variants"][0]
    assert variant["constants"]
    for constant in variant["constants"]:
        recipe = variant["derived"].get(constant["fqn"])
        expected = (
            compute(recipe, source.__getitem__, torch_arrays) if recipe else source[constant["fqn"]]
        )
        assert packed[constant["tensor"]].equal(expected)
    assert variant["derived"]  # as weights in the order in which they are read
