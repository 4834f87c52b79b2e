"""A cache on an S3 server that builds of many machines share at the same time."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from wheels import copy_package, keep_models, own_cache, pip_wheel

pytest.importorskip("s3fs", reason="s3fs is not installed")
pytest.importorskip("moto.server", reason="moto[server] is not installed")

BUILDERS = 8

BUILDER = """
import json, random, sys
from pathlib import Path
from aotbuild.cache.notes import Notes
from aotbuild.cache.settings import cache_settings
from aotbuild.cache.store import Found, Store

own, turn = Path(sys.argv[1]), int(sys.argv[2])
store, hits = Store(cache_settings(), Notes(own)), []
for i in range(5):
    seed = (i + turn) % 5  # another one first
    data, key = random.Random(seed).randbytes(2_000_000), f"{seed:064x}"
    made, found = own / f"made-{i}", own / f"found-{i}"
    made.write_bytes(data)
    found.mkdir()
    if store.get("compiled", key, found) is Found.HIT:
        hits.append((found / "net.so").read_bytes() == data)
    else:
        store.put("compiled", key, {"net.so": made})
print(json.dumps(hits))
"""
"""What builds do with the cache: look for an entry, and leave it where there is none."""


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a machine that has a cache in a bucket of a server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("s3") / "log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                bucket = urllib.request.Request(f"{address}/ci-cache", method="PUT")  # noqa: S310
                urllib.request.urlopen(bucket).close()  # noqa: S310
                break
            except OSError:
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
        yield {
            "AOTBUILD_CACHE_DIR": "s3://ci-cache/aotbuild",
            "AOTBUILD_CACHE_TIMEOUT": "30",  # the server has the same two cores
            "AOTBUILD_EXPLAIN": "1",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": address,
            "AWS_SECRET_ACCESS_KEY": "secret",
        }
    finally:
        server.kill()
        server.wait()


def started(own: Path, turn: int, environment: dict[str, str]) -> subprocess.Popen[str]:
    """A builder of a machine, which has a directory and a user of its own."""
    own.mkdir()
    return subprocess.Popen(
        [sys.executable, "-P", "-c", BUILDER, str(own), str(turn)],
        env={**os.environ, **environment, "XDG_CACHE_HOME": str(own / "caches")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(builder: subprocess.Popen[str]) -> tuple[list[bool], str]:
    """Whether each entry that a builder found was right, and what it warned of."""
    output, errors = builder.communicate(timeout=120)
    assert builder.returncode == 0, errors
    return json.loads(output), errors


def test_builds_that_run_at_once_find_whole_entries(s3: dict[str, str], tmp_path: Path) -> None:
    running = [started(tmp_path / f"machine-{turn}", turn, s3) for turn in range(BUILDERS)]
    for builder in running:
        hits, errors = ended(builder)
        assert errors == ""
        assert all(hits)
    # One more has all of it from the server.
    hits, errors = ended(started(tmp_path / "last", 0, s3))
    assert hits == [True] * 5
    assert errors == ""


def test_a_wheel_of_another_machine_compiles_nothing(s3: dict[str, str], tmp_path: Path) -> None:
    project = keep_models(copy_package(tmp_path, "srcdir"), "other")
    told, wheels = [], []
    for machine in ("one", "two"):
        (tmp_path / machine).mkdir()
        own_cache(tmp_path / machine / "aotbuild")
        own = {**s3, "XDG_CACHE_HOME": str(tmp_path / machine)}
        build = pip_wheel(project, env=own)
        assert build.returncode == 0, build.output
        assert "aotbuild: warning" not in build.output
        told += [line for line in build.output.splitlines() if "aotbuild: cache: " in line]
        wheels.append(build.wheels[0].read_bytes())
    assert [line.partition("cpu-x86-64-v3 ")[2] for line in told] == [
        "is compiled: it has not been built before with this cache",
        "was compiled before",
    ]
    assert wheels[0] == wheels[1]


def test_a_bucket_that_is_not_there_is_not_made(s3: dict[str, str], tmp_path: Path) -> None:
    wrong = {**s3, "AOTBUILD_CACHE_DIR": "s3://ci-cahce/aotbuild"}
    hits, errors = ended(started(tmp_path / "machine", 0, wrong))
    assert hits == []
    assert errors.count("aotbuild: warning: ") == 1
    assert "the shared cache s3://ci-cahce/aotbuild cannot be written" in errors
    assert "bucket" in errors
    with urllib.request.urlopen(s3["AWS_ENDPOINT_URL"]) as answer:  # noqa: S310
        assert b"ci-cahce" not in answer.read()
