"""What a build tells of itself: ``aotbuild.json``, the bill of materials, and the page."""

from __future__ import annotations

import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from cyclonedx.validation.json import JsonStrictValidator
from samples import sample_manifest, sample_variant, write_package

from aotbuild.runtime.manifest import Manifest
from aotbuild.steps.artifacts.model_files import ModelFile, read_model_files, write_model_files
from aotbuild.steps.artifacts.spec import Tools
from aotbuild.steps.artifacts.times import StepTime, read_time, write_time
from aotbuild.steps.reports.contents import open_directory
from aotbuild.steps.reports.page import page_text
from aotbuild.steps.reports.provenance import Provenance
from aotbuild.steps.reports.report import Report, make_report
from aotbuild.steps.reports.sbom import VERSION, sbom
from aotbuild.steps.tune.lock import Choice, Lock, Measured

GXX = "g++ (Debian 12.2.0-14+deb12u1) 12.2.0"
COMPILED = {
    "torch": "2.13.0",
    "compiler": GXX,
    "recipe": "passes",
    "passes": {"linear": 2},
    "options": {"freezing": False},
}
VERIFIED = {"relative-error": 3e-7, "at": "the output at batch = 64"}
ALONE = sample_variant(standalone=True, compiled=COMPILED, verified=VERIFIED)
CALLED = sample_variant(compiled=COMPILED, verified=VERIFIED)
WEIGHTS = ModelFile("weights", "ab" * 32)


def built(
    directory: Path, *manifests: Manifest, license_: str = "MIT", **changes: Any
) -> tuple[Provenance, Report]:
    """What is told of a package with these models."""
    write_package(directory / "models", manifests, {"weight": torch.ones(5, 2)})
    report = make_report(open_directory(directory / "models"))
    fields: dict[str, Any] = {
        "project": "demo",
        "version": "1.2",
        "license": license_,
        "tools": Tools(aotbuild="0.1.0", torch="2.13.0"),
        "files": {"net": {"weights/net.safetensors": WEIGHTS}},
        "package": report.packages[0],
        **changes,
    }
    return Provenance(**fields), report


def materials(provenance: Provenance) -> dict[str, Any]:
    """A bill of materials that the strict schema takes, with its components by their names."""
    text = sbom(provenance)
    assert JsonStrictValidator(VERSION).validate_str(text) is None
    table: dict[str, Any] = json.loads(text)
    table["components"] = {each["name"]: each for each in table["components"]}
    return table


def test_the_provenance_tells_what_the_package_was_made_of(tmp_path: Path) -> None:
    provenance, report = built(tmp_path, sample_manifest(variants=[ALONE]))
    table = json.loads(provenance.to_json())
    assert table["files"] == {
        "net": {"weights/net.safetensors": {"holds": "weights", "sha256": "ab" * 32}}
    }
    assert table["tools"] == {"aotbuild": "0.1.0", "torch": "2.13.0"}
    (model,) = table["package"]["models"]
    (variant,) = model["variants"]
    assert variant["compiled"] == COMPILED
    assert variant["verified"] == VERIFIED
    assert variant["sha256"] == report.packages[0].models[0].variants[0].sha256
    assert model["takes"] == ["image float32 [batch 1 to 64, 1, 8]"]


def test_the_same_build_elsewhere_writes_the_same(tmp_path: Path) -> None:
    others = sample_variant(target="cpu-other", compiled=COMPILED, verified=VERIFIED)
    texts = set()
    for place in ("one", "two"):
        provenance, _ = built(tmp_path / place, sample_manifest(variants=[ALONE, others]))
        texts.add(provenance.to_json() + sbom(provenance))
        assert str(tmp_path) not in provenance.to_json() + sbom(provenance)
    assert len(texts) == 1


