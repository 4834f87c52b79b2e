"""What the step compile finds in the cache, and leaves there.

Asked before the step runs, without torch: a hit takes some milliseconds. Nothing of an entry names
a model or a path; what is told to the user of one is told again.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from aotbuild.cache.history import History, Parts, key_of
from aotbuild.cache.reasons import why_missing
from aotbuild.cache.settings import explaining
from aotbuild.cache.store import Found, Store
from aotbuild.config.schema import FORWARD
from aotbuild.errors import warn
from aotbuild.steps.artifacts.build_record import RECORD, BuildRecord
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.spec import CALL, INDEX, WEIGHTS, CompileSpec, read_spec
from aotbuild.steps.compile.key import CompileKey, compile_key
from aotbuild.steps.files import replacing, scratch, write_depfile
from aotbuild.steps.sizes.narrowing import narrowed
from aotbuild.steps.tune.pins import decided

KIND = "compiled"

LIBRARY, PROXY = "library.so", "library.json"

FILES = (LIBRARY, PROXY, WEIGHTS, RECORD)
"""What the step writes, and other steps read: the record is the last, by which Ninja knows it."""


@dataclass(frozen=True)
class Kept:
    """The place in the cache of what a step is about to compile."""

    spec: CompileSpec
    store: Store
    key: CompileKey | None

    @classmethod
    def of(cls, spec: CompileSpec, store: Store | None = None) -> Kept:
        """Determine it from what the step reads, in the store of the build unless told another."""
        store = store or Store.of_build()
        return cls(spec, store, compile_key(spec) if store.on else None)

    def keep(self, output: Path, *, computed: bool) -> None:
        """Keep what was compiled.

        Args:
            output: Where it is.
            computed: Whether values of weights went into it.
        """
        if self.key is None:
            return
        parts = self.key.with_values if computed else self.key.parts
        files = {name: output / name for name in FILES if (output / name).exists()}
        self.store.put(KIND, key_of(parts), files)
        self._history().note(self.spec.target, parts)

    def find(self, directory: Path) -> tuple[Found, Parts]:
        """Put what was compiled before into a directory, and tell the parts that it was found by.

        Without success, they are those by which a change can be told.
        """
        assert self.key is not None  # noqa: S101
        found = Found.MISSING
        for parts in self.key.candidates:
            found = max(found, self.store.get(KIND, key_of(parts), directory), key=_TELLING.index)
            if found is Found.HIT:
                return found, parts
        last = self._history().last(self.spec.target) or {}
        return found, self.key.with_values if "all" in last.get("values", {}) else self.key.parts

    def note(self, parts: Parts) -> None:
        """Note from what it was made."""
        self._history().note(self.spec.target, parts)

    def why_missing(self, found: Found, parts: Parts) -> str:
        """Why it was not found."""
        return why_missing(self._history(), self.spec.target, parts, found)

    def _history(self) -> History:
        spec = self.spec
        return History(self.store.settings, spec.package, spec.model, spec.method)

    @property
    def told(self) -> str:
        """What is compiled, for the log."""
        spec = self.spec
        name = spec.model if spec.method == FORWARD else f"{spec.model}.{spec.method}"
        return f"{name} for {spec.target}"


_TELLING = [Found.MISSING, Found.DAMAGED, Found.HIT]


def restored(spec_file: Path) -> bool:
    """Whether the cache had what a step would compile, which is in its place then.

    Otherwise the log tells why it had not.
    """
    spec = decided(read_spec(CompileSpec, spec_file), telling=True)
    kept = Kept.of(spec)
    if not kept.store.on:
        _tell(f"{kept.told} is compiled: the cache is off", always=False)
        return False
    if kept.key is None:
        _tell(f"{kept.told} is compiled: {MODULES}", always=False)
        return False
    output = Path(spec.output)
    with scratch(output.resolve()) as directory:
        found, parts = kept.find(directory)
        if found is not Found.HIT:
            _tell(f"{kept.told} is compiled: {kept.why_missing(found, parts)}", always=True)
            return False
        record = BuildRecord.read(directory / RECORD)
        write_depfile(output / RECORD, dependencies(spec, record))
        for name in FILES:
            if (directory / name).exists():
                with replacing(output / name) as temporary:
                    (directory / name).replace(temporary)
            else:
                (output / name).unlink(missing_ok=True)
    kept.note(parts)
    call = CallSpec.read(Path(spec.exported) / CALL)
    for each in narrowed(spec, call, record.dims, record.conditions):
        warn(each.what, where=each.where, why=each.why, fix=each.fix)
    _tell(f"{kept.told} was compiled before", always=False)
    return True


MODULES = "its operators are of a module of the project, which may read anything"
"""Why something is never in the cache."""


def dependencies(spec: CompileSpec, record: BuildRecord) -> list[Path]:
    """What a compiled variant depends on besides what the plan knows.

    What Inductor computed from the weights follows them; other weights leave all else as it is.
    """
    return [Path(spec.exported).parent / INDEX] if record.written else []


def _tell(text: str, *, always: bool) -> None:
    if always or explaining():
        sys.stdout.write(f"aotbuild: cache: {text}\n")
        sys.stdout.flush()
