"""The classes of ``torch.nn.Module`` in a project, found by reading its source."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_BASES = {
    "torch.nn.Module",
    "torch.nn.Sequential",
    "torch.nn.modules.Module",
    "torch.jit.ScriptModule",
    "pytorch_lightning.LightningModule",
    "lightning.LightningModule",
    "lightning.pytorch.LightningModule",
    "transformers.PreTrainedModel",
    "transformers.modeling_utils.PreTrainedModel",
}
"""Classes of other packages that are modules."""

_FORWARD = "forward"


@dataclass(frozen=True)
class ModuleClass:
    """A class whose instances are models."""

    module: str
    name: str
    file: Path
    line: int
    needs: tuple[str, ...]
    """The parameters of its constructor that have no default."""
    takes: tuple[str, ...]
    """The parameters of ``forward()`` that have no default."""
    parts: frozenset[str] = field(default=frozenset(), compare=False)
    """The classes that its code names."""

    @property
    def source(self) -> str:
        """How a declaration names it."""
        return f"{self.module}:{self.name}"


def find_classes(packages: Mapping[str, Path]) -> list[ModuleClass]:
    """The classes of modules in some packages, those first that are parts of no other.

    Args:
        packages: The directories of the packages, by their import names.
    """
    read = _Read(packages)
    found = [
        ModuleClass(
            each.module,
            each.node.name,
            each.file,
            each.node.lineno,
            tuple(_required(read.method(each, "__init__"))),
            tuple(_required(forward)),
            frozenset(read.named(each)),
        )
        for each in read.classes.values()
        if read.is_module(each.path) and (forward := read.method(each, _FORWARD))
    ]
    return sorted(found, key=lambda each: is_part(each, found))


def is_part(found: ModuleClass, classes: Iterable[ModuleClass]) -> bool:
    """Whether another class is made of this one."""
    path = f"{found.module}.{found.name}"
    return any(path in other.parts for other in classes if other is not found)


@dataclass(frozen=True)
class _Class:
    module: str
    file: Path
    node: ast.ClassDef
    names: Mapping[str, str]
    """What the names of the module stand for, by their full paths."""

    @property
    def path(self) -> str:
        return f"{self.module}.{self.node.name}"

    def bases(self) -> Iterator[str]:
        for base in self.node.bases:
            # Of a generic one such as Base[T], the class.
            if path := self.full(base.value if isinstance(base, ast.Subscript) else base):
                yield path

    def full(self, node: ast.expr) -> str:
        """The full path of a name, with dots or without; empty for anything else."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        return ".".join([self.names.get(node.id, f"{self.module}.{node.id}"), *parts])


class _Read:
    """The classes of some packages, and what their modules call by other names.

    Args:
        packages: The directories of the packages, by their import names.
    """

    def __init__(self, packages: Mapping[str, Path]) -> None:
        self.classes: dict[str, _Class] = {}
        self._passed_on: dict[str, str] = {}
        for name, directory in packages.items():
            for file in sorted(directory.rglob("*.py")):
                inside = file.relative_to(directory).with_suffix("")
                module = ".".join([name, *inside.parts]).removesuffix(".__init__")
                self._read(file, module)

    def _read(self, file: Path, module: str) -> None:
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):
            return  # of another Python, or a template
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        names = dict(_imported(tree, package))
        self._passed_on |= {f"{module}.{name}": path for name, path in names.items()}
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                found = _Class(module, file, node, names)
                self.classes[found.path] = found

    def resolved(self, path: str) -> str:
        """The path of a class where it is written, for one by which it is imported."""
        seen = set()
        while path in self._passed_on and path not in self.classes and path not in seen:
            seen.add(path)
            path = self._passed_on[path]
        return path

    def is_module(self, path: str, seen: frozenset[str] = frozenset()) -> bool:
        """Whether the class of a path inherits from torch.nn.Module."""
        path = self.resolved(path)
        if path in _BASES:
            return True
        if path not in self.classes or path in seen:
            return False
        return any(self.is_module(base, seen | {path}) for base in self.classes[path].bases())

    def method(
        self, owner: _Class, name: str, seen: frozenset[str] = frozenset()
    ) -> ast.FunctionDef | None:
        """A method of a class, or of one that it inherits from, as far as that can be read."""
        for node in owner.node.body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                return node
        for base in map(self.resolved, owner.bases()):
            if base in self.classes and base not in seen:
                method = self.method(self.classes[base], name, seen | {owner.path})
                if method:
                    return method
        return None

    def named(self, owner: _Class) -> Iterator[str]:
        """The classes that the code of one calls."""
        for node in ast.walk(owner.node):
            if isinstance(node, ast.Call) and (path := owner.full(node.func)):
                yield self.resolved(path)


def _imported(tree: ast.Module, package: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    yield alias.asname, alias.name
                else:
                    yield (top := alias.name.partition(".")[0]), top
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            words = [*(above if node.level else []), *([node.module] if node.module else [])]
            for alias in node.names:
                yield alias.asname or alias.name, ".".join([*words, alias.name])


def _required(function: ast.FunctionDef | None) -> Iterator[str]:
    """The parameters of a method that have no default, but for the instance."""
    if function is None:
        return
    arguments = function.args
    ordinary = [*arguments.posonlyargs, *arguments.args]
    for argument in ordinary[1 : len(ordinary) - len(arguments.defaults)]:
        yield argument.arg
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is None:
            yield argument.arg