def test_the_bill_names_models_weights_software_and_their_licences(tmp_path: Path) -> None:
    provenance, report = built(
        tmp_path,
        sample_manifest(variants=[ALONE]),
        sample_manifest(
            method="encode", variants=[sample_variant("net/encode", compiled=COMPILED)]
        ),
    )
    table = materials(provenance)
    assert table["metadata"]["component"]["purl"] == "pkg:pypi/demo@1.2"
    parts = table["components"]
    assert set(parts) == {
        *("models.net", "models.net.encode", "weights.safetensors", "weights/net.safetensors"),
        *("aotbuild", "torch", "g++", "libstdc++", "libgcc"),
    }
    kinds = {name: part["type"] for name, part in parts.items()}
    assert kinds["models.net"] == kinds["models.net.encode"] == "machine-learning-model"
    assert kinds["weights/net.safetensors"] == "data"
    digests = {name: part["hashes"][0] for name, part in parts.items() if "hashes" in part}
    assert digests["weights/net.safetensors"] == {"alg": "SHA-256", "content": "ab" * 32}
    assert digests["weights.safetensors"]["content"] == report.packages[0].weights["sha256"]
    (library,) = parts["models.net"]["components"]
    assert library["hashes"][0]["content"] == report.packages[0].models[1].variants[0].sha256
    licences = {name: part["licenses"][0] for name, part in parts.items() if "licenses" in part}
    assert licences["models.net"] == licences["weights.safetensors"] == {"license": {"id": "MIT"}}
    assert licences["aotbuild"] == {"license": {"id": "Apache-2.0"}}
    assert licences["libstdc++"]["expression"] == "GPL-3.0-or-later WITH GCC-exception-3.1"
    assert "torch" in licences
    assert parts["g++"]["version"] == "12.2.0"
    assert parts["g++"]["scope"] == "excluded"
    needs = {each["ref"]: each.get("dependsOn", []) for each in table["dependencies"]}
    for model in ("model:models.net", "model:models.net.encode"):
        assert {"weights", f"file:{'ab' * 32}", "pkg:pypi/aotbuild@0.1.0"} <= set(needs[model])
        assert model in needs["pkg:pypi/demo@1.2"]


def test_what_is_linked_in_is_named_where_it_is(tmp_path: Path) -> None:
    called, _ = built(tmp_path / "called", sample_manifest(variants=[CALLED]))
    parts = materials(called)["components"]
    assert "libstdc++" not in parts
    assert parts["torch"]["description"].startswith("Runs with the models")
    alone, _ = built(tmp_path / "alone", sample_manifest(variants=[ALONE]))
    assert "not needed at run time" in materials(alone)["components"]["torch"]["description"]


@pytest.mark.parametrize(
    ("title", "name", "version"),
    [
        (GXX, "g++", "12.2.0"),
        ("aarch64-linux-gnu-g++ (GCC) 12.2.1 20221121", "aarch64-linux-gnu-g++", "12.2.1"),
        ("Apple clang version 15.0.0 (clang-1500.3.9.4)", "Apple clang", "15.0.0"),
    ],
)
def test_compilers_are_named_as_they_name_themselves(
    tmp_path: Path, title: str, name: str, version: str
) -> None:
    variant = sample_variant(compiled={**COMPILED, "compiler": title})
    provenance, _ = built(tmp_path, sample_manifest(variants=[variant]))
    compiler = materials(provenance)["components"][name]
    assert (compiler["type"], compiler["version"]) == ("application", version)


@pytest.mark.parametrize(
    ("license_", "told"),
    [
        ("", None),
        ("MIT", [{"license": {"id": "MIT"}}]),
        ("MIT AND CC-BY-4.0", [{"expression": "MIT AND CC-BY-4.0"}]),
        ("ask <the> author", [{"license": {"name": "ask <the> author"}}]),
    ],
)
def test_the_licence_is_told_as_the_project_states_it(
    tmp_path: Path, license_: str, told: list[dict[str, Any]] | None
) -> None:
    provenance, _ = built(tmp_path, sample_manifest(variants=[ALONE]), license_=license_)
    assert materials(provenance)["components"]["models.net"].get("licenses") == told


def test_a_bill_can_be_made_of_little(tmp_path: Path) -> None:
    provenance, _ = built(
        tmp_path, sample_manifest(variants=[ALONE]), project="", version="", license_="", files={}
    )
    assert materials(provenance)["metadata"]["component"]["name"] == "models"


