"""The manifest of a compiled model, ``<model>/model.json``: what it takes, returns and needs.

Readable without torch. The build writes it with the same classes that read it here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from .digest import blake2b
from .dims import Affine, Dim, Size
from .errors import ModelLoadError
from .records import dataclass, field

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

STATE = "state"
"""The name and the kind of the parameter for what the model keeps between calls."""
_DIGEST = "digest"
FORMAT = 1
"""Version of the manifest; one with another number is refused. What is added without a new number
has a default, which means what packages without it do (docs/compatibility.md)."""


@dataclass(frozen=True)
class Input:
    """A tensor that the model takes."""

    name: str
    """The expression that picks it from the arguments, such as ``cache[0]["k"]``."""
    dtype: str
    shape: list[Size]
    """Sizes; a name stands for an entry of ``dims``."""
    order: list[int]
    """Stride order: the dimensions from the outermost to the innermost in memory."""

    @classmethod
    def from_table(cls, table: dict[str, Any]) -> Input:
        """Read what ``dataclasses.asdict`` made of an input."""
        return cls(**{**table, "shape": _sizes(table["shape"])})


def read_sizes(table: dict[str, Any]) -> dict[str, Size]:
    """Read what ``dataclasses.asdict`` made of sizes by names."""
    return dict(zip(table, _sizes(list(table.values())), strict=True))


def _sizes(shape: list[Any]) -> list[Size]:
    return [Affine(**size) if isinstance(size, dict) else size for size in shape]


@dataclass(frozen=True)
class Constant:
    """A weight of a compiled library, and where its bytes are in the weights file."""

    name: str
    """Name inside the library."""
    fqn: str
    """Name in the module's state dict."""
    tensor: str
    """Name in the weights file, whose data may serve several constants."""
    dtype: str
    shape: list[int]
    stride: list[int]
    offset: int
    """Byte offset in the weights file."""
    size: int
    """Bytes of storage."""
    packed: str = ""
    """How oneDNN has packed it, in hexadecimal digits; empty where it is plain."""


@dataclass(frozen=True)
class Parameter:
    """An entry of the state dict of the module: a parameter or a buffer."""

    name: str
    dtype: str
    shape: list[int]
    key: str
    """The first of the names that the same tensor has; the ``fqn`` of its constants."""


@dataclass(frozen=True)
class StateBuffer:
    """A buffer of what a model keeps between calls, in the state that its callers hold."""

    name: str
    """Name in the module."""
    dtype: str
    shape: list[Size]
    counts: dict[str, int] = field(default_factory=dict)
    """For one that holds how many entries of other buffers are in use: these, with their axes."""

    @classmethod
    def from_table(cls, table: dict[str, Any]) -> StateBuffer:
        """Read what ``dataclasses.asdict`` made of a buffer."""
        return cls(**{**table, "shape": _sizes(table["shape"])})


Derivation: TypeAlias = dict[str, Any]
"""How a constant is computed: ``{"tensor": key}``, a parameter by its key, or ``{"op": name,
"args": [...], "kwargs": {...}}``, the result of an operator of torch; ``derived.py`` reads it."""


@dataclass(frozen=True)
class File:
    """A file of the package."""

    file: str
    """Path relative to the package."""
    size: int
    quick: str
    """Digest that is checked at every load; that of parts where the file is large."""
    sha256: str


@dataclass(frozen=True)
class Variant:
    """The model compiled for one target."""

    target: str
    device: str
    library: File
    """The shared library."""
    platform: str
    """Operating system and architecture, such as ``linux-x86_64``."""
    requires: list[str]
    """CPU features that the library uses, by the names of ``torch.cpu.get_capabilities``."""
    symbols: dict[str, str]
    """What the library needs of torch: names of functions, with the header that declares each."""
    onednn: str
    """The version of oneDNN that packed weights are for; empty where there are none."""
    constants: list[Constant]
    folded: list[str] = field(default_factory=list)
    """Keys of the parameters of which the library only has what was computed from them, in a way
    that is not known."""
    derived: dict[str, Derivation] = field(default_factory=dict)
    """How constants are computed from parameters, by their ``fqn``."""
    compiled: dict[str, Any] = field(default_factory=dict)
    """How it was compiled: versions, options, the ranges it was found to accept."""
    standalone: bool = False
    """Whether the library has what it needs of torch in itself."""
    verified: dict[str, Any] = field(default_factory=dict)
    """What the comparison with the eager model gave."""


