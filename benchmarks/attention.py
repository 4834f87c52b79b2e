"""What the passes for attention, masks and recurrent layers do: with each, and without it.

Each case is compiled once with the pass named and once without, for this machine's CPU and one
thread. Both give eager's result, and take turns.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from aotbuild.passes.pipeline import apply
from aotbuild.passes.recurrent.dynamic_steps import dynamic_steps
from aotbuild.passes.template.operators import register_lowerings
from aotbuild.steps.tune.statistics import estimate, ratio


class Attention(nn.Module):
    """Attention of parts of one tensor, as linear layers give it."""

    def __init__(self, heads: int, *, causal: bool = False, joined: bool = False) -> None:
        super().__init__()
        self.heads, self.causal, self.joined = heads, causal, joined

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """x: (batch, tokens, 3 * heads * width); mask: (batch, tokens)."""
        batch, tokens, _ = x.shape
        q, k, v = x.view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attend = nn.functional.scaled_dot_product_attention
        if self.causal:
            result = attend(q, k, v, is_causal=True)
        else:
            keys = mask[:, None, None, :] > 0
            if self.joined:
                keys = keys & (torch.arange(tokens) >= 0)[:, None]
            result = attend(q, k, v, attn_mask=keys)
        return result.transpose(1, 2).reshape(batch, tokens, -1)


class Decoding(nn.Module):
    """Attention of one query over caches of several layers, of which a part is filled."""

    def __init__(self, heads: int, filled: int) -> None:
        super().__init__()
        self.heads, self.filled = heads, filled

    def forward(self, x: torch.Tensor, caches: torch.Tensor) -> torch.Tensor:
        """x: (1, heads, 1, width); caches: (layers, 2, 1, key heads, length, width)."""
        mask = (torch.arange(caches.shape[4]) < self.filled)[None, None, None]
        attend = nn.functional.scaled_dot_product_attention
        for cache in caches.unbind():
            k, v = (self.repeated(each) for each in cache.unbind())
            x = x + attend(x, k, v, attn_mask=mask)
        return x

    def repeated(self, x: torch.Tensor) -> torch.Tensor:
        """Keys or values, each for as many heads as share it."""
        batch, heads, length, width = x.shape
        x = x[:, :, None].expand(batch, heads, self.heads // heads, length, width)
        return x.reshape(batch, self.heads, length, width)


def recurrent(kind: str, units: int, layers: int) -> nn.Module:
    """Recurrent layers of as many features as units."""
    torch.manual_seed(0)
    module: nn.Module = getattr(nn, kind)(units, units, num_layers=layers, batch_first=True)
    return module


def cases() -> list[tuple[str, list[str], nn.Module, tuple[torch.Tensor, ...]]]:
    """Names, the passes with and without which each is compiled, modules and inputs."""
    listed: list[tuple[str, list[str], nn.Module, tuple[torch.Tensor, ...]]] = []
    shapes = [(12, 32, 16), (12, 32, 64), (12, 32, 256), (3, 64, 197), (12, 64, 512)]
    for heads, width, tokens in shapes:
        given = torch.randn(1, tokens, 3 * heads * width), torch.ones(1, tokens)
        for causal in (False, True):
            name = f"{heads} heads of {width}, {tokens} tokens{', causal' if causal else ''}"
            listed.append((name, ["attention"], Attention(heads, causal=causal), given))
    for heads, shared, width, length, filled in (
        *((8, 8, 64, 2048, 2048), (32, 8, 128, 1024, 1024), (32, 8, 64, 4096, 512)),
        *((4, 4, 64, 256, 256), (16, 16, 128, 512, 512)),
    ):
        layers = (96 << 20) // (8 * shared * length * width)
        caches = torch.randn(min(layers, 32), 2, 1, shared, length, width)
        name = f"one query, {heads} heads by {shared} of {width}, {filled} of {length} keys"
        name += f", {caches.nbytes >> 20} MB in all"
        query = torch.randn(1, heads, 1, width)
        listed.append((name, ["attention"], Decoding(heads, filled), (query, caches)))
    given = torch.randn(1, 256, 3 * 384), torch.ones(1, 256)
    module = Attention(12, joined=True)
    listed.append(("a mask joined with one that masks nothing", ["constant_masks"], module, given))
    for kind, units, layers, batch in (
        *(("LSTM", 128, 2, 1), ("LSTM", 128, 2, 16), ("LSTM", 512, 1, 1)),
        *(("GRU", 128, 2, 1), ("RNN", 128, 1, 1)),
    ):
        name = f"{kind}, {layers} x {units} units, 80 steps, batch {batch}"
        x = torch.randn(batch, 80, units)
        listed.append((name, ["recurrent"], recurrent(kind, units, layers), (x,)))
    return listed


def compiled(
    module: nn.Module, given: tuple[torch.Tensor, ...], passes: list[str]
) -> Callable[..., Any]:
    """A module compiled with some passes."""
    with torch.no_grad(), dynamic_steps():
        program = torch.export.export(module.eval(), given, strict=False)
        graph: Any = program.module(check_guards=False)
        apply(graph, passes)
        example: Any = program.example_inputs
        library: Any = torch._inductor.aot_compile(graph, *example)  # noqa: SLF001
    runner = torch._C._aoti.AOTIModelContainerRunnerCpu(library, 1)  # noqa: SLF001
    return lambda *given: runner.run(list(given))


def first(result: Any) -> torch.Tensor:
    """The first tensor of a result."""
    while not isinstance(result, torch.Tensor):
        result = result[0]
    return result


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--only", default="", help="cases whose names contain this")
    options = parser.parse_args()
    torch.set_num_threads(1)
    register_lowerings()
    print("| case | with the pass | without it |")
    print("|---|--:|--:|")
    for name, passes, module, given in cases():
        if options.only not in name:
            continue
        always = ["attention"] if passes == ["constant_masks"] else []
        arms = [compiled(module, given, each) for each in ([*passes, *always], always)]
        with torch.no_grad():
            expected = first(module(*given))
        for arm in arms:
            torch.testing.assert_close(first(arm(*given)), expected, rtol=1e-4, atol=1e-4)
        times: list[list[float]] = [[], []]
        for _ in range(options.rounds):
            for arm, taken in zip(arms, times, strict=True):
                start = time.perf_counter()
                arm(*given)
                taken.append(time.perf_counter() - start)
        own = estimate(times[0]).median
        print(f"| {name} | {own * 1e6:.1f} us | {ratio(times[1], times[0]).text()} x |", flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = directory
        main()
