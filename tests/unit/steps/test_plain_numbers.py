"""What is proposed in place of a call that makes a plain number of a size."""

from __future__ import annotations

import ast

import pytest

from aotbuild.steps.export.plain_numbers import advice

CASES = {
    "len(x)": "write x.shape[0]",
    "len(x[0])": "write x[0].shape[0]",
    "range(x.shape[1])": "compute with whole tensors",
    "int(x.shape[1])": "write x.shape[1]",
    "int(x.size(1) * 2)": "write x.size(1) * 2",
    "int(x.shape[1] // 2)": "write x.shape[1] // 2",
    "int(np.prod(x.shape))": "write math.prod(x.shape)",
    "numpy.prod(x.shape[1:])": "write math.prod(x.shape[1:])",
    "math.sqrt(q.size(-1))": "write torch.sym_sqrt(q.size(-1))",
    "int(x.shape[1] / 2)": "",  # a float is no size
    "int(x.shape[1] * 0.5)": "",
    "int(round(x.shape[1]))": "",
    "float(x.shape[1])": "",
}


@pytest.mark.parametrize("code", CASES)
def test_what_works_is_proposed(code: str) -> None:
    call = ast.parse(code, mode="eval").body
    assert isinstance(call, ast.Call)
    text = advice(call)
    assert text.endswith(CASES[code]) or CASES[code] in text
    assert bool(text) is bool(CASES[code])
