"""The other side of ``workers.py``: a process that opens models and times calls of them.

``python worker.py`` answers commands, a line of JSON each. ``python worker.py first PEER CASE
DIRECTORY`` calls a model once, says so, and ends. ``python worker.py prepare ...`` prepares a peer.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from steps import Steps

if TYPE_CHECKING:
    from collections.abc import Callable

    from peers import Peer


def first(peer_name: str, case_name: str, directory: str) -> None:
    """Call a model once, and tell that it is done; then how much memory that took."""
    from cases import CASES
    from peers import PEERS

    peer, case = PEERS[peer_name], CASES[case_name]
    arrays = case.arrays()
    call = peer.bind(peer.open(case, directory, 1), case, arrays)
    with peer.inside():
        try:
            call()
        except TypeError as error:
            os.write(1, f"TypeError: {error}\n".encode())
            return
    os.write(1, b"done\n")
    with open("/proc/self/status", encoding="utf-8") as file:  # noqa: PTH123
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    os.write(1, fields["VmRSS"].split()[0].encode() + b"\n")


def prepare(peer_name: str, case_name: str, directory: str) -> None:
    """Compile or convert what a peer needs; for eager, also what the others must return."""
    from cases import CASES
    from peers import PEERS

    PEERS[peer_name].prepare(CASES[case_name], directory)


def reference(case_name: str, path: str) -> None:
    """Write what eager returns, and what a call takes at least, in operations and bytes."""
    import numpy as np
    import torch
    from cases import CASES
    from peers import PEERS, module_of
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    case = CASES[case_name]
    module = module_of(case)
    arrays = case.arrays()
    eager = PEERS["eager"]
    call = eager.bind(module, case, arrays)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter, sdpa_kernel(SDPBackend.MATH):
        call()
    flops = counter.get_total_flops()
    for layer in module.modules():
        if isinstance(layer, torch.nn.LSTM):  # which the counter does not know
            count = sum(
                weight.numel()
                for name, weight in layer.named_parameters()
                if name.startswith("weight")
            )
            flops += 2 * count * arrays[0].shape[1]
    rewind(call)
    with torch.no_grad():
        results = eager.results(call())
    weights = sum(tensor.nbytes for tensor in module.parameters())
    state = [*module.parameters(), *module.buffers()]
    size = sum(tensor.nbytes for tensor in state) + sum(array.nbytes for array in arrays + results)
    np.savez(path, *results, flops=flops, bytes=size, weights=weights)


def rewind(call: Any) -> None:
    """Go back to the first step where calls follow one another."""
    if isinstance(call, Steps):
        call.rewind()


BFLOAT16 = 0.05
"""What results in bfloat16 may differ by, of the largest; those of eager differ by 0.03 from those
in float32."""


class Arm:
    """An opened model, bound to the inputs of a case."""

    def __init__(
        self, peer: str, case: str, directory: str, runners: int = 1, threads: int = 1
    ) -> None:
        from cases import CASES
        from peers import PEERS

        self.peer: Peer = PEERS[peer]
        self.case = CASES[case]
        opened = self.peer.open(self.case, directory, threads)
        if runners > 1:
            opened = self.peer.share(opened, self.case, directory, runners)
        self.calls: list[Callable[[], Any]] = [self._bound(opened) for _ in range(runners)]

    def _bound(self, opened: Any) -> Callable[[], Any]:
        return self.peer.bind(opened, self.case, self.case.arrays())

    def difference(self, path: str) -> tuple[float, bool]:
        """The largest difference from what eager returned, and whether it is tolerable."""
        import numpy as np

        with self.peer.inside():
            found = self.peer.results(self.calls[0]())
        stored = np.load(path)
        expected = [stored[name] for name in stored.files if name.startswith("arr_")]
        rtol, atol = 1e-3, 1e-4
        if self.case.dtype == "bfloat16":
            rtol, atol = 0, BFLOAT16 * max(float(np.abs(one).max()) for one in expected)
        close = len(found) == len(expected) and all(
            one.shape == other.shape
            and one.dtype == other.dtype
            and np.allclose(one, other, rtol=rtol, atol=atol)
            for one, other in zip(found, expected, strict=True)
        )
        pairs = zip(found, expected, strict=False)
        return max(float(np.abs(one - other).max()) for one, other in pairs), close

    def seconds(self, calls: int, warm: int) -> float:
        """Seconds of one call, of a block of them after some that are not counted."""
        call = self.calls[0]
        with self.peer.inside():
            rewind(call)
            for _ in range(warm):
                call()
            start = time.perf_counter()
            for _ in range(calls):
                call()
            return (time.perf_counter() - start) / calls


ARMS: dict[str, Arm] = {}


def answer(command: dict[str, Any]) -> Any:
    """Do what a command says."""
    do, arm = command.pop("do"), command.pop("arm")
    if do == "open":
        ARMS[arm] = Arm(**command)
        return None
    return COMMANDS[do](ARMS[arm], **command)


def beside(arm: Arm, seconds: float, *, calling: bool) -> tuple[float, float]:
    """Steps of a thread of Python in a second, beside one that calls, and the calls."""
    import threading

    running, calls = True, 0

    def call() -> None:
        nonlocal calls
        with arm.peer.inside():
            while running:
                arm.calls[0]()
                calls += 1

    thread = threading.Thread(target=call)
    if calling:
        thread.start()
    steps, start = 0, time.perf_counter()
    while (now := time.perf_counter()) < start + seconds:
        for _ in range(1000):
            steps += 1
    running = False
    if calling:
        thread.join()
    return steps / (now - start), calls / (time.perf_counter() - start)


def together(arm: Arm, seconds: float, threads: int) -> float:
    """Calls in a second that so many threads make."""
    import threading

    counts = [0] * threads
    spent = [0.0] * threads
    ready = threading.Barrier(threads)

    def call(i: int) -> None:
        with arm.peer.inside():
            made = arm.calls[i]
            made()
            ready.wait()
            start = now = time.perf_counter()
            while now < start + seconds:
                made()
                counts[i] += 1
                now = time.perf_counter()
            spent[i] = now - start

    started = [threading.Thread(target=call, args=(i,)) for i in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return sum(count / taken for count, taken in zip(counts, spent, strict=True))


COMMANDS: dict[str, Callable[..., Any]] = {
    "difference": Arm.difference,
    "seconds": Arm.seconds,
    "beside": beside,
    "together": together,
}
TASKS: dict[str, Callable[..., None]] = {
    "first": first,
    "prepare": prepare,
    "reference": reference,
}


def serve() -> None:
    """Answer commands until there are no more."""
    import json

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    if sys.argv[1:]:
        TASKS[sys.argv[1]](*sys.argv[2:])
    else:
        serve()
