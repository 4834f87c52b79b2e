"""Calls of every kind give the eager result, or an error that names the argument; none crashes."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from forks import forked
from wheels import KINDS, Installed, of_kind

EAGER = ("eager", "")


def type_error(said: str) -> tuple[str, str]:
    return "TypeError", said


def value_error(said: str) -> tuple[str, str]:
    return "ValueError", said


SAME = """
def same(actual, expected):
    if isinstance(expected, torch.Tensor):
        assert type(actual) is torch.Tensor or type(actual) is type(expected), type(actual)
        torch.testing.assert_close(
            actual.detach(), expected.detach(), rtol=1e-4, atol=1e-5, equal_nan=True
        )
        return
    assert type(actual) is type(expected), (actual, expected)
    if isinstance(expected, dict):
        assert list(actual) == list(expected)
        actual, expected = list(actual.values()), list(expected.values())
    if isinstance(expected, (tuple, list)):
        assert len(actual) == len(expected)
        for pair in zip(actual, expected):
            same(*pair)
    else:
        assert actual == expected, (actual, expected)
"""
"""A function that compares results: values to tolerance, types, dtypes and shapes exactly."""

# The cases run in a fork of a process that holds both models. A crash is told as that of the case
# it happened in, and another fork goes on with the next. An expression is evaluated with the
# compiled model as ``net``, and anew with the eager one; then ``inside`` leaves the context away,
# and ``plain`` makes a tensor of a number.
HARNESS = """
import contextlib, importlib, json, os, collections, signal
import numpy as np, torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from calls import modules
import calls.models
{before}
torch.set_num_threads(1)  # threads do not outlive a fork
compiled, module = getattr(calls.models, {model!r}), modules.{source}().eval()
signal_names = {{s.value: s.name for s in signal.Signals}}

class Subclass(torch.Tensor):
    pass

class Named(dict):
    pass

def rand(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))

def channels_last(tensor):
    return tensor.to(memory_format=torch.channels_last)

@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(before)

@contextlib.contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)

def unaligned(tensor):
    buffer = bytearray(1) + tensor.numpy().tobytes()
    flat = torch.frombuffer(buffer, dtype=tensor.dtype, offset=1, count=tensor.numel())
    return flat.view(tensor.shape)

def emptied(tensor):
    tensor.untyped_storage().resize_(0)
    return tensor

def changed(table, **changes):
    return {{**table, **changes}}

def names(net):
    eager = net is not compiled
    def inside(context, *args, **kwargs):
        with contextlib.nullcontext() if eager else context:
            return net(*args, **kwargs)
    def plain(value, dtype):
        return torch.tensor(value, dtype=dtype) if eager else value
    found = dict(globals(), net=net, inside=inside, plain=plain)
    exec({setup!r}, found)
    return found

{same}

def outcome(call, eager):
    try:
        found = names(compiled)
        actual = eval(call, found)
    except BaseException as error:
        return [type(error).__name__, str(error)]
    if not eager:
        return ["no error", ""]
    try:
        with torch.no_grad():
            same(actual, eval(call, names(module)))
    except BaseException as error:
        return ["other result", f"{{type(error).__name__}}: {{error}}"]
    return ["eager", ""]

cases, outcomes = {cases!r}, []
while len(outcomes) < len(cases):
    read, write = os.pipe()
    child = os.fork()
    if not child:
        with os.fdopen(write, "w") as pipe:
            for call, eager in cases[len(outcomes) :]:
                print(json.dumps(outcome(call, eager)), file=pipe, flush=True)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        outcomes += [json.loads(line) for line in pipe]
    ended = os.waitpid(child, 0)[1]
    if len(outcomes) < len(cases):
        outcomes.append(["crash", signal_names.get(ended & 127, str(ended))])
