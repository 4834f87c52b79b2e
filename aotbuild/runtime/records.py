"""Frozen dataclasses that are made in microseconds, for what every process has.

``dataclasses`` compiles code for each class whenever a module with one is imported, and itself
imports ``inspect``: together that is more than all other code of the runtime takes. Objects of
these are made, compared, hashed and shown as those of ``dataclasses`` are, whose functions take
them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass", "field"]


class _Record:
    _names: tuple[str, ...]
    _defaults: dict[str, Any]
    _makers: dict[str, Callable[[], Any]]
    """What makes the default of a field for each object."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        cls = type(self)
        given = dict(zip(cls._names, args, strict=False))
        values = {**cls._defaults, **given, **kwargs}
        for name, make in cls._makers.items():
            if name not in values:
                values[name] = make()
        twice = given.keys() & kwargs.keys()
        if twice or len(args) > len(given) or values.keys() != set(cls._names):
            wrong = sorted(twice | (values.keys() ^ set(cls._names)))
            what = ", ".join(wrong) or f"{len(args)} arguments"
            raise TypeError(f"{cls.__name__}() has the fields {', '.join(cls._names)}: {what}")
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"cannot delete field {name!r}")

    def __repr__(self) -> str:
        values = [f"{name}={getattr(self, name)!r}" for name in self._names]
        return f"{type(self).__qualname__}({', '.join(values)})"


class _Equal:
    def __eq__(self: Any, other: object) -> bool:
        names: tuple[str, ...] = self._names
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in names)

    def __hash__(self: Any) -> int:
        return hash(tuple(getattr(self, name) for name in self._names))


class _OfDataclasses:
    """What ``dataclasses`` keeps in a class, found out when it is first asked for."""

    def __init__(self, name: str, cls: type[Any], **options: bool) -> None:
        self._name, self._cls, self._options = name, cls, options

    def __get__(self, record: object, subclass: type[Any]) -> Any:
        import dataclasses  # the build asks for it, and few other processes

        cls: Any = self._cls
        made = {name: dataclasses.field(default_factory=make) for name, make in cls._makers.items()}
        names = {"__annotations__": cls.__annotations__, "__module__": cls.__module__}
        same = type(cls.__name__, (), {**names, **cls._defaults, **made})
        return getattr(dataclasses.dataclass(**self._options)(same), self._name)


if TYPE_CHECKING:
    from dataclasses import dataclass, field
else:

    class field:  # noqa: N801  # as in dataclasses
        """A field whose default a function makes for each object."""

        def __init__(self, *, default_factory: Callable[[], Any]) -> None:
            self.make = default_factory

    def dataclass(*, frozen: bool, eq: bool = True) -> Callable[[type[Any]], type[Any]]:
        """Make a frozen dataclass of a class, which inherits from no other one.

        Args:
            frozen: True.
            eq: Whether objects with the same fields are equal.
        """

        def made(cls: type[Any]) -> type[Any]:
            own = dict(vars(cls))
            cls._names = cls.__match_args__ = tuple(cls.__annotations__)
            given = {name: own[name] for name in cls._names if name in own}
            cls._makers = {name: d.make for name, d in given.items() if isinstance(d, field)}
            cls._defaults = {name: d for name, d in given.items() if name not in cls._makers}
            for name in cls._makers:
                delattr(cls, name)
            for part in (_Record, _Equal) if eq else (_Record,):
                for name, method in vars(part).items():
                    if name not in own and callable(method):
                        setattr(cls, name, method)
            for name in ("__dataclass_fields__", "__dataclass_params__"):
                setattr(cls, name, _OfDataclasses(name, cls, frozen=frozen, eq=eq))
            return cls

        return made
