"""What wheels tell of themselves in ``.dist-info``, and the page beside them."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable
from typing import Any

from cyclonedx.validation.json import JsonStrictValidator
from wheels import REPOSITORY, STANDALONE, TORCH, Installed, differ_from_record

from aotbuild.steps.reports.sbom import VERSION

INFO = "digits-0.1.0.dist-info"
MODELS = ("net", "denoiser", "reader")


def told(example: Installed) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(example.files[f"{INFO}/aotbuild.json"])
    return found


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_wheel_tells_what_it_was_made_of(installed: Callable[..., Installed]) -> None:
    for runtime in (STANDALONE, TORCH):
        example = installed("example_project", runtime)
        assert differ_from_record(example.wheel) == set()
        table = told(example)
        assert [table[key] for key in ("project", "version", "license")] == [
            *("digits", "0.1.0", "Apache-2.0")
        ]
        for model in MODELS:
            name = f"weights/{model}.safetensors"
            file = (REPOSITORY / "example_project" / name).read_bytes()
            assert table["files"][model] == {name: {"holds": "weights", "sha256": sha256(file)}}
        assert {each["name"] for each in table["package"]["models"]} == set(MODELS)
        for model in table["package"]["models"]:
            manifest = example.manifest(model["name"])
            for variant, built in zip(model["variants"], manifest["variants"], strict=True):
                assert variant["sha256"] == sha256(
                    example.files[f"digits/models/{variant['file']}"]
                )
                assert variant["runtime"] == runtime
                assert variant["compiled"] == built["compiled"]
                assert re.search(r"\d+\.\d+", variant["compiled"]["compiler"])
                assert variant["verified"] == built["verified"]


def test_its_bill_of_materials_is_valid_and_true(installed: Callable[..., Installed]) -> None:
    for runtime in (STANDALONE, TORCH):
        example = installed("example_project", runtime)
        text = example.files[f"{INFO}/sboms/aotbuild.cdx.json"].decode()
        assert JsonStrictValidator(VERSION).validate_str(text) is None
        table = json.loads(text)
        assert "serialNumber" not in table
        assert "timestamp" not in table["metadata"]
        parts = {part["name"]: part for part in table["components"]}
        digest = sha256(example.files["digits/models/weights.safetensors"])
        assert parts["weights.safetensors"]["hashes"] == [{"alg": "SHA-256", "content": digest}]
        for model in MODELS:
            for library in parts[f"digits.models.{model}"]["components"]:
                data = example.files[f"digits/models/{library['name']}"]
                assert library["hashes"] == [{"alg": "SHA-256", "content": sha256(data)}]
        assert ("libstdc++" in parts) == (runtime == STANDALONE)
        assert parts["torch"]["purl"].startswith("pkg:pypi/torch@2.")


def test_neither_names_a_place_of_the_build_machine(installed: Callable[..., Installed]) -> None:
    example = installed("example_project", STANDALONE)
    names = [name for name in example.files if name.startswith(INFO) and name.endswith(".json")]
    assert len(names) == 2
    for name in names:
        text = example.files[name].decode()
        for place in (str(REPOSITORY), str(example.wheel.parent), tempfile.gettempdir()):
            assert place not in text


def test_the_page_of_releasing_shows_what_is_told(installed: Callable[..., Installed]) -> None:
    example = installed("example_project", STANDALONE)
    page = (REPOSITORY / "docs" / "releasing.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```pycon\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    *lines, last = re.findall(r"^>>> (.*)$", block, re.MULTILINE)
    (shown,) = re.findall(r"^\{.*$", block, re.MULTILINE)
    code = "\n".join(lines)
    assert example.run(f"{code}\nprint(json.dumps(repr({last})))") == shown
