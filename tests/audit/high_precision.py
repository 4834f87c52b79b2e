"""Results of more digits than float64 has: of mpmath, and for rows of the CPU's long double."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mpmath import mp, mpf
from mpmath.libmp import NoConvergence

_BITS = 160
_FAR = 1e4
"""Beyond, mpmath takes long for some functions; they have reached their limits there."""


def high_precision(
    name: str, inputs: tuple[torch.Tensor, ...], eager: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The result of an operator of float64.

    Args:
        name: The operator's, in the audit.
        inputs: Of float64.
        eager: What eager torch gives: it stands where an operator is exact in eager torch, as sums
            and products are, and where a result is not a finite number.

    Returns:
        The result rounded to float64, and what that lacks.
    """
    function, _, dim = name.partition(", dim ")
    if function.partition(", all")[0] in _ROWS and inputs[0].dim() == 2:
        axis = int(dim) if dim else None
        return _split(_ROWS[function.partition(", all")[0]](_long(inputs[0]), axis))
    if name not in _FUNCTIONS:
        return eager, torch.zeros_like(eager)
    values = [x.flatten().tolist() for x in inputs]
    with mp.workprec(_BITS):
        pairs = [
            _pair(_FUNCTIONS[name], given, plain)
            for *given, plain in zip(*values, eager.flatten().tolist(), strict=True)
        ]
    high, low = torch.tensor(pairs, dtype=torch.float64).unbind(1)
    return high.reshape(eager.shape), low.reshape(eager.shape)


def _pair(function: Callable[..., Any], given: list[float], eager: float) -> tuple[float, float]:
    if not all(map(math.isfinite, given)) or (function in _SLOW and abs(given[0]) > _FAR):
        return eager, 0.0
    try:
        exact = function(*map(mpf, given))
        high = float(exact)
        low = float(exact - high)
    except (ValueError, ZeroDivisionError, OverflowError, TypeError, NoConvergence):
        return eager, 0.0  # a pole, or a complex number
    return (high, low) if math.isfinite(high) else (eager, 0.0)


def _split(x: Any) -> tuple[torch.Tensor, torch.Tensor]:
    high = np.asarray(x, np.float64)
    low = np.asarray(x - high, np.float64)
    return torch.from_numpy(high), torch.from_numpy(low)


def _long(x: torch.Tensor) -> Any:
    return x.numpy().astype(np.longdouble)


def _log_sum(x: Any, axis: int | None, *, keepdims: bool = False) -> Any:
    top = x.max(axis, keepdims=True)
    total: Any = top + np.log(np.exp(x - top).sum(axis, keepdims=True))
    return total if keepdims else total.squeeze(axis)


_ROWS: dict[str, Callable[[Any, Any], Any]] = {
    "sum": lambda x, axis: x.sum(axis),
    "nansum": lambda x, axis: x.sum(axis),
    "mean": lambda x, axis: x.mean(axis),
    "cumsum": lambda x, axis: x.cumsum(axis),
    "var": lambda x, axis: x.var(axis),
    "norm 1": lambda x, axis: np.abs(x).sum(axis),
    "norm 2": lambda x, axis: np.sqrt((x * x).sum(axis)),
    "logsumexp": _log_sum,
    "softmax": lambda x, axis: np.exp(x - _log_sum(x, axis, keepdims=True)),
    "log_softmax": lambda x, axis: x - _log_sum(x, axis, keepdims=True),
}


def _ndtr(x: Any) -> Any:
    return mp.erfc(-x / mp.sqrt(2)) / 2


def _logistic(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x))


def _elu(x: Any, alpha: float = 1.0, scale: float = 1.0) -> Any:
    return mpf(scale) * (x if x > 0 else mpf(alpha) * mp.expm1(x))


def _gelu_tanh(x: Any) -> Any:
    return x * _logistic(2 * mp.sqrt(2 / mp.pi) * (x + mpf(0.044715) * x**3))


