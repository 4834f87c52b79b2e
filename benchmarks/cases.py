"""The models and inputs to measure with. Light: the cold start is measured with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Any

    import numpy as np

    Arrays = list[np.ndarray[Any, np.dtype[Any]]]


_LARGEST = {"ids": 30522, "words": 2000}
"""What integers are below, by the kind of an input."""


class Cache(NamedTuple):
    """What a decoder keeps of the tokens before, as keys and values of each layer."""

    layers: int
    heads: int
    size: int
    """Of a head."""
    length: int
    """Entries that there is room for."""
    seen: int
    """Those that are there before the first step."""

    def arrays(self) -> Arrays:
        """Keys and values in turn, the same in each process, with room for what follows."""
        import numpy as np

        rng = np.random.default_rng(0)
        shape = (1, self.heads, self.length, self.size)
        return [rng.standard_normal(shape, dtype=np.float32) for _ in range(2 * self.layers)]


class Case(NamedTuple):
    """One model called with inputs of one size."""

    name: str
    model: str
    """Its name in the project that declares it."""
    source: str
    """What makes it, as in the declaration."""
    inputs: tuple[tuple[str, tuple[int, ...], str], ...]
    """Name, shape and kind of each: ``float``, or integers as ``ids``, ``words`` or ``ones``."""
    label: str
    dynamic: tuple[tuple[str, int, str, int], ...] = ()
    """Dynamic dimensions: the input, the dimension, its name and its largest size."""
    project: str = "models"
    cache: Cache | None = None
    """Of a decoder, whose calls are steps: each begins where the one before it ended."""
    dtype: str = "float32"
    """What the module is cast to."""

    @property
    def package(self) -> str:
        """The import package of the model's project."""
        return self.source.partition(".")[0]

    def arrays(self) -> Arrays:
        """The inputs, the same in each process."""
        import numpy as np

        rng = np.random.default_rng(0)
        made: Arrays = []
        for _, shape, kind in self.inputs:
            if kind == "float":
                made.append(rng.standard_normal(shape, dtype=np.float32))
            elif kind in _LARGEST:
                made.append(rng.integers(0, _LARGEST[kind], shape, dtype=np.int64))
            else:
                made.append(np.ones(shape, dtype=np.int64))
        return made


def _image(name: str, label: str, module: str = "vision", parameter: str = "input") -> Case:
    inputs = ((parameter, (1, 3, 224, 224), "float"),)
    return Case(name, name, f"gallery.{module}:{name}", inputs, label)


def _text(tokens: int, model: str, name: str, label: str) -> Case:
    inputs = (("ids", (1, tokens), "ids"), ("mask", (1, tokens), "ones"))
    dynamic = (("ids", 1, "tokens", 256), ("mask", 1, "tokens", 256))
    source = "gallery.text:minilm"
    return Case(name, model, source, inputs, label, () if model == "minilm" else dynamic)


def _family(name: str, label: str, parameter: str, shape: tuple[int, ...], kind: str) -> Case:
    source = f"gallery.families:{name}"
    return Case(name, name, source, ((parameter, shape, kind),), label)


def _llama(size: str, dtype: str, cache: Cache) -> Case:
    name = f"llama_{size}m" if dtype == "float32" else f"llama_{size}m_{dtype}"
    source, inputs = f"decoding.llama:llama_{size}m", (("ids", (1, 1), "ids"),)
    label = f"llama of {size} M, {dtype}"
    return Case(name, name, source, inputs, label, project="decoding", cache=cache, dtype=dtype)


ZOO = {
    **dict.fromkeys(("efficientnet", "convnext"), ("vision", "x", (3, 160, 160))),
    **dict.fromkeys(("swin", "regnet", "resnext", "mixer"), ("vision", "x", (3, 224, 224))),
    **dict.fromkeys(("mobilevit", "dilated"), ("vision", "x", (3, 192, 192))),
    **dict.fromkeys(("segformer", "densenet", "unet"), ("vision", "x", (3, 128, 128))),
    "detector": ("vision", "x", (3, 256, 256)),
    "video": ("vision", "x", (3, 8, 64, 64)),
    **dict.fromkeys(("wav2vec2", "keywords"), ("audio", "x", (16000,))),
    "whisper": ("audio", "x", (80, 500)),
    "tasnet": ("audio", "x", (8000,)),
    **dict.fromkeys(
        ("distilbert", "squeezebert", "gpt", "llama", "t5", "bigru", "lstm"), ("text", "ids", (64,))
    ),
    "tabular": ("tables", "x", (24,)),
    "graph": ("tables", "x", (500, 64)),
}
"""The module of each network of the zoo, and its input without the batch."""
BATCHES = (1, 8, 32)


def _zoo(name: str, batch: int) -> Case:
    module, parameter, shape = ZOO[name]
    return Case(
        f"zoo_{name}_{batch}",
        name,
        f"zoo.{module}:{name}",
        ((parameter, (batch, *shape), "float" if parameter == "x" else "words"),),
        f"{name}, batch {batch}",
        ((parameter, 0, "batch", BATCHES[-1]),),
        project="zoo",
    )


CASES = {
    case.name: case
    for case in (
        Case("mlp", "mlp", "gallery.small:mlp", (("input", (1, 64), "float"),), "mlp 64-256-10"),
        _image("resnet18", "resnet18 224"),
        _image("mobilenet_v2", "mobilenet_v2 224"),
        _text(64, "minilm", "minilm", "minilm 1x64"),
        _image("vit_tiny", "vit tiny 224", "vit", "image"),
        Case("lstm", "lstm", "gallery.small:lstm", (("x", (1, 80, 40), "float"),), "lstm 80x40"),
        *(
            _text(tokens, "minilm_tokens", f"minilm_{tokens}", f"minilm, any length: {tokens}")
            for tokens in (16, 64, 256)
        ),
        *(
            _llama(size, dtype, Cache(layers, layers, width, length=512, seen=256))
            for size, layers, width in (("15", 6, 48), ("110", 12, 64))
            for dtype in ("float32", "bfloat16")
        ),
        _family("decoder", "decoder of 50 frames", "input", (1, 64, 50), "float"),
        _family("video", "16 frames of 56x56", "input", (1, 3, 16, 56, 56), "float"),
        _family("spectrogram", "mel spectrogram of 1 s", "signal", (1, 16000), "float"),
        _family("recommender", "64 bags of 20 ids", "ids", (64, 20), "ids"),
        _family("graph", "messages, 3000 edges", "nodes", (500, 32), "float"),
        _family("candidates", "300 best of 8400 boxes", "found", (1, 8400, 84), "float"),
        *(_zoo(name, batch) for batch in BATCHES for name in ZOO),
        Case(
            *("one", "one", "overhead.modules:One", (("x", (8,), "float"),), "x + 1, 8 floats"),
            project="overhead",
        ),
        Case(
            *("two", "two", "overhead.modules:Two"),
            (("x", (4, 4), "float"), ("mask", (4, 4), "float")),
            "two inputs, a dict out",
            (("x", 0, "batch", 64), ("mask", 0, "batch", 64)),
            project="overhead",
        ),
    )
}


def chosen(names: tuple[str, ...], wanted: str) -> list[Case]:
    """Those of the cases that a user asks for, by the name of a case or the start of one."""
    cases = [CASES[name] for name in names]
    return [case for case in cases if case.name.startswith(wanted)] if wanted else cases
