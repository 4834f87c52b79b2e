"""The classes by which a stub names the parts of results: of namedtuples, and of mixed dicts."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aotbuild.steps.package.generate.names import Names, last_part
from aotbuild.steps.package.generate.signature import Written, annotation


@dataclass
class ResultTypes:
    """Collects the classes of the results of a package.

    Args:
        names: Where they take their names from.
        tensor: The name of the type variable that stands for a tensor.
    """

    names: Names
    tensor: str
    classes: dict[str, str] = field(default_factory=dict)
    """Their text, by their names."""
    _found: dict[tuple[str, str], str] = field(default_factory=dict)

    def written(self, types: Written, cls: str) -> Written:
        """How results are written, with classes where they need them.

        Args:
            types: How their tensors are.
            cls: The class of the model, by which those of dicts are named.
        """

        def own(tree: dict[str, Any]) -> str:
            if tree["type"] == "namedtuple":
                name, base, keys = last_part(tree["class"]), "NamedTuple", tree["fields"]
            elif _mixed(tree):
                name, base, keys = f"{cls}Result", "TypedDict", tree["keys"]
            else:
                return ""
            inside = self.written(Written(self.tensor), cls)
            fields = [annotation(item, inside) for item in tree["items"]]
            body = "\n".join(f"    {k}: {v}" for k, v in zip(keys, fields, strict=True))
            name = self._class(name, base, body or "    ...")
            return f"{name}[{types.tensor}]"

        return Written(types.tensor, own=own)

    def _class(self, wanted: str, base: str, body: str) -> str:
        """The name of the class with this body."""
        if (wanted, body) not in self._found:
            name = self._found[wanted, body] = self.names.take(wanted)
            self.classes[name] = f"class {name}({base}, Generic[{self.tensor}]):\n{body}"
        return self._found[wanted, body]


def _mixed(tree: Mapping[str, Any]) -> bool:
    """Whether it is a dict whose values have several types, which one annotation cannot tell apart.

    One whose values are of one type stays a plain dict, as which it can be passed on.
    """
    if tree["type"] != "dict":
        return False
    kinds = {annotation(item, Written("Tensor")) for item in tree["items"]}
    named = all(isinstance(k, str) and k.isidentifier() for k in tree["keys"])
    named = named and not any(
        k.startswith("__") for k in tree["keys"]
    )  # of which classes make others
    return len(kinds) > 1 and named and not any(map(keyword.iskeyword, tree["keys"]))