def _bessel(order: int) -> Callable[[Any], Any]:
    return lambda x: mp.besselj(order, x)


def _scaled_bessel(order: int) -> Callable[[Any], Any]:
    return lambda x: mp.besseli(order, x) * mp.exp(-abs(x))


_SPECIAL: dict[str, Callable[..., Any]] = {
    "digamma": mp.digamma,
    "erf": mp.erf,
    "erfc": mp.erfc,
    "erfinv": mp.erfinv,
    "lgamma": lambda x: mp.log(abs(mp.gamma(x))) if abs(x) < 100 else mp.loggamma(x).real,
    "i0": lambda x: mp.besseli(0, x),
    "special_i0e": _scaled_bessel(0),
    "special_i1": lambda x: mp.besseli(1, x),
    "special_i1e": _scaled_bessel(1),
    "special_ndtri": lambda p: mp.sqrt(2) * mp.erfinv(2 * p - 1),
    "special_ndtr": _ndtr,
    "special_log_ndtr": lambda x: mp.log1p(-_ndtr(-x)) if x > 0 else mp.log(_ndtr(x)),
    "special_erfcx": lambda x: mp.exp(x * x) * mp.erfc(x),
    "special_bessel_j0": _bessel(0),
    "special_bessel_j1": _bessel(1),
    "gelu": lambda x: x * _ndtr(x),
    "gelu (tanh)": _gelu_tanh,
    "mish": lambda x: x * mp.tanh(mp.log1p(mp.exp(x))),
    "softplus": lambda x: x if x > 20 else mp.log1p(mp.exp(x)),
    "logsigmoid": lambda x: min(x, mpf(0)) - mp.log1p(mp.exp(-abs(x))),
    "sigmoid": _logistic,
    "silu": lambda x: x * _logistic(x),
}

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **_SPECIAL,
    **{
        name: getattr(mp, name)
        for name in ("acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "exp")
    },
    **{name: getattr(mp, name) for name in ("expm1", "log1p", "sin", "sinh", "tan", "tanh")},
    **{name: getattr(mp, name) for name in ("atan2", "hypot", "sqrt", "log10")},
    "log": mp.log,
    "log2": lambda x: mp.log(x, 2),
    "logit": lambda x: mp.log(x / (1 - x)),
    "exp2": lambda x: mpf(2) ** x,
    "2 ** x": lambda x: mpf(2) ** x,
    "rsqrt": lambda x: 1 / mp.sqrt(x),
    "deg2rad": lambda x: x * mp.pi / 180,
    "rad2deg": lambda x: x * 180 / mp.pi,
    "sinc": lambda x: mp.sinc(mp.pi * x),
    "special_entr": lambda x: -x * mp.log(x),
    "elu": _elu,
    "selu": lambda x: _elu(x, 1.6732632423543772848170429916717, 1.0507009873554804934193349852946),
    "celu": _elu,
    "softsign": lambda x: x / (1 + abs(x)),
    "tanhshrink": lambda x: x - mp.tanh(x),
    "pow 2": lambda x: x**2,
    "pow 3": lambda x: x**3,
    "pow -1": lambda x: 1 / x,
    "pow 0.5": mp.sqrt,
    "pow -0.5": lambda x: 1 / mp.sqrt(x),
    "pow 2.5": lambda x: x ** mpf(2.5),
    "pow": lambda a, b: a**b,
    "logaddexp": lambda a, b: max(a, b) + mp.log1p(mp.exp(-abs(a - b))),
    "logaddexp2": lambda a, b: max(a, b) + mp.log1p(mpf(2) ** -abs(a - b)) / mp.ln2,
    "xlogy": lambda a, b: a * mp.log(b),
    "special_xlog1py": lambda a, b: a * mp.log1p(b),
    "lerp": lambda a, b: a + mpf(0.3) * (b - a),
    "addcmul": lambda a, b: a + a * b,
    "addcdiv": lambda a, b: a + a / b,
}
_SLOW = frozenset(_SPECIAL.values())
