"""Pools: several calls of a model at once."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from samples import LoadPackage, assert_waits, sample_manifest

from aotbuild.runtime.manifest import Parameter

IMAGES = torch.zeros(2, 1, 8)
STATE = [Parameter("weight", "float32", [3], "weight")]
WEIGHTS = {"weight": torch.ones(3)}


def test_as_many_calls_as_a_pool_has_runners_run_at_once(load_package: LoadPackage) -> None:
    running = threading.Barrier(3)

    def compute(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        running.wait(10)  # passes only when all three are here
        return tensors

    loaded = load_package(compute=compute)
    pool = loaded.net.pool(3)
    assert isinstance(pool, type(loaded.net))
    threads = [threading.Thread(target=pool, args=(IMAGES,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not running.broken
    assert len(loaded.loads) == 2  # the model itself stays as it is


def test_a_pool_shares_the_weights(load_package: LoadPackage) -> None:
    loaded = load_package(sample_manifest(state=STATE), tensors=WEIGHTS)
    pool = loaded.net.pool(2)
    assert loaded.handed[0]["weight"].data_ptr() == loaded.handed[1]["weight"].data_ptr()
    pool.load_state_dict({"weight": torch.zeros(3)})
    assert torch.equal(loaded.net.state_dict()["weight"], torch.zeros(3))
    assert loaded.handed[2]["weight"] is loaded.handed[3]["weight"]


def test_weights_are_replaced_when_all_calls_of_a_pool_have_ended(
    load_package: LoadPackage,
) -> None:
    started, go_on = threading.Event(), threading.Event()

    def compute(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        started.set()
        go_on.wait(10)
        return tensors

    loaded = load_package(sample_manifest(state=STATE), tensors=WEIGHTS, compute=compute)
    pool = loaded.net.pool(2)
    call = threading.Thread(target=pool, args=(IMAGES,))
    call.start()
    started.wait(10)
    swap = assert_waits(pool.load_state_dict, {"weight": torch.zeros(3)})
    go_on.set()
    call.join(10)
    swap.join(10)
    assert not swap.is_alive()
    pool(IMAGES)  # all of its runners are free again
    pool(IMAGES)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((0,), "net.pool(): runners is 0, expected 1 to 64"),
        ((65,), "net.pool(): runners is 65, expected 1 to 64"),
        ((2, 0), "net.pool(): threads_per_call is 0, expected 1 to 64"),
        ((2, -1), "net.pool(): threads_per_call is -1, expected 1 to 64"),
        (("2",), "net.pool(): runners is '2', expected an integer, 1 to 64"),
        ((2.0,), "net.pool(): runners is 2.0, expected an integer, 1 to 64"),
        ((True,), "net.pool(): runners is True, expected an integer, 1 to 64"),
        ((None,), "net.pool(): runners is None, expected an integer, 1 to 64"),
        ((2, "1"), "net.pool(): threads_per_call is '1', expected an integer, 1 to 64"),
    ],
)
def test_a_size_that_no_pool_has_is_refused(
    load_package: LoadPackage, arguments: tuple[Any, ...], told: str
) -> None:
    loaded = load_package()
    with pytest.raises(ValueError, match=r"^net\.pool\(\): ") as caught:
        loaded.net.pool(*arguments)
    assert str(caught.value) == told


def test_a_model_may_have_several_runners_from_the_start(load_package: LoadPackage) -> None:
    running = threading.Barrier(2)

    def compute(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        running.wait(10)
        return tensors

    loaded = load_package(sample_manifest(runners=2), compute=compute)
    threads = [threading.Thread(target=loaded.net, args=(IMAGES,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not running.broken
    assert len(loaded.loads) == 1


def test_methods_have_pools_too(load_package: LoadPackage) -> None:
    methods = [sample_manifest(method=name) for name in ("encode", "decode")]
    loaded = load_package(*methods)
    pool = loaded.net.pool(3)
    assert type(pool) is type(loaded.net)
    assert pool is not loaded.net
    assert pool.decode._pool.runners == pool.encode._pool.runners == 3
    assert loaded.net.encode._pool.runners == 1
    assert torch.equal(pool.encode(IMAGES), IMAGES)
    with pytest.raises(ValueError, match=r"^net\.pool\(\): runners is 0, expected 1 to 64$"):
        loaded.net.pool(0)


def test_methods_beside_a_model_are_in_its_pool(load_package: LoadPackage) -> None:
    loaded = load_package(sample_manifest(), sample_manifest(method="encode"))
    pool = loaded.net.pool(2, threads_per_call=1)
    assert pool.encode._pool == pool._pool
    assert torch.equal(pool.encode(IMAGES), IMAGES)
    assert torch.equal(pool(IMAGES), IMAGES)
