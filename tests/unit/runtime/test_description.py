"""What a model tells of itself: inputs, outputs, dims, help, pools that are shown and pickled."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import pickle
import pydoc
import subprocess
import sys
import zipfile
from typing import Any

import pytest
import torch
from samples import LoadPackage, call_manifest, sample_manifest

from aotbuild.runtime.dims import Affine, Dim
from aotbuild.runtime.manifest import Input

TENSOR = torch.zeros(2, 3)
NESTED = {
    "state": {"k": TENSOR, "n": [TENSOR, None]},
    "flag": True,
}
OUTPUTS = {
    "type": "OrderedDict",
    "keys": ["scores", "more"],
    "items": [
        {"type": "tensor", "index": 0, "dtype": "float32", "shape": ["batch", "2*batch", 3]},
        {
            "type": "namedtuple",
            "class": "a:B",
            "fields": ["count", "none"],
            "items": [{"type": "int", "index": 1}, {"type": "constant", "value": None}],
        },
    ],
}


def test_inputs_are_told_as_a_call_gives_them(load_package: LoadPackage) -> None:
    net = load_package(dataclasses.replace(call_manifest(NESTED), outputs=OUTPUTS)).net
    assert repr(net.inputs) == (
        "{'state': {'k': float32[batch, 3], 'n': [float32[batch, 3], None]}, 'flag': True}"
    )
    assert net.inputs["state"]["k"].dtype == "float32"
    assert net.inputs["state"]["k"].shape == ("batch", 3)


def test_outputs_are_told_as_a_result_has_them(load_package: LoadPackage) -> None:
    net = load_package(dataclasses.replace(call_manifest(NESTED), outputs=OUTPUTS)).net
    assert list(net.outputs) == ["scores", "more"]
    assert repr(net.outputs["scores"]) == "float32[batch, 2*batch, 3]"
    assert net.outputs["more"] == {"count": int, "none": None}


def test_dims_are_told_with_their_ranges(load_package: LoadPackage) -> None:
    derived = Input("x", "int8", [Affine("batch", 2, 1)], [0])
    net = load_package(sample_manifest(inputs=[derived])).net
    assert {name: (dim.min, dim.max) for name, dim in net.dims.items()} == {"batch": (1, 64)}
    assert str(net.dims["batch"]) == str(Dim(1, 64))
    assert repr(net.inputs) == "{'x': int8[2*batch+1]}"
    net.dims.clear()  # a copy
    assert net._manifest.dims


def test_a_method_may_have_the_name_of_what_a_model_tells(load_package: LoadPackage) -> None:
    package = load_package(sample_manifest(), sample_manifest(method="inputs"))
    assert repr(package.net.inputs).startswith("<compiled model net.inputs(")


def test_help_begins_with_the_words_of_the_author(load_package: LoadPackage) -> None:
    about = 'Tells "digits" apart.\n\nA \\d, and """quotes""".'
    net = load_package(sample_manifest(about=about, doc="Give logits.")).net
    for shown in (net.__doc__, net.__call__.__doc__):
        text = " ".join(shown.split())
        assert text.startswith('Tells "digits" apart. A \\d, and """quotes""". Give logits. ')
        assert "image: float32 tensor of shape (batch, 1, 8)" in text
    text = pydoc.plain(pydoc.render_doc(net))
    assert "net = <compiled model net(image: float32[batch, 1, 8]) for cpu-sample>" in text
    assert 'Tells "digits" apart.' in text
    assert "batch: 1 to 64" in text
    assert "A \\d, and " in (type(net).__doc__ or "")


# ---- Pools


def test_a_pool_shows_what_it_is(load_package: LoadPackage) -> None:
    net = load_package().net
    assert repr(net.pool(4)).endswith(" for cpu-sample, a pool of 4>")
    assert repr(net.pool(2, threads_per_call=1)).endswith(", a pool of 2 with 1 thread each>")
    assert "pool" not in repr(net)


def test_a_pool_is_pickled_by_its_model_and_its_arguments(load_package: LoadPackage) -> None:
    loaded = load_package()
    pool = loaded.net.pool(2, threads_per_call=1)
    data = pickle.dumps(pool)
    assert len(data) < 300
    assert pickle.loads(data) is pool  # noqa: S301
    assert copy.copy(pool) is pool
    assert copy.deepcopy([pool])[0] is pool
    # In another process there is none yet.
    importlib.import_module(f"{loaded.package.__name__}._runtime.model")._pools.clear()
    again = pickle.loads(data)  # noqa: S301
    assert again is not pool
    assert again._pool == pool._pool
    assert again._origin is loaded.net
    assert pickle.loads(pickle.dumps(pool.pool(2, 1)))._origin is loaded.net  # noqa: S301


def test_a_pool_of_methods_is_pickled_with_them(load_package: LoadPackage) -> None:
    loaded = load_package(sample_manifest(method="encode"))
    pool = loaded.net.pool(3)
    assert pickle.loads(pickle.dumps(pool)) is pool  # noqa: S301
    method = pickle.loads(pickle.dumps(pool.encode))  # noqa: S301
    assert method._origin is loaded.net.encode
    assert method._pool.runners == 3


def test_a_batched_model_is_pickled_by_its_model_and_its_arguments(
    load_package: LoadPackage,
) -> None:
    net = load_package().net
    with net.batched(8, 1.0, max_queue=5) as batched:
        assert copy.copy(batched) is batched
        with pickle.loads(pickle.dumps(batched)) as again:  # noqa: S301
            assert again is not batched
            assert again._made_of == (net, 8, 1.0, None, 5)
            assert torch.equal(again(torch.ones(2, 1, 8)), torch.ones(2, 1, 8))


# ---- Where a package cannot work


def test_without_torch_a_sentence_says_so(load_package: LoadPackage) -> None:
    loaded = load_package()
    code = (
        f"import sys\nsys.path.insert(0, {str(loaded.net._package.parent)!r})\n"
        "sys.modules['torch'] = None\n"
        f"import {loaded.package.__name__} as package\n"
        "try:\n    package.net\nexcept ImportError as error:\n"
        "    print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.startswith(
        "ModelLoadError torch is not installed, which compiled models need: pip install torch"
    ), done.stderr


def test_a_package_in_a_zip_file_is_told(
    load_package: LoadPackage, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = load_package().net._package
    archive = tmp_path / "packages.zip"
    with zipfile.ZipFile(archive, "w") as written:
        for path in directory.rglob("*"):
            written.write(path, f"zipped_models/{path.relative_to(directory)}")
    monkeypatch.syspath_prepend(str(archive))
    package = importlib.import_module("zipped_models")
    with pytest.raises(ImportError, match=r"is inside a file, such as a zip file on sys\.path"):
        _ = package.net


def test_a_frozen_program_without_the_hook_says_how_to_have_it(
    loaded_hooks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert loaded_hooks.advice() == "install the package again"
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert "pyinstaller --additional-hooks-dir $(python -c" in loaded_hooks.advice()
    assert "from hooks_of_models import hook_dirs" in loaded_hooks.advice()
    (found,) = loaded_hooks.hook_dirs()
    assert found


@pytest.fixture
def loaded_hooks(tmp_path: Any, fresh_imports: None) -> Any:
    """The module that tells PyInstaller where the hook is."""
    del fresh_imports
    from aotbuild.steps.package.generate import hooks_module

    (tmp_path / "hooks_of_models.py").write_text(hooks_module())
    sys.path.insert(0, str(tmp_path))
    return importlib.import_module("hooks_of_models")
