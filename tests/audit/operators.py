"""The operators of the audit, and what their exact results are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

Function = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class Operator:
    """An operator of ATen."""

    name: str
    run: Function
    kind: str
    """What it takes: ``unary``, ``binary``, ``rows``, a matrix that is reduced, or ``linear``, what
    a linear layer gives, to which the passes apply it in the layer's own code."""
    exact: Function | None = None
    """What it should give, of float64, if not itself of float64."""
    scale: Function | None = None
    """What errors are measured by, if not by the result."""


def _same(kind: str, *functions: Any) -> list[Operator]:
    return [Operator(each.__name__, each, kind) for each in functions]


def _named(kind: str, functions: dict[str, Any]) -> list[Operator]:
    return [Operator(name, each, kind) for name, each in functions.items()]


special = torch.special
nn: Any = torch.nn.functional


def _gelu(x: torch.Tensor) -> torch.Tensor:
    return x * 0.5 * torch.erfc(-x * 0.5**0.5)


def _gelu_tanh(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(2 * (2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))


def _tanhshrink(x: torch.Tensor) -> torch.Tensor:
    series = x**3 / 3 - 2 * x**5 / 15 + 17 * x**7 / 315
    return torch.where(x.abs() < 1e-2, series, x - x.tanh())


def _softplus(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 20, x, torch.log1p(torch.exp(x)))


def _mish(x: torch.Tensor) -> torch.Tensor:
    return x * torch.tanh(torch.log1p(torch.exp(x)))


def _log_sigmoid(x: torch.Tensor) -> torch.Tensor:
    return torch.minimum(x, torch.zeros_like(x)) - torch.log1p(torch.exp(-x.abs()))


UNARY = [
    *_same(
        "unary",
        *(torch.abs, torch.acos, torch.acosh, torch.asin, torch.asinh, torch.atan, torch.atanh),
        *(torch.ceil, torch.cos, torch.cosh, torch.deg2rad, torch.digamma, torch.erf, torch.erfc),
        *(torch.erfinv, torch.exp, torch.exp2, torch.expm1, torch.floor, torch.frac, torch.lgamma),
        *(torch.log, torch.log10, torch.log1p, torch.log2, torch.logit, torch.neg, torch.rad2deg),
        *(torch.reciprocal, torch.round, torch.rsqrt, torch.sigmoid, torch.sign, torch.sgn),
        *(torch.sin, torch.sinc, torch.sinh, torch.sqrt, torch.square, torch.tan, torch.tanh),
        *(torch.trunc, torch.signbit, torch.isnan, torch.isinf, torch.isfinite, torch.logical_not),
        *(torch.bitwise_not, torch.nan_to_num, torch.i0, torch.positive),
        *(special.i0e, special.i1, special.i1e, special.ndtri, special.ndtr, special.log_ndtr),
        *(special.erfcx, special.entr, special.bessel_j0, special.bessel_j1),
        *(
            nn.relu,
            nn.relu6,
            nn.hardtanh,
            nn.hardsigmoid,
            nn.hardswish,
            nn.hardshrink,
            nn.softshrink,
        ),
        *(
            nn.leaky_relu,
            nn.elu,
            nn.selu,
            nn.celu,
            nn.silu,
            nn.softsign,
        ),
    ),
    Operator("gelu", nn.gelu, "unary", _gelu),
    Operator("gelu (tanh)", lambda x: nn.gelu(x, approximate="tanh"), "unary", _gelu_tanh),
    Operator("tanhshrink", nn.tanhshrink, "unary", _tanhshrink),
    Operator("softplus", nn.softplus, "unary", _softplus),
    Operator("mish", nn.mish, "unary", _mish),
    Operator("logsigmoid", nn.logsigmoid, "unary", _log_sigmoid),
    *_named(
        "unary",
        {
            "pow 2": lambda x: x**2,
            "pow 3": lambda x: x**3,
            "pow -1": lambda x: torch.pow(x, -1),
            "pow 0.5": lambda x: torch.pow(x, 0.5),
            "pow -0.5": lambda x: torch.pow(x, -0.5),
            "pow 2.5": lambda x: torch.pow(x, 2.5),
            "2 ** x": lambda x: torch.pow(2.0, x),
            "add 1": lambda x: x + 1,
            "rsub 1": lambda x: 1 - x,
            "mul 3": lambda x: x * 3,
            "div 3": lambda x: x / 3,
            "div 3, floor": lambda x: torch.div(x, 3, rounding_mode="floor"),
            "div 3, trunc": lambda x: torch.div(x, 3, rounding_mode="trunc"),
            "remainder 7": lambda x: torch.remainder(x, 7),
            "remainder -7": lambda x: torch.remainder(x, -7),
            "fmod 7": lambda x: torch.fmod(x, 7),
            "clamp": lambda x: torch.clamp(x, 3, 90),
            "clamp min": lambda x: torch.clamp(x, min=3),
            "clamp max": lambda x: torch.clamp(x, max=3),
            "threshold": lambda x: nn.threshold(x, 5, 2),
            "where": lambda x: torch.where(x > 3, x, 7),
            "shift left 1": lambda x: x << 1,
            "shift right 1": lambda x: x >> 1,
            "bitwise and": lambda x: x & 6,
            "bitwise xor": lambda x: x ^ 5,
            "round decimals": lambda x: torch.round(x, decimals=2),
            "to float32": lambda x: x.to(torch.float32),
            "to int32": lambda x: x.clamp(-100, 100).nan_to_num(0).to(torch.int32),
            "to int64": lambda x: x.clamp(-100, 100).nan_to_num(0).to(torch.int64),
            "to int8": lambda x: x.clamp(-100, 100).nan_to_num(0).to(torch.int8),
            "to uint8": lambda x: x.clamp(0, 100).nan_to_num(0).to(torch.uint8),
            "to bool": lambda x: x.to(torch.bool),
            "to bfloat16": lambda x: x.to(torch.bfloat16),
            "to float16": lambda x: x.to(torch.float16),
            "frexp": lambda x: torch.frexp(x)[0],
        },
    ),
]


def _divisor(b: torch.Tensor) -> torch.Tensor:
    """Without the zeros of integers, by which eager torch does not divide."""
    if b.is_floating_point() or b.dtype is torch.bool:
        return b
    return torch.where(b == 0, 7, b)


BINARY = [
    *_same(
        "binary",
        *(torch.add, torch.sub, torch.mul, torch.div, torch.maximum, torch.minimum, torch.fmax),
        *(torch.fmin, torch.atan2, torch.hypot),
        *(torch.copysign, torch.nextafter, torch.pow, torch.logaddexp, torch.logaddexp2),
        *(torch.xlogy, special.xlog1py, torch.heaviside, torch.eq, torch.ne, torch.lt, torch.le),
        *(torch.gt, torch.ge, torch.logical_and, torch.logical_or, torch.logical_xor),
        *(torch.bitwise_and, torch.bitwise_or, torch.bitwise_xor, torch.gcd),
    ),
    *_named(
        "binary",
        {
            # Of numbers whose size is one of the type; of others it is left open.
            "lcm": lambda a, b: torch.lcm(a % 100, b % 100),
            "fmod": lambda a, b: torch.fmod(a, _divisor(b)),
            "remainder": lambda a, b: torch.remainder(a, _divisor(b)),
            "floor_divide": lambda a, b: torch.floor_divide(a, _divisor(b)),
            "div floor": lambda a, b: torch.div(a, _divisor(b), rounding_mode="floor"),
            "div trunc": lambda a, b: torch.div(a, _divisor(b), rounding_mode="trunc"),
            "add alpha": lambda a, b: torch.add(a, b, alpha=2),
            "where (pair)": lambda a, b: torch.where(a > b, a, b),
        },
    ),
    Operator(
        "lerp",
        lambda a, b: torch.lerp(a, b, 0.3),
        "binary",
        scale=lambda a, b: torch.maximum(a.abs(), b.abs()),
    ),
    Operator(
        "addcmul",
        lambda a, b: torch.addcmul(a, a, b),
        "binary",
        scale=lambda a, b: a.abs() + (a * b).abs(),
    ),
    Operator(
        "addcdiv",
        lambda a, b: torch.addcdiv(a, a, b),
        "binary",
        scale=lambda a, b: a.abs() + (a / b).abs(),
    ),
]


def _magnitude(x: torch.Tensor, dim: int) -> torch.Tensor:
    return x.abs().sum(dim)


def _reductions(dim: int) -> list[Operator]:
    suffix = f"dim {dim}"
    plain: dict[str, Any] = {
        "amax": lambda x: x.amax(dim),
        "amin": lambda x: x.amin(dim),
        "amax keepdim": lambda x: x.amax(dim, keepdim=True),
        "argmax": lambda x: x.argmax(dim),
        "argmin": lambda x: x.argmin(dim),
        "max values": lambda x: x.max(dim).values,
        "max indices": lambda x: x.max(dim).indices,
        "min values": lambda x: x.min(dim).values,
        "min indices": lambda x: x.min(dim).indices,
        "aminmax min": lambda x: torch.aminmax(x, dim=dim).min,
        "aminmax max": lambda x: torch.aminmax(x, dim=dim).max,
        "any": lambda x: x.any(dim),
        "all": lambda x: x.all(dim),
        "count_nonzero": lambda x: torch.count_nonzero(x, dim),
        "prod of ones": lambda x: (x != 0).to(x.dtype).prod(dim),
        "cummax": lambda x: torch.cummax(x, dim).values,
        "cummin": lambda x: torch.cummin(x, dim).values,
        "sort": lambda x: torch.sort(x, dim).values,
        "norm inf": lambda x: torch.linalg.vector_norm(x, float("inf"), dim),
        "norm -inf": lambda x: torch.linalg.vector_norm(x, -float("inf"), dim),
        "norm 2": lambda x: torch.linalg.vector_norm(x, 2, dim),
        "norm 1": lambda x: torch.linalg.vector_norm(x, 1, dim),
        "logsumexp": lambda x: torch.logsumexp(x, dim),
        "softmax": lambda x: torch.softmax(x, dim),
    }
    sums: dict[str, tuple[Any, Any]] = {
        "sum": (lambda x: x.sum(dim), lambda x: _magnitude(x, dim)),
        "mean": (lambda x: x.mean(dim), lambda x: x.abs().mean(dim)),
        "nansum": (lambda x: x.nansum(dim), lambda x: _magnitude(x, dim)),
        "cumsum": (lambda x: x.cumsum(dim), lambda x: x.abs().cumsum(dim)),
        "var": (lambda x: x.var(dim, correction=0), lambda x: x.square().mean(dim)),
        "log_softmax": (lambda x: torch.log_softmax(x, dim), lambda x: x.abs() + 5),
    }
    return [
        *(Operator(f"{name}, {suffix}", run, "rows") for name, run in plain.items()),
        *(Operator(f"{n}, {suffix}", run, "rows", None, s) for n, (run, s) in sums.items()),
    ]


def _ordered(x: torch.Tensor) -> torch.Tensor:
    return x[None, None].contiguous()


ROWS = [
    *_reductions(1),
    *_reductions(0),
    *_named(
        "rows",
        {
            "max, all": lambda x: x.max(),
            "min, all": lambda x: x.min(),
            "argmax, all": lambda x: x.argmax(),
            "argmin, all": lambda x: x.argmin(),
            "any, all": lambda x: x.any(),
            "all, all": lambda x: x.all(),
            "max pooling": lambda x: nn.max_pool2d(_ordered(x), (3, 1), 1),
            "adaptive max pooling": lambda x: nn.adaptive_max_pool2d(_ordered(x), (1, 1)),
        },
    ),
    Operator("sum, all", lambda x: x.sum(), "rows", None, lambda x: x.abs().sum()),
    Operator("mean, all", lambda x: x.mean(), "rows", None, lambda x: x.abs().mean()),
]


def _after_linear(operator: Operator) -> Operator:
    return Operator(
        f"{operator.name} after a linear layer",
        lambda x: operator.run(nn.linear(x, _UNCHANGED)),
        "linear",
        operator.exact or operator.run,
    )


LINEAR = 64
"""Columns of the linear layers."""
_UNCHANGED = torch.eye(LINEAR)
_FUSED = {"gelu", "gelu (tanh)", "sigmoid", "silu"}

OPERATORS = [
    *UNARY,
    *BINARY,
    *ROWS,
    *(_after_linear(each) for each in UNARY if each.name in _FUSED),
]
