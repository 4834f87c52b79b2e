"""Sixteen threads that use the example's models in every way at once: ``many_threads.py SECONDS``.

It runs by any Python where the stand-alone example is installed, and imports nothing else but
numpy, if that is there. It begins before a model is loaded: all threads make the first call. Prints
a JSON value: the digest of the scores, what was wrong, the calls of each kind, and whether the GIL
is off.
"""

from __future__ import annotations

import array
import hashlib
import importlib.util
import json
import pickle
import sys
import threading
import time
from importlib import import_module
from typing import Any

THREADS = 16
SIZES = (1, 2, 7, 64)

# All threads read the same bytes, each by a view of its own: to share what counts its readers, as
# an array.array or a memoryview does, is not safe in Python 3.13t.
values = array.array("f", [(i * 37 % 101) / 101 for i in range(64 * 64)]).tobytes()
has_numpy = importlib.util.find_spec("numpy") is not None
wrong: list[str] = []
counts: dict[str, int] = {}
counting = threading.Lock()


def made(n: int) -> Any:
    """So many images, of all threads in the same memory."""
    return memoryview(values)[: n * 256].cast("f", (n, 1, 8, 8))


def bits(result: Any) -> bytes:
    """What the elements of a result are."""
    return memoryview(result).tobytes()


def together(work: Any, count: int = THREADS) -> None:
    """Run ``work(i)`` in threads that begin at once."""
    barrier = threading.Barrier(count)

    def begin(i: int) -> None:
        barrier.wait()
        try:
            work(i)
        except BaseException as error:  # noqa: BLE001
            wrong.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=begin, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def first_calls() -> bytes:
    """The scores, of which all threads find the same in their first calls."""
    scores = [b""] * THREADS

    def first(i: int) -> None:
        models = import_module("digits.models")
        scores[i] = bits(models.net(image=made(64)))
        models.denoiser(made(1 + i))

    together(first)
    if len(set(scores)) != 1:
        wrong.append("the first calls gave different scores")
    return scores[0]


class Uses:
    """Ways to use the models; each is called with the number of the turn."""

    def __init__(self) -> None:
        models = import_module("digits.models")
        self.net, self.denoiser, self.models = models.net, models.denoiser, models
        self.expected = {n: {bits(self.net(made(n)))} for n in SIZES}
        self.cleaned = {n: bits(self.denoiser(made(n))["image"]) for n in SIZES}
        self.shared: list[Any] = [self.denoiser(made(n))["image"] for n in SIZES]
        self.pools = [self.net.pool(4, 1), self.net.pool(2, 2)]
        self.states: list[Any] = []
        self.batched: Any = None
        if has_numpy:
            self._prepare_numpy()

    def _prepare_numpy(self) -> None:
        state = self.net.state_dict()
        halved = {name: value / 2 for name, value in state.items() if value.dtype.kind == "f"}
        self.states = [state, state | halved]
        for given in reversed(self.states):
            self.net.load_state_dict(given)
            for n in SIZES:
                self.expected[n].add(bits(self.net(made(n))))
        self.batched = self.denoiser.batched(max_batch=32, max_wait_ms=1.0)

    def call(self, turn: int) -> None:
        """Call the model."""
        n = SIZES[turn % 4]
        result = self.net(made(n)) if turn % 2 else self.net(image=made(n))
        self.compare("net", bits(result), self.expected[n])

    def pool(self, turn: int) -> None:
        """Call a pool of it, which some others use."""
        n = SIZES[turn % 4]
        self.compare("pool", bits(self.pools[turn % 2](made(n))), self.expected[n])

    def share(self, turn: int) -> None:
        """Read the result of another thread, give it to a model, and put one in its place."""
        k = turn % 4
        image = self.shared[k]
        self.compare("shared", bits(image), {self.cleaned[SIZES[k]]})
        self.denoiser(image)
        self.shared[k] = self.denoiser(made(SIZES[k]))["image"]
        if len(image.tolist()) != image.shape[0]:
            wrong.append("a list has another length than the array")

    def refuse(self, turn: int) -> None:
        """Call it with what it does not take."""
        for given in ("x", made(3).cast("B"), None):
            try:
                self.net(given)
            except (TypeError, ValueError):
                continue
            wrong.append("a wrong argument was taken")
        del turn

    def batch(self, turn: int) -> None:
        """Call it by a queue that all threads share."""
        if self.batched is None:
            return
        import numpy as np

        n = SIZES[turn % 3]
        images = np.asarray(made(n))
        self.compare("batched", self.batched(images)["image"].tobytes(), {self.cleaned[n]})

    def replace(self, turn: int) -> None:
        """Replace its weights, or read them."""
        if not self.states:
            return
        if turn % 3:
            self.net.load_state_dict(self.states[turn % 2])
        elif self.net.state_dict().keys() != self.states[0].keys():
            wrong.append("a state dict has other keys")

    def settle(self, turn: int) -> None:
        """Ask it what it is, copy it, and change how many threads calls use."""
        if pickle.loads(pickle.dumps(self.net)) is not self.net:  # noqa: S301  # its own
            wrong.append("a pickled model is another one")
        self.models.set_num_threads(1 + turn % 2)
        if not (self.net.inputs and self.net.outputs and self.net.target and repr(self.net)):
            wrong.append("a model does not tell what it is")

    def compare(self, what: str, found: bytes, expected: set[bytes]) -> None:
        """Note a result that is none of those expected."""
        if found not in expected:
            wrong.append(f"{what} gave something else")


def main(seconds: float) -> None:
    """Let the threads use the models for so long."""
    scores = first_calls()
    uses = Uses()
    ways = [uses.call, uses.pool, uses.share, uses.call, uses.refuse, uses.batch, uses.replace]
    ways += [uses.call, uses.settle, uses.pool]
    end = time.monotonic() + seconds

    def work(i: int) -> None:
        done = dict.fromkeys((way.__name__ for way in ways), 0)
        turn = i
        while time.monotonic() < end and not wrong:
            way = ways[(turn + turn // len(ways)) % len(ways)]
            way(turn)
            done[way.__name__] += 1
            turn += 1
        with counting:
            for name, count in done.items():
                counts[name] = counts.get(name, 0) + count

    together(work)
    if uses.batched is not None:
        uses.batched.close()
    off = not getattr(sys, "_is_gil_enabled", lambda: True)()
    sys.stdout.write(
        json.dumps([hashlib.sha256(scores).hexdigest(), wrong[:4], counts, off]) + "\n"
    )


if __name__ == "__main__":
    main(float(sys.argv[1]))
