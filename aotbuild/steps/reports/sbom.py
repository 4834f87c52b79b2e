"""The bill of materials of a package, in the wheel's ``.dist-info/sboms`` (PEP 770).

CycloneDX, by the library made for it. It names no time and has no random number: the same build
writes the same bytes.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import License
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from packaging.utils import canonicalize_name

from aotbuild.steps.reports.provenance import Provenance
from aotbuild.steps.reports.report import ModelReport

VERSION = SchemaVersion.V1_7
"""The newest one that the library can validate."""

FILE = "sboms/aotbuild.cdx.json"
"""Its place in ``.dist-info``."""

_GCC_RUNTIME = "GPL-3.0-or-later WITH GCC-exception-3.1"
"""The licence of what g++ links into libraries."""

_OWN = (
    "Its runtime and its kernels are in the package, and in stand-alone libraries its functions "
    "in place of torch's."
)
_CALLED = "Runs with the models; its headers are compiled into their libraries."
_COMPILED_IN = "Its headers are compiled into the libraries; it is not needed at run time."


def sbom(provenance: Provenance) -> str:
    """The text of the bill of materials.

    Args:
        provenance: What is told of the build.
    """
    parts = _Parts.of(provenance)
    bom = Bom(
        metadata=BomMetaData(component=parts.project, tools=ToolRepository(components=[_tool()])),
        components=[*parts.models.values(), *parts.weights, *parts.files.values(), *parts.software],
    )
    needed = [*parts.weights, *(part for part in parts.software if part.scope is _REQUIRED)]
    bom.register_dependency(parts.project, [*parts.models.values(), *needed])
    for model in provenance.package.models:
        made_of = provenance.files.get(_model_of(model), {})
        used = [parts.files[file.sha256] for file in made_of.values()]
        bom.register_dependency(parts.models[model.name], [*needed, *used])
    text = make_outputter(bom, OutputFormat.JSON, VERSION).output_as_string()
    # The library gives each bill a random number and the time.
    table = json.loads(text)
    del table["serialNumber"], table["metadata"]["timestamp"]
    return json.dumps(table, indent=1) + "\n"


_REQUIRED, _EXCLUDED = ComponentScope.REQUIRED, ComponentScope.EXCLUDED


@dataclass(frozen=True)
class _Parts:
    """The components."""

    project: Component
    models: dict[str, Component]
    weights: list[Component]
    """The file that the models read."""
    files: dict[str, Component]
    """What the models were made of, by the digests."""
    software: list[Component]

    @classmethod
    def of(cls, provenance: Provenance) -> _Parts:
        """Those of a package."""
        return cls(
            _distribution(
                provenance.project or provenance.package.package,
                provenance.version,
                ComponentType.LIBRARY,
                provenance.license,
            ),
            {model.name: _model(provenance, model) for model in provenance.package.models},
            list(_weights(provenance)),
            _files(provenance),
            [*_libraries(provenance), *_compilers(provenance)],
        )


def _model_of(report: ModelReport) -> str:
    """The model that a method is of."""
    return report.name.partition(".")[0]


def _model(provenance: Provenance, model: ModelReport) -> Component:
    name = f"{provenance.package.package}.{model.name}"
    told = [("source", model.source)]
    told += [("takes", each) for each in model.takes] + [
        ("returns", each) for each in model.returns
    ]
    libraries = [
        Component(
            type=ComponentType.FILE,
            name=variant.file,
            bom_ref=f"library:{name}:{variant.target}",
            hashes=_sha256(variant.sha256),
            properties=[
                Property(name="aotbuild:target", value=variant.target),
                Property(name="aotbuild:platform", value=variant.platform),
                Property(name="aotbuild:runtime", value=variant.runtime),
            ],
        )
        for variant in model.variants
    ]
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=name,
        version=provenance.version or None,
        bom_ref=f"model:{name}",
        description=model.about.partition("\n")[0] or None,
        licenses=_licenses(provenance.license),
        properties=[Property(name=f"aotbuild:{key}", value=value) for key, value in told],
        components=libraries,
    )


def _weights(provenance: Provenance) -> Iterator[Component]:
    weights = provenance.package.weights
    if weights:
        apart = weights["apart"]
        yield Component(
            type=ComponentType.FILE,
            name=weights["file"],
            bom_ref="weights",
            description=f"Outside of the package: {apart}" if apart else None,
            scope=_REQUIRED,
            hashes=_sha256(weights["sha256"]),
            licenses=_licenses(provenance.license),
        )


def _files(provenance: Provenance) -> dict[str, Component]:
    """The files of the project that the models are made of; a wheel need not have them."""
    return {
        file.sha256: Component(
            type=ComponentType.DATA,
            name=name,
            bom_ref=f"file:{file.sha256}",
            description=f"In the source of the project: {file.holds}.",
            scope=_EXCLUDED,
            hashes=_sha256(file.sha256),
            licenses=_licenses(provenance.license),
        )
        for files in provenance.files.values()
        for name, file in files.items()
    }


def _libraries(provenance: Provenance) -> Iterator[Component]:
    """What the code of the package is made of besides the project."""
    variants = [v for model in provenance.package.models for v in model.variants]
    called = any(variant.runtime == "torch" for variant in variants)
    tools = provenance.tools
    yield _distribution(
        "aotbuild", tools.aotbuild, ComponentType.LIBRARY, _license_of("aotbuild"), _OWN
    )
    yield _distribution(
        "torch",
        tools.torch,
        ComponentType.FRAMEWORK,
        _license_of("torch"),
        _CALLED if called else _COMPILED_IN,
    )
    if any(variant.runtime == "standalone" for variant in variants):
        # Only GCC links them, by whatever name it is called; the version is that of the compiler.
        for version in sorted({_name_and_version(each)[1] for each in provenance.compilers()}):
            for library in ("libstdc++", "libgcc"):
                yield Component(
                    type=ComponentType.LIBRARY,
                    name=library,
                    version=version,
                    bom_ref=f"{library}@{version}",
                    description="Linked into stand-alone libraries.",
                    scope=_REQUIRED,
                    licenses=_licenses(_GCC_RUNTIME),
                )


def _compilers(provenance: Provenance) -> Iterator[Component]:
    for title in provenance.compilers():
        name, version = _name_and_version(title)
        yield Component(
            type=ComponentType.APPLICATION,
            name=name,
            version=version,
            bom_ref=f"compiler:{title}",
            description=f"The compiler: {title}",
            scope=_EXCLUDED,
        )


def _name_and_version(title: str) -> tuple[str, str]:
    """The name and the version in the first line that a compiler prints."""
    plain = re.sub(r"\(.*?\)", "", title)
    found = re.search(r"\d+(\.\d+)+", plain)
    version = found[0] if found else ""
    name = plain.partition(version)[0] if version else plain
    return name.replace(" version", "").strip() or title, version


def _distribution(
    name: str, version: str, kind: ComponentType, license_: str, about: str = ""
) -> Component:
    """A distribution of the Python Package Index.

    Args:
        name: Its name.
        version: Its version; empty where that is not known.
        kind: What it is.
        license_: What it says of its licence; may be empty.
        about: What it has to do with the package.
    """
    purl = PackageURL("pypi", None, canonicalize_name(name), version or None)
    return Component(
        type=kind,
        name=name,
        version=version or None,
        bom_ref=purl.to_string(),
        purl=purl,
        description=about or None,
        scope=_REQUIRED if about else None,
        licenses=_licenses(license_),
    )


def _tool() -> Component:
    return Component(
        type=ComponentType.APPLICATION,
        name="aotbuild",
        version=importlib.metadata.version("aotbuild"),
        bom_ref="tool:aotbuild",
    )


def _license_of(distribution: str) -> str:
    """What an installed distribution says of its licence in a line; empty where it says none."""
    metadata = importlib.metadata.metadata(distribution)
    said = (metadata[key] for key in ("License-Expression", "License") if key in metadata)
    text = next(said, "")
    return "" if "\n" in text else text


def _licenses(text: str) -> Iterable[License]:
    return [LicenseFactory().make_from_string(text)] if text else []


def _sha256(digest: str) -> list[HashType]:
    return [HashType(alg=HashAlgorithm.SHA_256, content=digest)]
