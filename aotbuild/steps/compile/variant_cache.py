"""What the step compile finds in the cache, and leaves there.

Asked before the step runs, without torch: a hit takes some milliseconds. Nothing of an entry names
a model or a path; a hit repeats the entry's warnings.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from aotbuild.cache.history import History, Parts, key_of
from aotbuild.cache.reasons import why_missing
from aotbuild.cache.settings import explaining
from aotbuild.cache.store import Found, Store
from aotbuild.config.resolve import method_label
from aotbuild.errors import warn
from aotbuild.steps.artifacts.build_record import RECORD, BuildRecord
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.library import COMPUTED_WEIGHTS, LIBRARY, PROXY_NODES
from aotbuild.steps.artifacts.spec import CompileSpec, read_spec
from aotbuild.steps.artifacts.weights_index import INDEX
from aotbuild.steps.compile.key import CompileKey, compile_key
from aotbuild.steps.files import replacing, scratch, write_depfile
from aotbuild.steps.sizes.narrowing import narrowed
from aotbuild.steps.tune.pins import decided

KIND = "compiled"

FILES = (LIBRARY, PROXY_NODES, COMPUTED_WEIGHTS, RECORD)
"""What the step writes, and other steps read: the record is the last, by which Ninja knows it."""


@dataclass(frozen=True)
class CacheSlot:
    """The place in the cache of what a step is about to compile."""

    spec: CompileSpec
    store: Store
    key: CompileKey | None

    @classmethod
    def of(cls, spec: CompileSpec, store: Store | None = None) -> CacheSlot:
        """Determine it from what the step reads, in the store of the build unless one is given."""
        store = store or Store.of_build()
        return cls(spec, store, compile_key(spec) if store.on else None)

    def put(self, output: Path, *, computed: bool) -> None:
        """Put what was compiled into the cache.

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
        """Put what was compiled before into a directory.

        Returns:
            Whether there was an entry, and the parts of its key. Without one, they are those that
            show what changed.
        """
        assert self.key is not None  # noqa: S101
        result = Found.MISSING
        for parts in self.key.candidates:
            got = self.store.get(KIND, key_of(parts), directory)
            result = max(result, got, key=_WORST_TO_BEST.index)
            if result is Found.HIT:
                return result, parts
        last = self._history().last(self.spec.target) or {}
        return result, self.key.with_values if "all" in last.get("values", {}) else self.key.parts

    def note(self, parts: Parts) -> None:
        """Note from what it was made."""
        self._history().note(self.spec.target, parts)

    def why_missing(self, result: Found, parts: Parts) -> str:
        """Why it was not found."""
        return why_missing(self._history(), self.spec.target, parts, result)

    def _history(self) -> History:
        spec = self.spec
        return History(self.store.settings, spec.package, spec.model, spec.method)

    @property
    def label(self) -> str:
        """What is compiled, for the log."""
        spec = self.spec
        return f"{method_label(spec.model, spec.method)} for {spec.target}"


_WORST_TO_BEST = [Found.MISSING, Found.DAMAGED, Found.HIT]


def restored(spec_file: Path) -> bool:
    """Whether the cache had what a step would compile, which is in its place then.

    Otherwise the log says why it had not.
    """
    spec = decided(read_spec(CompileSpec, spec_file), warning=True)
    slot = CacheSlot.of(spec)
    if not slot.store.on:
        _log(f"{slot.label} is compiled: the cache is off", always=False)
        return False
    if slot.key is None:
        _log(f"{slot.label} is compiled: {MODULES}", always=False)
        return False
    output = Path(spec.output)
    with scratch(output.resolve()) as directory:
        result, parts = slot.find(directory)
        if result is not Found.HIT:
            _log(f"{slot.label} is compiled: {slot.why_missing(result, parts)}", always=True)
            return False
        record = BuildRecord.read(directory)
        write_depfile(output / RECORD, dependencies(spec, record))
        for name in FILES:
            if (directory / name).exists():
                with replacing(output / name) as temporary:
                    (directory / name).replace(temporary)
            else:
                (output / name).unlink(missing_ok=True)
    slot.note(parts)
    call = CallSpec.read(Path(spec.exported))
    for each in narrowed(spec, call, record.dims, record.conditions):
        warn(each.what, where=each.where, why=each.why, fix=each.fix)
    _log(f"{slot.label} was compiled before", always=False)
    return True


MODULES = "its operators are of a module of the project, which may read anything"
"""Why something is never in the cache."""


def dependencies(spec: CompileSpec, record: BuildRecord) -> list[Path]:
    """What a compiled variant depends on besides what the plan knows.

    What Inductor computed from the weights follows them; other weights leave all else as it is.
    """
    return [Path(spec.exported).parent / INDEX] if record.written else []


def _log(text: str, *, always: bool) -> None:
    if always or explaining():
        sys.stdout.write(f"aotbuild: cache: {text}\n")
        sys.stdout.flush()