@dataclass(frozen=True)
class Fallback:
    """The program that eager torch runs where no variant fits."""

    file: File
    """Its Python source."""
    constants: list[Constant]
    """What it takes before the inputs."""


@dataclass(frozen=True)
class Expected:
    """An output that the eager model gave for the recorded inputs."""

    index: int
    """Position among the outputs of the library."""
    tensor: Constant
    rtol: float
    atol: float
    """How far the compiled model may be from it, relatively and absolutely."""


@dataclass(frozen=True)
class SelfTest:
    """A call that ``python -m <package>`` repeats."""

    file: File
    inputs: list[Constant]
    outputs: list[Expected]


@dataclass(frozen=True)
class Manifest:
    """A compiled model, or a compiled method of one."""

    model: str
    method: str
    """Name of the method; ``forward`` is the model's own call."""
    source: str
    torch: str
    """The range of torch versions that can run the libraries."""
    inputs: list[Input]
    in_spec: dict[str, Any]
    """How the arguments nest; the leaves are positions in ``inputs``. A parameter that is not an
    ordinary one tells its ``kind``, in the terms of ``inspect.Parameter``."""
    outputs: dict[str, Any]
    """How the outputs nest; the leaves say what they are."""
    dims: dict[str, Dim]
    declared: dict[str, Dim]
    """The ranges of pyproject.toml, where the compiled code accepts less."""
    conditions: list[str]
    """What else must hold between sizes, as Python expressions; the generated module checks it."""
    variants: list[Variant]
    weights: File
    """The weights file, shared by all models of the package."""
    kept: list[Constant] = field(default_factory=list)
    """Parameters that no library takes, only what is computed from them."""
    apart: str = ""
    """Where it is if not in the package: the distribution that holds it, such as
    ``digits-weights==1.0``, or the name of the environment variable that names it."""
    files: list[File] = field(default_factory=list)
    """What else of the package is checked before the model is loaded."""
    runners: int = 1
    """How many calls run at once, if a caller does not ask for another number."""
    state: list[Parameter] = field(default_factory=list)
    """The state dict of the module, with what the compiled code does not use."""
    about: str = ""
    """The docstring that the author gave the module's class; empty where there is none."""
    doc: str = ""
    """The docstring that the author gave the method."""
    selftest: SelfTest | None = None
    """None where even the smallest example is too large to be shipped."""
    fallback: Fallback | None = None
    changed: list[int] = field(default_factory=list)
    """The inputs that a call changes in place, by their positions."""
    buffers: list[StateBuffer] = field(default_factory=list)
    """What the model keeps between calls; the methods of a model have one state."""
    initial: dict[str, Constant] = field(default_factory=dict)
    """What each of these is at first, but for those that are all zeros."""
    adds: dict[str, Size] = field(default_factory=dict)
    """How many entries a call adds, by the names of the buffers that count them."""
    op_libraries: list[str] = field(default_factory=list)
    """Libraries of operators to load first: modules, or files relative to the package."""
    format: int = FORMAT

    @property
    def name(self) -> str:
        """How a caller writes the model, such as ``net`` or ``net.encode``."""
        return self.model if self.method == "forward" else f"{self.model}.{self.method}"

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """How the argument of each parameter nests, but for the state."""
        names, trees = self.in_spec["keys"], self.in_spec["items"]
        pairs = zip(names, trees, strict=True)
        return {name: tree for name, tree in pairs if tree.get("kind") != STATE}

    @property
    def held(self) -> tuple[str, ...]:
        """The buffers of the state that the method takes: the last of its inputs, in this order."""
        trees = [tree for tree in self.in_spec["items"] if tree.get("kind") == STATE]
        return tuple(trees[0]["keys"]) if trees else ()

    @property
    def directory(self) -> str:
        """Where its files are in the package."""
        return self.model if self.method == "forward" else f"{self.model}/{self.method}"

    @property
    def standalone(self) -> bool:
        """Whether it runs without torch, whichever variant fits."""
        return bool(self.variants) and all(variant.standalone for variant in self.variants)

    @property
    def devices(self) -> list[str]:
        """Where it runs. Without a variant, as ``aotbuild develop`` installs it, torch runs it."""
        return list(dict.fromkeys(variant.device for variant in self.variants)) or ["cpu"]

    def to_json(self) -> str:
        """The text of ``model.json``."""
        import dataclasses  # only the build writes

        fields = dataclasses.asdict(self)
        table = {"format": fields.pop("format"), **fields}
        whole = {**table, _DIGEST: _digest(table)}
        return json.dumps(whole, separators=(",", ":")) + "\n"

    @classmethod
    def read(cls, path: Traversable) -> Manifest:
        """Read ``model.json``, on the disk or in a wheel.

        Raises:
            ModelLoadError: The file is missing, damaged or of another format.
        """
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
            version = table["format"]
        except NotADirectoryError as error:
            raise ModelLoadError(
                f"{path} is inside a file, such as a zip file on sys.path: compiled libraries and "
                "weights can only be opened as files of their own. Unpack it, or install the "
                "package by pip"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelLoadError(
                f"{path}: the manifest cannot be read ({error}); install the package again"
            ) from error
        if version != FORMAT:
            raise ModelLoadError(
                f"{path}: manifest format {version!r}, this runtime reads {FORMAT}; "
                "install the package again"
            )
        if table.pop(_DIGEST, None) != _digest(table):
            raise ModelLoadError(
                f"{path}: the manifest was changed after the build; install the package again"
            )
        try:
            read = {name: _READ[name](value) for name, value in table.items() if name in _READ}
            manifest = cls(**{**table, **read})
            outside = [name for name in manifest.paths() if _leaves(name)]
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelLoadError(
                f"{path}: the manifest is damaged ({error}); install the package again"
            ) from error
        if outside:
            raise ModelLoadError(f"{path}: the manifest names {outside[0]!r}, outside the package")
        return manifest

    def paths(self) -> list[str]:
        """The files of the package that the manifest names."""
        libraries = [library for library in self.op_libraries if "/" in library]
        named = [self.weights, *self.files, *(variant.library for variant in self.variants)]
        named += [part.file for part in (self.selftest, self.fallback) if part]
        return [file.file for file in named] + libraries


def _each(read: Callable[[dict[str, Any]], Any]) -> Callable[[list[Any]], list[Any]]:
    return lambda tables: [read(table) for table in tables]


def _named(read: Callable[..., Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda tables: {name: read(**table) for name, table in tables.items()}


def _fallback(table: dict[str, Any] | None) -> Fallback | None:
    if table is None:
        return None
    constants = [Constant(**entry) for entry in table["constants"]]
    return Fallback(File(**table["file"]), constants)


def read_selftest(table: dict[str, Any] | None) -> SelfTest | None:
    """Read what ``dataclasses.asdict`` made of a self-test."""
    if table is None:
        return None
    return SelfTest(
        File(**table["file"]),
        [Constant(**entry) for entry in table["inputs"]],
        [
            Expected(**{**entry, "tensor": Constant(**entry["tensor"])})
            for entry in table["outputs"]
        ],
    )


def _digest(table: dict[str, Any]) -> str:
    text = json.dumps(table, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=32).hexdigest()


def _leaves(name: str) -> bool:
    """Whether a path leads out of the package that it should be relative to."""
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or parts[0] == "" or ":" in parts[0]


def _variant(entry: dict[str, Any]) -> Variant:
    constants = [Constant(**constant) for constant in entry["constants"]]
    library = File(**entry["library"])
    return Variant(**{**entry, "constants": constants, "library": library})


_READ: dict[str, Callable[[Any], Any]] = {
    "inputs": _each(Input.from_table),
    "dims": _named(Dim),
    "declared": _named(Dim),
    "variants": _each(_variant),
    "weights": lambda table: File(**table),
    "kept": _each(lambda table: Constant(**table)),
    "files": _each(lambda table: File(**table)),
    "state": _each(lambda table: Parameter(**table)),
    "buffers": _each(StateBuffer.from_table),
    "initial": _named(Constant),
    "adds": read_sizes,
    "fallback": _fallback,
    "selftest": read_selftest,
}
"""How each field is read that JSON has otherwise. One that is not there has its default: a package
of an older version of aotbuild has none of the later ones."""