print(json.dumps(outcomes))
"""

SOURCES = {"fixed": "Dense", "dense": "Dense"}
"""The classes that are not called as their models."""

IMPORTS = ("numpy", "torch._subclasses.fake_tensor", "torch.utils.flop_counter")
"""What the cases need, imported once for all."""

SETUP = {
    "fixed": "x = rand(8, 6)",
    "dense": "x = rand(4, 6)",
    "paired": "a, b = rand(5, 4), rand(3, 5)",
    "conv": "image = channels_last(rand(4, 3, 6, 5))",
    "lookup": "ids = torch.arange(20).view(4, 5) % 10",
    "nested": "state = {'a': rand(3, 4), 'b': {'c': rand(3, 4).double()}}\n"
    "pair = [rand(3), torch.tensor([True, False, True])]",
    "constants": "x = rand(3, 4)",
    "scalars": "x, t = rand(3), torch.tensor(1.5)\n"
    "n, on = torch.tensor(7, dtype=torch.int8), torch.tensor(True)",
    "waves": "z = torch.complex(rand(4, 3), rand(4, 3) + 1)",
    "aliases": "x = rand(3, 4)",
    "counted": "x = rand(3, 4)",
    "kinds": "f, h, i = rand(9).double(), rand(9).bfloat16(), torch.arange(-4, 5).int()\n"
    "u, m = torch.arange(0, 252, 28, dtype=torch.uint8), rand(9) > 0",
}
"""The right arguments of each model."""

CASES: dict[str, list[tuple[str, tuple[str, str]]]] = {
    "fixed": [
        ("net(x)", EAGER),
        ("net(x=x)", EAGER),
        ("net(x[:7])", value_error("'x' must have shape (8, 6), got (7, 6)")),
        ("net(rand(9, 6))", value_error("dimension 0 must be 8, not 9")),
        ("net(x[:0])", value_error("'x' must have shape (8, 6), got (0, 6)")),
        ("net(x[0])", value_error("'x' must have 2 dimensions")),
        ("net(x[None])", value_error("'x' must have 2 dimensions")),
        ("net(torch.tensor(1.0))", value_error("'x' must have 2 dimensions")),
        ("net(x.T)", value_error("'x' must have shape (8, 6), got (6, 8)")),
        ("net(rand(6, 8).T)", EAGER),
        ("net(torch.vmap(lambda row: row)(x))", EAGER),
        ("torch.vmap(net)(rand(3, 8, 6))", type_error("'x'")),
        ("torch.vmap(net, in_dims=1)(rand(8, 3, 6))", type_error("'x'")),
        ("torch.func.grad(lambda x: net(x).sum())(x)", type_error("'x'")),
        ("torch.func.jvp(net, (x,), (x,))", type_error("'x'")),
        ("torch.func.functionalize(net)(x)", type_error("'x'")),
        ("torch.vmap(lambda y: net(x) + y)(rand(2, 8, 5))", EAGER),
    ],
    "dense": [
        ("net(x)", EAGER),
        ("net(x[:1])", EAGER),
        ("net(rand(16, 6))", EAGER),
        (
            "net(rand(17, 6))",
            value_error("'x' has shape (17, 6), expected (batch, 6): batch is 17"),
        ),
        ("net(x[:0])", value_error("batch is 0, the compiled model takes 1 to 16")),
        ("net(x[:, :0])", value_error("'x'")),
        ("net(rand(0))", value_error("'x' must have 2 dimensions")),
        ("net(rand(6, 4).T)", EAGER),
        ("net(rand(6).expand(4, 6))", EAGER),
        ("net(rand(4, 1).expand(4, 6))", EAGER),
        ("net(torch.tensor(2.0).expand(4, 6))", EAGER),
        ("net(rand(4, 12)[:, 3:9])", EAGER),
        ("net(rand(4, 12)[:, ::2])", EAGER),
        ("net(rand(8, 6)[::2])", EAGER),
        ("net(rand(8, 6)[3:7])", EAGER),
        ("net(rand(8, 6)[3:4].T.T)", EAGER),
        ("net(rand(25)[1:].view(4, 6))", EAGER),
        ("net(unaligned(x))", EAGER),
        ("net(torch.as_strided(rand(20), (4, 6), (2, 1)))", EAGER),
        ("net(torch.as_strided(rand(20), (4, 6), (0, 1), 3))", EAGER),
        ("net(torch.as_strided(rand(20), (1, 6), (0, 1)))", EAGER),
        ("net(torch.as_strided(rand(20), (1, 6), (1000, 1)))", EAGER),
        ("net(torch.view_as_complex(rand(4, 6, 2)).conj().imag)", EAGER),
        ("net(torch.view_as_complex(rand(4, 6, 2)).imag)", EAGER),
        ("net(torch._neg_view(x))", EAGER),
        ("net(x.conj())", EAGER),
        ("net(nn.Parameter(x))", EAGER),
        ("net(nn.Buffer(x))", EAGER),
        ("net(x.requires_grad_())", EAGER),
        ("net(x.requires_grad_() * 2)", EAGER),
        ("net(torch.inference_mode()(rand)(4, 6))", EAGER),
        ("net(x.share_memory_())", EAGER),
        ("net(x * float('nan'))", EAGER),
        ("net(x / 0)", EAGER),
        ("net(x.masked_fill(x > 0, float('inf')))", EAGER),
        ("net(x * 1e38)", EAGER),
        ("net(x * 1e-42)", EAGER),
        ("inside(torch.inference_mode(), x)", EAGER),
        ("inside(torch.no_grad(), x)", EAGER),
        ("inside(torch.enable_grad(), x.requires_grad_())", EAGER),
        ("inside(torch.autocast('cpu'), x)", EAGER),
        ("inside(torch.autocast('cpu', torch.float16), rand(6, 4).T)", EAGER),
        ("inside(torch.device('meta'), x)", EAGER),
        ("inside(torch.device('meta'), rand(6, 4).T)", EAGER),
        ("inside(FlopCounterMode(display=False), x)", EAGER),
        ("inside(FakeTensorMode(), x)", type_error("'x' is passed under FakeTensorMode")),
        (
            "inside(FakeTensorMode(), rand(6, 4).T)",
            type_error("'x' is passed under FakeTensorMode"),
        ),
        (
            "inside(FakeTensorMode(allow_non_fake_inputs=True), x)",
            type_error("'x' is passed under FakeTensorMode"),
        ),
        ("inside(default_dtype(torch.float64), x)", EAGER),
        ("inside(default_dtype(torch.float16), rand(6, 4).T)", EAGER),
        ("inside(deterministic(), x)", EAGER),
        ("net(x.double())", type_error("'x' must have dtype float32, got float64")),
        ("net(x.half())", type_error("'x' must have dtype float32, got float16")),
        ("net(x.bfloat16())", type_error("'x' must have dtype float32, got bfloat16")),
        ("net(x.int())", type_error("'x' must have dtype float32, got int32")),
        ("net(x > 0)", type_error("'x' must have dtype float32, got bool")),
        ("net(x + 0j)", type_error("'x' must have dtype float32, got complex64")),
        ("net(torch.quantize_per_tensor(x, 0.1, 0, torch.qint8))", type_error("'x'")),
        ("net(x.numpy()[0])", value_error("'x' must have 2 dimensions")),
        ("net(x.tolist())", type_error("'x' must be a torch.Tensor, got list")),
        ("net((x,))", type_error("'x' must be a torch.Tensor, got tuple")),
        ("net(1.0)", type_error("'x' must be a torch.Tensor, got float")),
        ("net(None)", type_error("'x' must be a torch.Tensor, got NoneType")),
        ("net(torch.Tensor)", type_error("'x' must be a torch.Tensor, got torch._C._TensorMeta")),
        ("net(x.untyped_storage())", type_error("'x' must be a torch.Tensor")),
        ("net(x.to('meta'))", value_error("'x' is on meta")),
        ("net(FakeTensorMode().from_tensor(x))", type_error("'x' must be a torch.Tensor")),
        ("inside(FakeTensorMode(), FakeTensorMode().from_tensor(x))", type_error("'x'")),
        ("net(torch._to_functional_tensor(x))", type_error("'x'")),
        ("net(x.to_sparse())", type_error("'x' must be a dense tensor")),
        ("net(x.to_sparse_csr())", type_error("'x' must be a dense tensor")),
        ("net(x.to_sparse_csc())", type_error("'x' must be a dense tensor")),
        ("net(x.to_mkldnn())", type_error("'x' must be a dense tensor")),
        ("net(torch.nested.nested_tensor([rand(2, 6), rand(3, 6)]))", type_error("'x'")),
        ("net(torch.nested.nested_tensor([rand(6)] * 4))", type_error("'x'")),
        (
            "net(torch.nested.nested_tensor([rand(2, 6), rand(3, 6)], layout=torch.jagged))",
            type_error("'x'"),
        ),
        ("net(torch._efficientzerotensor(4, 6))", EAGER),
        ("net(torch._efficientzerotensor(6, 4).T)", EAGER),
        ("net(emptied(x))", value_error("'x'")),
        ("net(emptied(rand(6, 4).T))", value_error("'x'")),
        ("net(emptied(rand(6).expand(4, 6)))", value_error("'x'")),
        ("net(x.as_subclass(Subclass))", type_error("'x' must be a torch.Tensor, got")),
        ("net(torch.nn.parameter.UninitializedParameter())", type_error("'x'")),
        ("torch.vmap(net)(rand(3, 4, 6))", type_error("'x'")),
        ("torch.vmap(net)(rand(3, 6, 4).mT)", type_error("'x'")),
        ("torch.vmap(torch.vmap(net))(rand(2, 3, 4, 6))", type_error("'x'")),
        ("torch.func.grad(lambda x: net(x).sum())(x)", type_error("'x'")),
        ("torch.func.jacrev(net)(x)", type_error("'x'")),
        ("torch.func.hessian(lambda x: net(x).sum())(x)", type_error("'x'")),
        ("net()", type_error("is missing required argument 'x'")),
        ("net(x, x)", type_error("1 too many")),
        ("net(x, x=x)", type_error("multiple values for argument 'x'")),
        ("net(y=x)", type_error("no argument 'y'")),
        ("net(x, y=x)", type_error("no argument 'y'")),
        ("net(**{'x': x, 'x ': x})", type_error("no argument 'x '")),
        ("net(self=x)", type_error("multiple values for argument 'self'")),
    ],
    "paired": [
        ("net(a, b)", EAGER),
        ("net(b=b, a=a)", EAGER),
        ("net(a[:0], b[:, :0])", EAGER),
        ("net(a[:1], b[:, :1])", EAGER),
        ("net(rand(10, 4), rand(3, 10))", EAGER),
        ("net(rand(11, 4), rand(3, 11))", value_error("'a' has shape (11, 4)")),
        ("net(a, b[:, :4])", value_error("'b' has shape (3, 4), expected (3, rows): rows is 4")),
        ("net(a[:4], b)", value_error("rows is 5, but 4 in 'a'")),
        ("net(a[:0], b)", value_error("rows is 5, but 0 in 'a'")),
        ("net(a, rand(5, 3).T)", EAGER),
        ("net(rand(4, 5).T, b)", EAGER),
        ("net(a, a.T[:3])", EAGER),
        ("net(b.T, b)", value_error("'a' must have shape (rows, 4)")),
        ("net(b, a)", value_error("'a' must have shape (rows, 4), got (3, 5)")),
        ("net(a, b.double())", type_error("'b' must have dtype float32, got float64")),
        ("net(a, b.to('meta'))", value_error("'b' is on meta")),
        ("net(a.to('meta'), b)", value_error("'a' is on meta")),
        ("net(a)", type_error("is missing required argument 'b'")),
        ("net(b=b)", type_error("is missing required argument 'a'")),
        ("net(a, None)", type_error("'b' must be a torch.Tensor, got NoneType")),
        ("torch.vmap(net, in_dims=(0, None))(rand(2, 5, 4), b)", type_error("'a'")),
        ("torch.vmap(net, in_dims=(None, 0))(a, rand(2, 3, 5))", type_error("'b'")),
        ("torch.func.grad(lambda b: net(a, b)[0].sum())(b)", type_error("'b'")),
        ("net(a, emptied(b))", value_error("'b'")),
        ("net(emptied(a[:0]), b[:, :0])", EAGER),
    ],
    "conv": [
        ("net(image)", EAGER),
        ("net(image.contiguous())", EAGER),
        ("net(rand(2, 3, 6, 5))", EAGER),
        ("net(channels_last(rand(8, 3, 6, 5)))", EAGER),
        ("net(rand(4, 3, 6, 10)[..., ::2])", EAGER),
        ("net(channels_last(rand(8, 3, 6, 5))[::2])", EAGER),
        ("net(channels_last(rand(4, 3, 6, 10))[..., 5:])", EAGER),
        ("net(rand(3, 4, 6, 5).transpose(0, 1))", EAGER),
        ("net(rand(4, 3, 5, 6).mT)", EAGER),
        ("net(channels_last(rand(4, 3, 5, 6)).mT)", EAGER),
        ("net(rand(1, 3, 6, 5).expand(4, 3, 6, 5))", EAGER),
        ("net(rand(4, 1, 6, 5).expand(4, 3, 6, 5))", EAGER),
        ("net(torch._neg_view(image))", EAGER),
        ("net(channels_last(nn.Parameter(image)))", EAGER),
        ("inside(torch.autocast('cpu'), image)", EAGER),
        ("inside(torch.autocast('cpu'), image.contiguous())", EAGER),
        ("inside(torch.inference_mode(), image)", EAGER),
        ("inside(FakeTensorMode(), image)", type_error("'image' is passed under FakeTensorMode")),
        ("inside(torch.device('meta'), image.contiguous())", EAGER),
        ("inside(default_dtype(torch.float64), image)", EAGER),
        ("net(image[:1])", EAGER),
        ("net(image[:0])", value_error("batch is 0, the compiled model takes 1 to 8")),
        ("net(rand(9, 3, 6, 5))", value_error("batch is 9, the compiled model takes 1 to 8")),
        ("net(image[0])", value_error("'image' must have 4 dimensions")),
        ("net(image.permute(0, 2, 3, 1))", value_error("'image' must have shape")),
        ("net(channels_last(image.half()))", type_error("'image' must have dtype float32")),
        ("torch.vmap(net)(rand(2, 4, 3, 6, 5))", type_error("'image'")),
        ("net(torch.nested.nested_tensor([rand(3, 6, 5)] * 4))", type_error("'image'")),
        ("net(image.to_mkldnn())", type_error("'image' must be a dense tensor")),
        ("net(emptied(image))", value_error("'image'")),
    ],
    "lookup": [
        ("net(ids)", EAGER),
        ("net(ids[:1])", EAGER),
        ("net(ids.T.contiguous().T)", EAGER),
        ("net(ids[:, :1].expand(4, 5))", EAGER),
        ("net(torch.arange(21)[1:].view(4, 5) % 10)", EAGER),
        ("net(torch.arange(10)[1:6][None])", EAGER),
        ("net(ids.int())", type_error("'ids' must have dtype int64, got int32")),
        ("net(ids.float())", type_error("'ids' must have dtype int64, got float32")),
        ("net(ids > 3)", type_error("'ids' must have dtype int64, got bool")),
        ("net(ids.to(torch.uint64))", type_error("'ids' must have dtype int64, got uint64")),
        ("net(ids.int().numpy())", type_error("'ids' must have dtype int64, got int32")),
        ("net(7)", type_error("'ids' must be a torch.Tensor, got int")),
        ("net(ids + 1)", ("IndexError", "argument 'ids'")),
        ("net(ids - 1)", ("IndexError", "argument 'ids'")),
        ("net(torch.full((4, 5), 2**63 - 1))", ("IndexError", "argument 'ids'")),
        ("net(torch.full((4, 5), -2**63))", ("IndexError", "argument 'ids'")),
    ],
    "nested": [
        ("net(state, pair)", EAGER),
        ("net(pair=pair, state=state)", EAGER),
        ("net(state, tuple(pair))", EAGER),
        ("net(dict(reversed(state.items())), pair)", EAGER),
        ("net(collections.OrderedDict(state), pair)", EAGER),
        ("net(Named(state), pair)", EAGER),
        ("net(collections.UserDict(state), pair)", EAGER),
        ("net(changed(state, b=Named(state['b'])), pair)", EAGER),
        ("net(changed(state, a=rand(4, 3).T), pair)", EAGER),
        ("net(changed(state, a=state['a'].requires_grad_()), pair)", EAGER),
        ("net(state, [pair[0].expand(3), pair[1]])", EAGER),
        (
            "net(changed(state, a=rand(2, 4)), pair)",
            value_error("batch is 3, but 2 in 'state[\"a\"]'"),
        ),
        ("net(changed(state, a=rand(3, 4).double()), pair)", type_error("'state[\"a\"]'")),
        ("net(changed(state, b={'c': rand(3, 4)}), pair)", type_error('\'state["b"]["c"]\'')),
        ("net(changed(state, a=None), pair)", type_error("'state[\"a\"]' must be a torch.Tensor")),
        ("net(changed(state, a=[[1.0] * 4] * 3), pair)", type_error("'state[\"a\"]'")),
        ("net(changed(state, a=state), pair)", type_error("'state[\"a\"]' must be a torch.Tensor")),
        (
            "net({'a': state['a']}, pair)",
            type_error("'state' must be a dict with the keys 'a', 'b'"),
        ),
        ("net(changed(state, d=1), pair)", type_error("got the keys 'a', 'b', 'd'")),
        ("net({'a': state['a'], 'd': state['b']}, pair)", type_error("got the keys 'a', 'd'")),
        ("net(changed(state, b={}), pair)", type_error("'state[\"b\"]' must be a dict")),
        ("net(changed(state, b=state['a']), pair)", type_error("'state[\"b\"]' must be a dict")),
        ("net(list(state.items()), pair)", type_error("'state' must be a dict")),
        ("net(state['a'], pair)", type_error("'state' must be a dict")),
        (
            "net(None, pair)",
            type_error("'state' must be a dict with the keys 'a', 'b', got NoneType"),
        ),
        ("net(state, pair[:1])", type_error("'pair' must be a")),
        ("net(state, pair + pair)", type_error("'pair' must be a")),
        ("net(state, pair[0])", type_error("'pair' must be a")),
        ("net(state, iter(pair))", type_error("'pair' must be a")),
        ("net(state, 'ab')", type_error("'pair' must be a")),
        ("net(state, {0: pair[0], 1: pair[1]})", type_error("'pair' must be a")),
        ("net(state, pair[::-1])", type_error("'pair[0]' must have dtype float32, got bool")),
        ("net(state, [1.0, pair[1]])", type_error("'pair[0]' must be a torch.Tensor, got float")),
        ("net(state)", type_error("is missing required argument 'pair'")),
        ("net(**state, pair=pair)", type_error("no argument 'a'")),
        (
            "torch.vmap(lambda a: net(changed(state, a=a), pair))(rand(2, 3, 4))",
            type_error('["a"]\''),
        ),
        ("net(changed(state, b={'c': emptied(state['b']['c'])}), pair)", value_error('["c"]\'')),
    ],
    "constants": [
        ("net(x)", EAGER),
        ("net(x, True, 0.5)", EAGER),
        ("net(x, scale=0.5)", EAGER),
        ("net(scale=0.5, flag=True, x=x)", EAGER),
        ("net(x, True, 1 / 2)", EAGER),
        ("net(x, False)", value_error("'flag' is always True in the compiled model, got False")),
        ("net(x, 1)", value_error("'flag' is always True in the compiled model, got 1")),
        ("net(x, 1.0)", value_error("'flag' is always True")),
        ("net(x, None)", value_error("'flag' is always True")),
        ("net(x, 'True')", value_error("'flag' is always True")),
        ("net(x, np.True_)", value_error("'flag' is always True")),
        ("net(x, torch.tensor(True))", value_error("'flag' is always True")),
        (
            "net(x, scale=0.25)",
            value_error("'scale' is always 0.5 in the compiled model, got 0.25"),
        ),
        ("net(x, scale=float('nan'))", value_error("'scale' is always 0.5")),
        ("net(x, scale=1)", value_error("'scale' is always 0.5")),
        ("net(x, scale=np.float64(0.5))", value_error("'scale' is always 0.5")),
        ("net(x, scale=torch.tensor(0.5))", value_error("'scale' is always 0.5")),
        ("net(x, scale=torch.tensor([0.5, 0.5]))", value_error("'scale' is always 0.5")),
        ("net(x, scale=np.array([0.5, 0.5]))", value_error("'scale' is always 0.5")),
        ("net(x, True, 0.5, 1)", type_error("1 too many")),
        ("net(x, True, flag=True)", type_error("multiple values for argument 'flag'")),
        ("net(flag=True)", type_error("is missing required argument 'x'")),
        ("net(True, x)", value_error("'flag' is always True")),
        ("net(x, sclae=0.5)", type_error("no argument 'sclae'")),
        ("net(rand(4, 3).T)", EAGER),
    ],
    "scalars": [
        ("net(x, t, n, on)", EAGER),
        ("net(x, t, n, ~on)", EAGER),
        ("net(x, t.requires_grad_(), n, on)", EAGER),
        ("net(x, rand(5)[3], torch.arange(5).char()[2], on)", EAGER),
        ("net(x, rand(5)[3:].sum(), n, on)", EAGER),
        ("net(x, plain(1.5, torch.float32), n, on)", EAGER),
        ("net(x, plain(3, torch.float32), n, on)", EAGER),
        ("net(x, plain(float('nan'), torch.float32), n, on)", EAGER),
        ("net(x, plain(float('-inf'), torch.float32), n, on)", EAGER),
        ("net(x, plain(2**100, torch.float32), n, on)", EAGER),
        ("net(x, t, plain(-128, torch.int8), on)", EAGER),
        ("net(x, t, plain(127, torch.int8), plain(False, torch.bool))", EAGER),
        ("net(x, plain(0.1, torch.float32), plain(0, torch.int8), plain(True, torch.bool))", EAGER),
        ("inside(torch.device('meta'), x, plain(2.5, torch.float32), n, on)", EAGER),
        ("inside(torch.inference_mode(), x, plain(2.5, torch.float32), n, on)", EAGER),
        (
            "inside(FakeTensorMode(), x, plain(2.5, torch.float32), n, on)",
            type_error("'x' is passed under FakeTensorMode"),
        ),
        ("net(x, t, 128, on)", value_error("'n' has dtype int8, which holds -128 to 127, got 128")),
        ("net(x, t, -129, on)", value_error("'n' has dtype int8")),
        ("net(x, t, 10**40, on)", value_error("'n' has dtype int8")),
        ("net(x, 10**400, n, on)", value_error("'t' has dtype float32")),
        ("net(x, 2**128, n, on)", value_error("'t' has dtype float32")),
        ("net(x, 1e39, n, on)", value_error("'t' has dtype float32")),
        ("net(x, True, n, on)", type_error("'t' must be a torch.Tensor or a float, got bool")),
        ("net(x, 1j, n, on)", type_error("'t' must be a torch.Tensor or a float, got complex")),
        ("net(x, '1', n, on)", type_error("'t' must be a torch.Tensor or a float, got str")),
        ("net(x, t, 7.0, on)", type_error("'n' must be a torch.Tensor or an int, got float")),
        ("net(x, t, True, on)", type_error("'n' must be a torch.Tensor or an int, got bool")),
        ("net(x, t, n, 1)", type_error("'on' must be a torch.Tensor or a bool, got int")),
        ("net(x, t, n, None)", type_error("'on' must be a torch.Tensor or a bool, got NoneType")),
        ("net(x, np.float32(1.5), n, on)", type_error("'t' must be a torch.Tensor")),
        ("net(x, np.float64(1.5), n, on)", type_error("'t' must be a torch.Tensor")),
        ("net(x, np.array(1.5), n, on)", type_error("'t' must be a torch.Tensor")),
        ("net(x, t[None], n, on)", value_error("'t' must have 0 dimensions, (), got 1")),
        ("net(x, rand(0), n, on)", value_error("'t' must have 0 dimensions, (), got 1")),
        ("net(x, t.double(), n, on)", type_error("'t' must have dtype float32, got float64")),
        ("net(x, t, n.int(), on)", type_error("'n' must have dtype int8, got int32")),
        ("net(1.0, t, n, on)", type_error("'x' must be a torch.Tensor, got float")),
        ("torch.vmap(lambda t: net(x, t, n, on))(rand(2))", type_error("'t'")),
        ("torch.func.grad(lambda t: net(x, t, n, on)[0].sum())(t)", type_error("'t'")),
        ("net(x, torch._efficientzerotensor(()), n, on)", EAGER),
        ("net(x, emptied(t), n, on)", value_error("'t'")),
    ],
    "waves": [
        ("net(z)", EAGER),
        ("net(z.conj())", EAGER),
        ("net(z.conj().conj())", EAGER),
        ("net(torch._neg_view(z))", EAGER),
        ("net(torch._neg_view(z.conj()))", EAGER),
        ("net(torch.complex(rand(3, 4), rand(3, 4)).T)", EAGER),
        ("net(torch.complex(rand(3, 4), rand(3, 4)).mH)", EAGER),
        ("net(z[:1].expand(4, 3))", EAGER),
        ("net(z[:1])", EAGER),
        ("net(z[:0])", value_error("n is 0")),
        ("net(torch.view_as_complex(rand(4, 3, 2)))", EAGER),
        ("net(torch.as_strided(torch.view_as_complex(rand(12, 2)), (4, 3), (2, 1)))", EAGER),
        ("net(z * float('nan'))", EAGER),
        ("net(z.real)", type_error("'z' must have dtype complex64, got float32")),
        ("net(z.to(torch.complex128))", type_error("'z' must have dtype complex64")),
        ("net(torch.view_as_real(z))", type_error("'z' must have dtype complex64")),
        ("net(1j)", type_error("'z' must be a torch.Tensor, got complex")),
        ("torch.vmap(net)(torch.stack([z, z]))", type_error("'z'")),
        ("inside(FakeTensorMode(), z)", type_error("'z' is passed under FakeTensorMode")),
    ],
    "aliases": [
        ("net(x)", EAGER),
        ("net(x)[0] is x", EAGER),
        ("(lambda y: net(y)[0] is y)(rand(4, 3).t())", EAGER),
        ("net(x)[1].data_ptr() == x.data_ptr()", EAGER),
        ("net(rand(9, 4)[3:6])", EAGER),
        ("net(rand(13)[1:].view(3, 4))", EAGER),
        ("net(x.requires_grad_())", EAGER),
        ("net(nn.Parameter(x))", EAGER),
        ("net(torch.inference_mode()(rand)(3, 4))", EAGER),
        ("net(torch._neg_view(x))", EAGER),
        ("net(x[:1])", EAGER),
        ("net(torch._efficientzerotensor(3, 4))", EAGER),
        ("inside(torch.autocast('cpu'), x)", EAGER),
        ("inside(FakeTensorMode(), x)", type_error("'x' is passed under FakeTensorMode")),
        ("net(net(x)[0])", EAGER),
        ("net(net(x)[2].T)", EAGER),
        ("torch.vmap(net)(rand(2, 3, 4))", type_error("'x'")),
    ],
    "counted": [
        ("net(x)", EAGER),
        ("net(x[:1])", EAGER),
        ("net(rand(8, 4))", EAGER),
        ("net(rand(4, 3).T)", EAGER),
        ("net(x.requires_grad_())", EAGER),
        ("inside(torch.inference_mode(), x)", EAGER),
        ("inside(torch.device('meta'), x)", EAGER),
        ("inside(FakeTensorMode(), x)", type_error("'x' is passed under FakeTensorMode")),
        ("inside(default_dtype(torch.float64), x)", EAGER),
        ("torch.vmap(net)(rand(2, 3, 4))", type_error("'x'")),
    ],
    "kinds": [
        ("net(f, h, i, u, m)", EAGER),
        ("net(f[:0], h[:0], i[:0], u[:0], m[:0])", EAGER),
        ("net(f[1:], h[1:], i[1:], u[1:], m[1:])", EAGER),
        ("net(f[1::2], h[1::2], i[1::2], u[1::2], m[1::2])", EAGER),
        ("net(*(v.repeat(5)[:40] for v in (f, h, i, u, m)))", EAGER),
        ("net(*(v.repeat(5)[:41] for v in (f, h, i, u, m)))", value_error("n is 41")),
        ("net(f, h, torch.full_like(i, 2**31 - 1), u, m)", EAGER),
        ("net(f, h, torch.full_like(i, -2**31), u, m)", EAGER),
        ("net(f, h, i, torch.full_like(u, 255), m)", EAGER),
        ("net(f * 1e308, h * 1e38, i, u, m)", EAGER),
        ("net(f * float('nan'), h / 0, i, u, m)", EAGER),
        ("net(f.flip(0), h, i, u, m.expand(9))", EAGER),
        ("net(f, h, i, u, torch.tensor(True).expand(9))", EAGER),
        ("net(f, torch._neg_view(h), i, u, m)", EAGER),
        ("net(f, h, i, u, (m.byte() * 2).view(torch.bool))", EAGER),
        ("net(f, h, i, u, m.int())", type_error("'m' must have dtype bool, got int32")),
        ("net(f, h, i, u, m.byte())", type_error("'m' must have dtype bool, got uint8")),
        ("net(f, h, i, u.char(), m)", type_error("'u' must have dtype uint8, got int8")),
        ("net(f, h, i, m, m)", type_error("'u' must have dtype uint8, got bool")),
        ("net(f, h, i.long(), u, m)", type_error("'i' must have dtype int32, got int64")),
        ("net(f, h, i.float(), u, m)", type_error("'i' must have dtype int32, got float32")),
        ("net(f, h.half(), i, u, m)", type_error("'h' must have dtype bfloat16, got float16")),
        ("net(f.float(), h, i, u, m)", type_error("'f' must have dtype float64, got float32")),
        ("net(f, h, i, u[:8], m)", value_error("'u' has shape (8,), expected (n,): n is 8")),
        (
            "inside(FakeTensorMode(), f, h, i, u, m)",
            type_error("'f' is passed under FakeTensorMode"),
        ),
        ("inside(torch.autocast('cpu'), f, h, i, u, m)", EAGER),
    ],
}


BORROWING = "import calls.models._runtime.native_engine as native; native._samples = tuple"
"""Where the native engine does not find the tensors inside of Python's objects, it borrows their
memory."""


@pytest.fixture(scope="module", params=[*KINDS, "native, borrowing"])
def calls(installed: Callable[[str], Installed], request: pytest.FixtureRequest) -> Installed:
    engine, _, borrowing = request.param.partition(", ")
    before = BORROWING if borrowing else ""
    return dataclasses.replace(of_kind(installed, "calls", engine), before=before)


def outcomes(calls: Installed, model: str) -> list[list[str]]:
    """How each case of a model ended, and what it said."""
    cases = [(call, expected == EAGER) for call, expected in CASES[model]]
    code = HARNESS.format(
        model=model,
        source=SOURCES.get(model, model.capitalize()),
        setup=SETUP[model],
        same=SAME,
        cases=cases,
        before=calls.before,
    )
    # NumPy is not in the clean environment.
    status, output = forked(Path(sys.executable), calls.directory, code, calls.engine, IMPORTS)
    assert status == 0, output
    found: list[list[str]] = json.loads(output.splitlines()[-1])
    return found


@pytest.mark.parametrize("model", CASES)
def test_a_call_gives_the_eager_result_or_an_error_that_names_the_argument(
    calls: Installed, model: str
) -> None:
    wrong = [
        f"{call}\n  expected: {kind} {text}\n  got: {got} {said}"
        for (call, (kind, text)), (got, said) in zip(
            CASES[model], outcomes(calls, model), strict=True
        )
        if got != kind or text not in said
    ]
    assert not wrong, "\n".join(wrong)
