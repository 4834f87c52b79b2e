"""Why operators are off by more than 4 units in the last place where eager torch is not."""

from __future__ import annotations

EXPLAINED = {
    "tanhshrink": "the difference of x and tanh(x), which cancels: x is off by one unit",
    "pow -0.5": "of -inf it is 0, as IEEE 754 has it; eager torch gives NaN",
    "special_xlog1py": "log1p of a denormal is 0, which times infinity is NaN",
    "add alpha": "the product is infinite where eager torch adds before it rounds",
    "addcmul": "the product is infinite where eager torch adds before it rounds",
    "addcdiv": "the product is infinite where eager torch adds before it rounds",
    "cosh": "right; eager torch, by which integers are measured, overflows there",
    "sinh": "right; eager torch, by which integers are measured, overflows there",
    "special_i1": "the same series; eager torch is off by nearly as much",
    "special_i1e": "the same short series in float32; eager torch is off by nearly as much",
    "special_i0e": "the same short series in float32; eager torch is off by nearly as much",
}
