"""Weights that are not in the wheel: as a file, or as a wheel of their own."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import time
import zipfile
from pathlib import Path

from aotbuild.steps.artifacts.spec import SeparateWeights
from aotbuild.steps.files import replacing

_EARLIEST = 315532800  # 1980, when time begins in a zip archive
_MODE = 0o100644 << 16


def move_weights(package: Path, apart: SeparateWeights) -> None:
    """Move the weights file of a package to where it belongs."""
    out = Path(apart.file)
    out.parent.mkdir(parents=True, exist_ok=True)
    weights = package / apart.weights
    with replacing(out) as temporary:
        if apart.requirement:
            _write_wheel(weights, temporary, apart)
        else:
            shutil.copyfile(weights, temporary)
    weights.unlink()


def _write_wheel(weights: Path, wheel: Path, apart: SeparateWeights) -> None:
    name, version = apart.requirement.split("==")
    summary = f"Weights of the compiled models of {apart.package}."
    info = f"{apart.module}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: {summary}\n"
    tag = "Wheel-Version: 1.0\nGenerator: aotbuild\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    texts = {
        f"{apart.module}/__init__.py": f'"""{summary}"""\n',
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": tag,
    }
    record = []
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in texts.items():
            data = text.encode()
            archive.writestr(_entry(path), data)
            record.append(f"{path},{_digest(hashlib.sha256(data))},{len(data)}")
        path = f"{apart.module}/{apart.weights}"
        # Weights hardly get smaller, and as they are they can be copied fast.
        with weights.open("rb") as source:
            digest = _digest(hashlib.file_digest(source, "sha256"))
            source.seek(0)
            with archive.open(_entry(path), "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, 1 << 20)
        record.append(f"{path},{digest},{weights.stat().st_size}")
        record.append(f"{info}/RECORD,,")
        archive.writestr(_entry(f"{info}/RECORD"), "\n".join(record) + "\n")


def _entry(path: str) -> zipfile.ZipInfo:
    seconds = max(_EARLIEST, int(os.environ.get("SOURCE_DATE_EPOCH", _EARLIEST)))
    entry = zipfile.ZipInfo(path, time.gmtime(seconds)[:6])
    entry.external_attr = _MODE
    return entry


def _digest(digest: hashlib._Hash) -> str:
    return "sha256=" + base64.urlsafe_b64encode(digest.digest()).decode().rstrip("=")