class Page(HTMLParser):
    """The elements of a page, with their attributes, and what stands in them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(" ".join(data.split()))

    @property
    def text(self) -> str:
        """Its words."""
        return " ".join(filter(None, self.words))


LOCK = Lock(
    choices={
        "net": {
            "forward": {
                "cpu-sample": Choice(
                    recipe="passes",
                    program="",
                    settings="",
                    cpu="a CPU",
                    candidates={
                        "slow": Measured(microseconds=100.0, ratio=2.0, error=1e-6),
                        "passes": Measured(microseconds=50.0, ratio=1.0, error=1e-7),
                        "wrong": Measured(note="its results differ"),
                    },
                )
            }
        }
    }
)
STEPS = [
    ("Exporting net", StepTime(4.0, cached=False)),
    ("Compiling net for cpu-sample", StepTime(0.2, cached=True)),
]


def test_the_page_shows_models_sizes_errors_recipes_and_steps(tmp_path: Path) -> None:
    provenance, report = built(tmp_path, sample_manifest(variants=[ALONE]))
    page = Page(page_text(provenance, report, LOCK, STEPS))
    for words in (
        *("demo 1.2, MIT", GXX, "image float32 [batch 1 to 64, 1, 8]"),
        *("weights/net.safetensors", "sha256 abababababab...", "3.0e-07"),
        *("the output at batch = 64", "measured on a CPU", "its results differ"),
        *("Exporting net", "4 s", "from the cache", "compiled by it"),
    ):
        assert words in page.text, words
    widths = [
        each["width"] for tag, each in page.tags if each.get("class") == "fill" and tag == "rect"
    ]
    recipes, steps = widths[-5:-2], widths[-2:]
    assert recipes == ["50.00%", "100.00%", "0.00%"]
    assert steps == ["100.00%", "5.00%"]
    (point,) = (each["cx"] for tag, each in page.tags if tag == "circle")
    assert point == "27.52%"  # 3e-7, on an axis from 1e-9 to 1


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    provenance, report = built(tmp_path, sample_manifest(variants=[ALONE]))
    text = page_text(provenance, report, LOCK, STEPS)
    tags = Page(text).tags
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in tags}
    assert not any({"src", "href", "style"} & set(attributes) for _, attributes in tags)
    assert "://" not in text
    assert "@import" not in text
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in tags


def test_texts_on_the_page_are_escaped(tmp_path: Path) -> None:
    nasty = '</style><script>alert("1")</script>&'
    variant = sample_variant(
        compiled={**COMPILED, "recipe": nasty, "options": {nasty: nasty}, "passes": {nasty: 1}},
        verified={"unverified": nasty},
    )
    manifest = sample_manifest(variants=[variant], source=nasty, conditions=["batch < 7"])
    provenance, report = built(
        tmp_path,
        manifest,
        license_=nasty,
        project=nasty,
        version=nasty,
        files={"net": {nasty: ModelFile(nasty, nasty)}},
    )
    text = page_text(provenance, report, Lock(), [(nasty, StepTime(1.0, cached=False))])
    assert "<script" not in text
    assert text.count("&lt;/style&gt;") >= 9
    assert "only where batch &lt; 7" in text
    assert nasty in Page(text).text


@pytest.mark.parametrize(
    ("verified", "words", "place"),
    [
        ({"unverified": "this CPU lacks avx512f"}, "not verified this CPU lacks avx512f", None),
        ({}, "not verified", None),
        ({"relative-error": 0.0}, "0.0e+00", "0.00%"),
        ({"relative-error": 3.0}, "3.0e+00", "100.00%"),
        ({"relative-error": float("inf")}, "inf", "100.00%"),
        ({"relative-error": float("nan")}, "nan", "100.00%"),
    ],
)
def test_every_error_has_a_place_on_the_axis(
    tmp_path: Path, verified: dict[str, Any], words: str, place: str | None
) -> None:
    variant = sample_variant(compiled=COMPILED, verified=verified)
    provenance, report = built(tmp_path, sample_manifest(variants=[variant]))
    page = Page(page_text(provenance, report, Lock(), []))
    assert words in page.text
    assert [each["cx"] for tag, each in page.tags if tag == "circle"] == ([place] if place else [])
    assert not re.search(r"\b(Recipes|Steps)\b", page.text)


def test_the_files_of_a_model_are_read_as_they_were_written(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(b"weights")
    write_model_files(tmp_path, tmp_path, {"net.pt": "weights"})
    digest = hashlib.sha256(b"weights").hexdigest()
    assert read_model_files(tmp_path) == {"net.pt": ModelFile("weights", digest)}


def test_the_time_of_a_step_is_known_when_it_has_ended(tmp_path: Path) -> None:
    spec = tmp_path / "compile.json"
    assert read_time(spec) is None
    write_time(spec, 1.23456, cached=True)
    assert read_time(spec) == StepTime(1.235, cached=True)
