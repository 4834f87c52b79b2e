"""How many threads a call uses."""

from __future__ import annotations

from .engines import CallGate

MOST_THREADS = 256


def set_num_threads(count: int) -> None:
    """Set how many threads each call uses from now on, in all threads of this process.

    Without it a stand-alone model uses as many as ``AOTBUILD_NUM_THREADS`` says, then
    ``OMP_NUM_THREADS``, else as the process has cores by its affinity and its cgroup. Models that
    torch runs have the threads of ``torch.set_num_threads``, which is called here for the thread
    that calls.

    Args:
        count: 1 to 256.

    Raises:
        ValueError: It is out of range.
    """
    if type(count) is not int or not 1 <= count <= MOST_THREADS:
        expected = f"{'' if type(count) is int else 'an integer, '}1 to {MOST_THREADS}"
        raise ValueError(f"set_num_threads(): count is {count!r}, expected {expected}")
    CallGate.use_threads(count)
