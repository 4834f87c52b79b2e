"""Small modules made of a list of steps: each applies an operation to earlier values."""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

LARGEST = 4096
"""Elements of a value, at the largest size."""

ELEMENTWISE = {
    "abs": torch.abs,
    "neg": torch.neg,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "exp": lambda x: torch.exp(x.clamp(-9, 9)),
    "expm1": lambda x: torch.expm1(x.clamp(-9, 9)),
    "erf": torch.erf,
    "gelu": F.gelu,
    "elu": F.elu,
    "softplus": F.softplus,
    "sqrt": lambda x: torch.sqrt(x.abs()),
    "square": torch.square,
    "float": lambda x: x.float(),
    "double": lambda x: x.double(),
    "int": lambda x: x.to(torch.int64),
    "int8": lambda x: x.clamp(-100, 100).to(torch.int8),
    "bool": lambda x: x > 0,
    "where": lambda x: torch.where(x > 0, x, -x),
    "masked": lambda x: x.masked_fill(x > 0.5, 0),
}
SHAPES = {
    "flatten": lambda x: x.flatten(),
    "rows": lambda x: x.reshape(x.shape[0], -1),
    "unsqueeze": lambda x: x.unsqueeze(-1),
    "squeeze": lambda x: x.squeeze(-1),
    "transpose": lambda x: x.transpose(0, -1),
    "contiguous": lambda x: x.transpose(0, -1).contiguous(),
    "flip": lambda x: x.flip(-1),
    "roll": lambda x: x.roll(1, 0),
    "first": lambda x: x[:1],
    "rest": lambda x: x[..., 1:],
    "every other": lambda x: x[..., ::2],
    "pad": lambda x: F.pad(x, (1, 2)),
    "repeat": lambda x: torch.cat([x, x], -1),
    "stack": lambda x: torch.stack([x, -x] if x.dtype != torch.bool else [x, x]),
    "expand": lambda x: x.unsqueeze(0).expand(3, *x.shape),
    "itself": lambda x: x,
    "clone": lambda x: x.clone(),
    "detach": lambda x: x.detach(),
}
REDUCTIONS = {
    "sum": lambda x: x.sum(-1),
    "total": lambda x: x.sum(),
    "mean": lambda x: x.float().mean(-1, keepdim=True),
    "amax": lambda x: x.amax(-1),
    "amin": lambda x: x.amin(0),
    "argmax": lambda x: x.argmax(-1),
    "min": lambda x: x.min(-1).values,
    "any": lambda x: (x != 0).any(-1),
    "all": lambda x: (x != 0).all(0),
    "prod": lambda x: x.clamp(-2, 2).prod(-1),
    "std": lambda x: x.float().std(-1, correction=0),
    "softmax": lambda x: x.float().softmax(-1),
    "logsumexp": lambda x: x.float().logsumexp(-1),
    "cumsum": lambda x: x.cumsum(-1),
    "layer norm": lambda x: F.layer_norm(x.float(), x.shape[-1:]),
    "sort": lambda x: x.sort(dim=-1, stable=True).values,
    "norm": lambda x: x.float().norm(dim=-1),
}
PAIRS = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x.float() - y.float(),
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / (y.abs() + 1),
    "maximum": torch.maximum,
    "less": lambda x, y: x < y,
    "outer": lambda x, y: x.flatten()[:5, None].float() * y.flatten()[None, :4].float(),
    "matmul": lambda x, y: x.float() @ y.float().transpose(-1, -2),
    "cat": lambda x, y: torch.cat([x, y], -1),
    "bmm": lambda x, y: torch.einsum("bi,bj->bij", x.float(), y.float()),
    "choose": lambda x, y: torch.where(x > y, x, y),
    "gather": lambda x, y: x.gather(-1, y.long().abs() % x.shape[-1]),
    "index": lambda x, y: x[y.flatten().long().abs() % x.shape[0]],
}
OPERATIONS = {**ELEMENTWISE, **SHAPES, **REDUCTIONS, **PAIRS}


def apply(step, values):
    """The value of a step: the name of an operation, and the numbers of what it is applied to."""
    name, *operands = step
    return OPERATIONS[name](*(values[i % len(values)] for i in operands))


def nested(tree, values):
    """The outputs: numbers of values in lists and dicts."""
    if isinstance(tree, dict):
        return {key: nested(item, values) for key, item in tree.items()}
    if isinstance(tree, list):
        return tuple(nested(item, values) for item in tree)
    return values[tree % len(values)]


class Steps(nn.Module):
    """One described module."""

    def __init__(self, description):
        super().__init__()
        self.steps, self.outputs = description["steps"], description["outputs"]
        torch.manual_seed(description["seed"])
        self.linear = nn.Linear(6, 5)
        self.register_buffer("table", torch.randint(-50, 50, (7,), dtype=torch.int8))

    def forward(self, x, k, flags):
        values = [x, k, flags, self.linear(x), self.table]
        for step in self.steps:
            values.append(apply(step, values))
        return nested(self.outputs, values)


class Group(nn.Module):
    """Several described modules as one model, which takes one compile."""

    def __init__(self, file, start, count):
        super().__init__()
        path = Path(__file__).with_name(file)
        every = json.loads(path.read_text(encoding="utf-8"))[start : start + count]
        self.all = nn.ModuleList(map(Steps, every))

    def forward(self, x, k, flags):
        return [each(x, k, flags) for each in self.all]
