"""Models with a state give what eager gives, call after call, with whatever arrays and engine."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from c_programs import compiled, run_checked
from wheels import KINDS, STANDALONE, Installed, of_kind, run_plain

PACKAGE = "remembering"

HEAD = """
import copy, json, pickle, sys, threading
import numpy as np, torch
import remembering.models as models
from remembering import modules
torch.manual_seed(1)

def eager(name, batch):
    module = getattr(modules, NAMES[name])().eval()
    for path, shape in SHAPES.get(name, {}).items():  # in place, a buffer has to have all rows
        owner, _, key = path.rpartition(".")
        part = module.get_submodule(owner)
        part._buffers[key] = part._buffers[key].expand(batch, *shape).clone()
    if name == "llama":
        for i, layer in enumerate(module.cache.layers):
            layer.keys, layer.values = module._buffers[f"keys_{i}"], module._buffers[f"values_{i}"]
    return module

NAMES = {"normalizer": "Normalizer", "voice": "Voice", "causal": "Causal", "decoder": "Decoder",
         "llama": "llama"}
SHAPES = {
    "decoder": {"keys": (2, 64, 8), "values": (2, 64, 8)},
    "llama": {f"{name}_{i}": (2, 48, 8) for name in ("keys", "values") for i in (0, 1)},
    "causal": {f"layers.{i}.past": (4, 8) for i in range(4)},
}
INPUTS = {
    "normalizer": lambda batch, step: torch.randn(batch, 6),
    "voice": lambda batch, step: torch.randn(batch, 256),
    "causal": lambda batch, step: torch.randn(batch, 4),
    "decoder": lambda batch, step: torch.randint(64, (batch, 5 if step == 0 else 1)),
    "llama": lambda batch, step: torch.randint(32, (batch, 7 if step == 0 else 1)),
}

def sizes(name, batch):
    return {} if name == "normalizer" else {"batch": batch}

def same(got, expected):
    got, expected = [x if isinstance(x, tuple) else (x,) for x in (got, expected)]
    for one, two in zip(got, expected, strict=True):
        one = torch.as_tensor(one)
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
"""

FOLLOWED = """
name = NAME
model = getattr(models, name)
steps = {"decoder": 59, "llama": 41}.get(name, 200)
with torch.no_grad():
    for batch in (1, 2, 4):
        for convert in (lambda x: x, lambda x: x.numpy()):
            module, state = eager(name, batch), model.new_state(**sizes(name, batch))
            for step in range(steps):
                x = INPUTS[name](batch, step)
                if step == steps // 2:
                    state = pickle.loads(pickle.dumps(state))
                if step == steps // 3:
                    state = copy.deepcopy(state)
                same(model(convert(x), state=state), module(x))
            # Without one, a call begins anew.
            x = INPUTS[name](batch, 0)
            same(model(convert(x)), eager(name, batch)(x))
print(json.dumps("right"))
"""


def run(installed: Installed, code: str) -> Any:
    """Run code with the packages of this environment."""
    here = dataclasses.replace(installed, python=Path(sys.executable))
    done = here.attempt(HEAD + code, {})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["normalizer", "voice", "causal", "decoder", "llama"])
def test_calls_in_a_row_give_what_eager_gives(
    name: str, kind: str, installed: Callable[..., Installed]
) -> None:
    package = of_kind(installed, PACKAGE, kind)
    assert run(package, FOLLOWED.replace("NAME", repr(name), 1)) == "right"


@pytest.mark.parametrize("kind", KINDS)
def test_states_of_several_threads_do_not_touch_one_another(
    kind: str, installed: Callable[..., Installed]
) -> None:
    code = """
    data = [[INPUTS["voice"](2, 0) for _ in range(40)] for _ in range(4)]
    with torch.no_grad():
        expected = []
        for xs in data:
            module = eager("voice", 2)
            expected.append([module(x) for x in xs])
    pool = models.voice.pool(2)
    wrong = []
    def follow(number):
        state = models.voice.new_state(batch=2)
        for x, y in zip(data[number], expected[number]):
            try:
                same(pool(x, state=state), y)
            except Exception as error:
                wrong.append(repr(error))
    threads = [threading.Thread(target=follow, args=(i,)) for i in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print(json.dumps(wrong))
    """
    assert run(of_kind(installed, PACKAGE, kind), dedented(code)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_caches_go_back_and_tell_when_they_are_full(
    kind: str, installed: Callable[..., Installed]
) -> None:
    code = """
    said = []
    def wrong(call):
        try:
            call()
        except Exception as error:
            said.append([type(error).__name__, str(error)])
    ids = torch.randint(64, (2, 16))
    state = models.decoder.new_state(batch=2)
    for _ in range(3):
        models.decoder(ids, state=state)
    before = models.decoder(ids, state=state.copy())
    models.decoder(ids, state=state)
    wrong(lambda: models.decoder(ids[:, :1], state=state))
    state.truncate("keys", 48)
    assert int(state["position"]) == 48 and not torch.as_tensor(state["keys"])[:, :, 48:].any()
    same(models.decoder(ids, state=state), before)
    wrong(lambda: state.truncate("position", 65))
    other = torch.randint(32, (1, 16))
    llama = models.llama.new_state(batch=1)
    models.llama(other, state=llama)
    llama.truncate("length_*", 3)
    fresh = models.llama.new_state(batch=1)
    models.llama(other[:, :3], state=fresh)
    same(models.llama(other, state=llama), torch.as_tensor(models.llama(other, state=fresh)))
    print(json.dumps(said))
    """
    full, beyond = run(of_kind(installed, PACKAGE, kind), dedented(code))
    assert full[0] == "StateError"
    assert "decoder(): the state is full: 'keys' has 64 of 64 entries" in full[1]
    assert "this call adds 1" in full[1]
    assert "state.truncate('position', length)" in full[1]
    said = "decoder: 'position' has 64 entries, of which 65 cannot stay; pass 0 to 64"
    assert beyond == ["ValueError", said]


def test_methods_share_one_state(installed: Callable[..., Installed]) -> None:
    code = """
    phrases, module = models.phrases, modules.Phrases()
    state = phrases.new_state()
    with torch.no_grad():
        for _ in range(3):
            x = torch.randn(5, 8)
            same(phrases.prefill(x, state=state), module.prefill(x))
            same(phrases.decode(x[:1], state=state), module.decode(x[:1]).clone())
        same(phrases.plain(x), module.plain(x))
    try:
        phrases.plain(x, state=state)
    except TypeError as error:
        print(json.dumps(str(error)))
    """
    said = run(installed(PACKAGE), dedented(code))
    assert said == "phrases.plain() has no argument 'state'; it takes x"


def test_outputs_are_no_part_of_the_state(installed: Callable[..., Installed]) -> None:
    """What a call returned stays as it was when the next one changes the state."""
    code = """
    kept = []
    for convert in (lambda x: x, lambda x: x.numpy()):
        state = models.normalizer.new_state()
        _, first = models.normalizer(convert(torch.ones(2, 6)), state=state)
        before = torch.as_tensor(first).clone()
        models.normalizer(convert(torch.zeros(2, 6)), state=state)
        kept.append(bool((torch.as_tensor(first) == before).all()))
        state = models.phrases.new_state()
        first = models.phrases.decode(convert(torch.ones(1, 8)), state=state)
        before = torch.as_tensor(first).clone()
        models.phrases.decode(convert(torch.zeros(1, 8)), state=state)
        kept.append(bool((torch.as_tensor(first) == before).all()))
    print(json.dumps(kept))
    """
    assert run(installed(PACKAGE), dedented(code)) == [True] * 4


@pytest.mark.parametrize("kind", KINDS)
def test_an_input_is_changed_in_the_callers_memory(
    kind: str, installed: Callable[..., Installed]
) -> None:
    code = """
    rows, places = torch.randn(3, 4), torch.tensor([5, 1, 31])
    expected = torch.zeros(32, 4)
    expected[places] = rows
    changed = []
    for convert in (lambda x: x, lambda x: x.numpy()):
        table = torch.zeros(32, 4)
        got = models.table(convert(rows), convert(table), convert(places))
        same(got, expected.sum(0))
        changed.append(torch.equal(table, expected))
    table = memoryview(bytearray(512)).cast("f", (32, 4))
    models.table(memoryview(rows.numpy()), table, memoryview(places.numpy()))
    changed.append(bool((np.asarray(table) == expected.numpy()).all()))
    print(json.dumps(changed))
    """
    assert run(of_kind(installed, PACKAGE, kind), dedented(code)) == [True] * 3


SETUP = """
import numpy, torch
import remembering.models as m
from remembering.models import table, normalizer, voice, decoder, phrases
rows, places = torch.ones(2, 4), torch.tensor([0, 1])
held = numpy.zeros((32, 4), "float32")
held.flags.writeable = False
n_rows, n_places = rows.numpy(), places.numpy()
block = torch.zeros(40, 4)
samples = torch.zeros(2, 256)
used = voice.new_state(batch=2)
used._lock.acquire()
failed = voice.new_state(batch=2)
failed._failed.append(True)
odd = type("Odd", (torch.Tensor,), {})
"""

WRONG = [
    (
        "table(rows, torch.zeros(4, 32).T, places)",
        "ValueError",
        "argument 'table' is changed by the call, and has gaps or another order in memory",
    ),
    (
        "table(rows, torch.zeros(1, 4).expand(32, 4), places)",
        "ValueError",
        "has gaps or another order in memory",
    ),
    (
        "table(rows, torch.zeros(32, 4, requires_grad=True), places)",
        "ValueError",
        "requires gradients, which are not recorded. Pass table.detach()",
    ),
    (
        "table(block[:2], block[1:33], places)",
        "ValueError",
        "is changed by the call, and shares memory with 'rows'. Pass a copy of one",
    ),
    ("table(n_rows, held, n_places)", "ValueError", "cannot be written to. Pass table.copy()"),
    (
        "table(n_rows, numpy.zeros((32, 8), 'float32')[:, ::2], n_places)",
        "ValueError",
        "Pass numpy.ascontiguousarray(table), and read the change there",
    ),
    (
        "table(n_rows, memoryview(bytes(512)).cast('f', (32, 4)), n_places)",
        "ValueError",
        'cannot be written to. Pass memoryview(bytearray(table)).cast("f", (32, 4))',
    ),
    ("table(rows, 1.5, places)", "TypeError", "is a float. Pass an array of float32"),
    (
        "table(rows, torch.zeros(32, 4), torch.tensor([0, 32]))",
        "IndexError",
        "an index is outside of what it picks from. Look at argument 'places'",
    ),
    (
        "voice(samples, state=normalizer.new_state())",
        "StateError",
        "voice(): argument 'state' is a state of normalizer",
    ),
    (
        "voice(samples, state=voice.new_state(batch=3))",
        "ValueError",
        """argument 'state["hidden"]' has shape (3, 16), expected (batch, 16): batch is 3, but 2""",
    ),
    (
        "voice(samples, state=used)",
        "StateError",
        "voice(): another call is using this state. Give each thread a state of its own",
    ),
    (
        "voice(samples, state=failed)",
        "StateError",
        "a call that failed has left this state half changed. Use state.reset()",
    ),
    (
        "voice(samples, state=7)",
        "TypeError",
        "argument 'state' must be a state of voice, got int. Make one: voice.new_state(batch=...)",
    ),
    ("voice(samples, state={})", "TypeError", "argument 'state' lacks 'hidden'"),
    ("voice.new_state()", "TypeError", "voice.new_state() is missing the size 'batch'"),
    ("voice.new_state(batch=9)", "ValueError", "batch is 9, the compiled model takes 1 to 8"),
    ("voice.new_state(rows=9)", "TypeError", "no argument 'rows'; it takes batch"),
    ("table.new_state()", "TypeError", "table keeps nothing between calls, and has no state"),
    ("voice.new_state(batch=1)['x']", "KeyError", "has no buffer 'x'; it has 'hidden'"),
    (
        "voice.new_state(batch=1).truncate('hidden', 0)",
        "ValueError",
        "voice: no buffer counts the entries of 'hidden'",
    ),
    ("used.reset()", "StateError", "voice: the state cannot be reset while a call uses it"),
    ("used.copy()", "StateError", "voice: the state cannot be copied while a call uses it"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_states_and_arguments_are_told(
    kind: str, installed: Callable[..., Installed]
) -> None:
    package = of_kind(installed, PACKAGE, kind)
    dataclasses.replace(package, python=Path(sys.executable)).refuses(SETUP, WRONG)


def test_what_cannot_be_read_again_is_told(
    installed: Callable[..., Installed], tmp_path: Path
) -> None:
    code = f"""
    import pathlib
    said = []
    def wrong(call):
        try:
            call()
        except Exception as error:
            said.append(f"{{type(error).__name__}}: {{error}}")
    path = pathlib.Path({str(tmp_path)!r}, "state.safetensors")
    state = models.voice.new_state(batch=2)
    models.voice(torch.ones(2, 256), state=state)
    state.save(path)
    again = models.voice.new_state(batch=2)
    again.load(path)
    assert all(torch.equal(state[name], again[name]) for name in state)
    wrong(lambda: models.voice.new_state(batch=3).load(path))
    wrong(lambda: models.normalizer.new_state().load(path))
    wrong(lambda: again.load(path.with_name("none")))
    path.write_bytes(path.read_bytes()[:-4])
    wrong(lambda: again.load(path))
    path.write_bytes(b"no file of tensors")
    wrong(lambda: again.load(path))
    data = pickle.dumps(models.normalizer.new_state())
    wrong(lambda: pickle.loads(data.replace(b"float32", b"float64")))
    layout = models.voice._state_layout()
    data, layout.version = pickle.dumps(state), "another"
    wrong(lambda: pickle.loads(data))
    wrong(lambda: models.voice.new_state(batch=2).load(path.with_name("other")))
    print(json.dumps(said))
    """
    said = run(installed(PACKAGE), dedented(code))
    size, model, missing, short, damaged, dtype, version, _ = said
    assert "'hidden' has the shape (2, 16), and (3, 16) in this state of voice" in size
    assert "holds no state of normalizer: its buffers are hidden, cell_state, context" in model
    assert "cannot be read (No such file or directory)" in missing
    assert "is damaged, or no safetensors file (it is truncated: context is not in it)" in short
    assert "is damaged, or no safetensors file (it is truncated, or not a safet" in damaged
    assert (
        dtype
        == "StateError: this pickle: 'mean' is float64, and float32 in the state of normalizer"
    )
    assert "this pickle holds a state of another version of voice" in version


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_neither_copies_nor_clears_a_cache(
    kind: str, installed: Callable[..., Installed]
) -> None:
    """Of 32 MB, a step uses the pages that it writes to and reads from, and no others."""
    code = """
    import resource
    def pages():
        return int(open("/proc/self/statm").read().split()[1])
    module, row = modules.Long(), torch.arange(8.0)
    state = models.long.new_state()
    same(models.long(row, state=state), module(row))  # imports what compares
    models.long.scan(row[None], state=state)
    module(row)
    assert state.nbytes > 32 << 20
    before = pages()
    for _ in range(20):
        expected, got = module(row).clone(), models.long(row, state=state)
        same(got, expected)
    models.long.scan(row.repeat(20, 1), state=state)
    print(json.dumps((pages() - before) * resource.getpagesize()))
    """
    assert run(of_kind(installed, PACKAGE, kind), dedented(code)) < 2 << 20


def test_the_package_tests_itself(installed: Callable[..., Installed]) -> None:
    package = installed(PACKAGE)
    code = "import runpy; runpy.run_module('remembering.models', run_name='__main__')"
    done = dataclasses.replace(package, python=Path(sys.executable)).attempt(code, {})
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" ok ") == 9
    assert "not run: its smallest example is too large to be shipped" in done.stdout  # of long


def test_states_leak_nothing(installed: Callable[..., Installed]) -> None:
    code = """
    import resource
    def used():
        return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
    x = torch.ones(2, 256)
    def many(count):
        for i in range(count):
            state = models.voice.new_state(batch=2)
            if i % 10 == 0:
                models.voice(x, state=state)
                state["hidden"]
    def large(count):
        for _ in range(count):
            models.decoder.new_state(batch=4)
    many(2000), large(2000)
    before = used()
    many(10000), large(10000)
    print(json.dumps(used() - before))
    """
    assert run(installed(PACKAGE), dedented(code)) < 2_000_000


SCANNED = """
name = NAME
model = getattr(models, name)
many = {"decoder": 40, "llama": 30}.get(name, 60)
with torch.no_grad():
    for batch in (1, 3):
        xs = torch.stack([INPUTS[name](batch, 1) for _ in range(many)])
        module = eager(name, batch)
        expected = [copy.deepcopy(module(x)) for x in xs]
        if isinstance(expected[0], tuple):
            expected = tuple(torch.stack(part) for part in zip(*expected))
        else:
            expected = torch.stack(expected)
        for convert in (lambda x: x, lambda x: x.numpy(), lambda x: x.mT.contiguous().mT):
            state, half = model.new_state(**sizes(name, batch)), many // 2
            first = model.scan(convert(xs[:half]), state=state)
            rest = model.scan(convert(xs[half:]), state=state)
            if not isinstance(first, tuple):
                first, rest = (first,), (rest,)
            parts = zip(first, rest)
            same(tuple(torch.cat([*map(torch.as_tensor, pair)]) for pair in parts), expected)
            same(model.scan(convert(xs)), expected)
        plain = model.scan(memoryview(xs.numpy()))
        plain = plain if isinstance(plain, tuple) else (plain,)
        same(tuple(map(np.asarray, plain)), expected)
        seen = []
        assert model.scan(xs, on_step=seen.append) is None
        assert len(seen) == many
print(json.dumps("right"))
"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["normalizer", "voice", "causal", "decoder", "llama"])
def test_steps_in_a_row_give_what_calls_give(
    name: str, kind: str, installed: Callable[..., Installed]
) -> None:
    package = of_kind(installed, PACKAGE, kind)
    assert run(package, SCANNED.replace("NAME", repr(name), 1)) == "right"


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_steps_are_told(kind: str, installed: Callable[..., Installed]) -> None:
    setup = f"{SETUP}\nids = torch.zeros(65, 1, 1, dtype=torch.int64)\n"
    wrong = [
        ("voice.scan(torch.zeros(0, 1, 256))", "ValueError", "voice.scan(): there are no steps"),
        (
            "voice.scan(numpy.ma.masked_array(numpy.zeros((2, 1, 256), 'float32')))",
            "TypeError",
            "must be a",
        ),
        ("voice.scan(1.0)", "TypeError", "must have the steps along its first axis, got float"),
        ("voice.scan()", "TypeError", "voice.scan(): missing a required argument: 'samples'"),
        ("voice.scan(torch.zeros(3, 1, 255))", "ValueError", "dimension 1 must be 256, not 255"),
        (
            "table.scan(torch.zeros(3, 2, 4), torch.zeros(32, 4), torch.zeros(2, 2).long())",
            "ValueError",
            "the numbers of steps differ: 3 in 'rows', 2 in 'places'",
        ),
        ("decoder.scan(ids)", "StateError", "the state is full: 'keys' has "),
        ("voice.scan(samples[None], state=used)", "StateError", "another call is using this state"),
    ]
    package = of_kind(installed, PACKAGE, kind)
    dataclasses.replace(package, python=Path(sys.executable)).refuses(setup, wrong)


@pytest.mark.parametrize("kind", KINDS)
def test_requests_with_states_share_calls(kind: str, installed: Callable[..., Installed]) -> None:
    code = """
    import asyncio
    data = [[INPUTS["voice"](1, 0) for _ in range(20)] for _ in range(4)]
    with torch.no_grad():
        expected = []
        for xs in data:
            module = eager("voice", 1)
            expected.append([module(x) for x in xs])
    wrong, sizes_seen = [], []
    with models.voice.batched(4, max_wait_ms=20) as batched:
        together = batched._queue._runner._together
        def counted(requests):
            sizes_seen.append(len(requests))
            together(requests)
        batched._queue._runner._together = counted
        def follow(number, convert):
            state = models.voice.new_state(batch=1)
            for x, y in zip(data[number], expected[number]):
                same(batched(convert(x), state=state), y)
        def guarded(number):
            try:
                follow(number, (lambda x: x) if number < 2 else (lambda x: x.numpy()))
            except Exception as error:
                wrong.append(repr(error))
        threads = [threading.Thread(target=guarded, args=(i,)) for i in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        async def one(number):
            state = models.voice.new_state(batch=1)
            for x, y in zip(data[number], expected[number]):
                same(await batched.acall(x, state=state), y)
        async def both():
            await asyncio.gather(one(0), one(1))
        asyncio.run(both())
    try:
        models.decoder.batched(4)
    except ValueError as error:
        wrong.append(str(error))
    print(json.dumps([wrong, max(sizes_seen)]))
    """
    wrong, most = run(of_kind(installed, PACKAGE, kind), dedented(code))
    (refused,) = wrong
    assert most > 1
    assert "decoder.batched(): argument 'state[\"position\"]'" in refused
    assert "requests cannot share a call. Call the model itself" in refused


@pytest.mark.parametrize("kind", KINDS)
def test_a_compiled_function_breaks_at_a_call_with_a_state(
    kind: str, installed: Callable[..., Installed]
) -> None:
    code = """
    state = models.normalizer.new_state()
    @torch.compile(backend="eager")
    def whole(x):
        y, mean = models.normalizer(x + 1, state=state)
        return y * 2, mean
    module = modules.Normalizer()
    for _ in range(3):
        x = torch.randn(4, 6)
        y, mean = module(x + 1)
        same(whole(x), (y * 2, mean.clone()))
    table = torch.zeros(32, 4)
    @torch.compile(backend="eager")
    def written(rows):
        return models.table(rows * 2, table, torch.tensor([3])) + 1
    same(written(torch.ones(1, 4)), torch.full((4,), 3.0))
    print(json.dumps(table[3].tolist()))
    """
    assert run(of_kind(installed, PACKAGE, kind), dedented(code)) == [2.0] * 4


def dedented(code: str) -> str:
    """Code without the indentation of a test."""
    import textwrap

    return textwrap.dedent(code)


IN_C = r"""
#include <remembering/voice.h>
#include <stdio.h>
#include <string.h>

int main(void) {
  static float samples[3 * 256], hidden[3 * 16], cell[3 * 16], context[3 * 32];
  remembering_voice *voice;
  if (remembering_voice_open(&voice, 1, 1)) return puts(remembering_error()), 1;
  remembering_voice_inputs inputs = {samples, hidden, cell, context, 3};
  for (int again = 0; again < 2; again++) {
    memset(cell, 0x55, sizeof cell);
    memset(hidden, 0x55, sizeof hidden);
    memset(context, 0x55, sizeof context);
    if (remembering_voice_begin(voice, &inputs)) return puts(remembering_error()), 1;
    for (int step = 0; step < 4; step++) {
      for (int i = 0; i < 3 * 256; i++) samples[i] = (float)((i * 7 + step) % 32) / 32;
      remembering_voice_outputs outputs;
      if (remembering_voice_run(voice, &inputs, &outputs)) return puts(remembering_error()), 1;
      for (int i = 0; i < 3; i++) printf("%a\n", (double)outputs.output[i]);
      remembering_voice_free(&outputs);
    }
  }
  float before = hidden[0];
  inputs.batch = 9;
  if (remembering_voice_begin(voice, &inputs)) puts(remembering_error());
  inputs.batch = 3, inputs.state_context = NULL;
  if (remembering_voice_begin(voice, &inputs)) puts(remembering_error());
  if (remembering_voice_begin(voice, NULL)) puts(remembering_error());
  if (remembering_voice_begin(NULL, &inputs)) puts(remembering_error());
  if (hidden[0] != before) puts("changed");
  remembering_voice_close(voice);
  return 0;
}
"""


def test_a_state_begins_in_c_as_in_python(
    installed: Callable[..., Installed], tmp_path: Path
) -> None:
    package = of_kind(installed, PACKAGE, STANDALONE)
    (tmp_path / "voice.c").write_text(IN_C)
    interface = package.directory / "remembering" / "models" / "_c"
    printed = run_checked([compiled(tmp_path / "voice.c", interface, "-std=c99")]).splitlines()
    code = """
    models.set_num_threads(1)
    state = models.voice.new_state(batch=3)
    found = []
    for step in range(4):
        samples = (np.arange(3 * 256).reshape(3, 256) * 7 + step) % 32 / np.float32(32)
        found += models.voice(samples.astype(np.float32), state=state)[:, 0].tolist()
    print(json.dumps([value.hex() for value in found]))
    """
    values = run(package, dedented(code))
    assert [float.fromhex(each).hex() for each in printed[:24]] == 2 * values
    assert printed[24:] == [
        "remembering_voice_begin(): batch is 9, the compiled model takes 1 to 8",
        "remembering_voice_begin(): state_context is NULL",
        "remembering_voice_begin(): inputs is NULL",
        "remembering_voice_begin(): model is NULL",
    ]


BUFFERS = """
import array, asyncio, ctypes, json, sys
from concurrent.futures import ThreadPoolExecutor
from remembering.models import phrases, table, voice
from remembering.models._runtime import _engine

def made(form, *shape, turn=1):
    count = 1
    for size in shape:
        count *= size
    values = array.array(form, [i * turn % 13 for i in range(count)])
    return memoryview(values).cast("B").cast(form, shape)

def near(one, two):
    if isinstance(one, list):
        return len(one) == len(two) and all(map(near, one, two))
    return abs(one - two) < 1e-4

def part(view, step):
    size = view.nbytes // len(view)
    return view.cast("B")[step * size : (step + 1) * size].cast(view.format, view.shape[1:])

def orders(view):  # sequences as they lie in memory, and their steps
    numbers = range(len(view))
    whole = bytes(view.cast("B"))
    held, other = ctypes.c_float, ctypes.c_float.__ctype_be__
    for size in reversed(view.shape):
        held, other = held * size, other * size
    swapped = array.array("f", whole)
    swapped.byteswap()
    yield view, numbers
    yield view[::-1], numbers[::-1]
    yield view[1::2], numbers[1::2]
    yield memoryview(whole).cast(view.format, view.shape), numbers
    yield held.from_buffer_copy(whole), numbers
    yield other.from_buffer_copy(bytes(swapped)), numbers
    backwards = tuple(reversed(range(view.ndim)))
    yield _engine.laid_out(view, backwards), numbers
    yield memoryview(_engine.laid_out(view, backwards)), numbers

told = []
for scan, model, sizes, xs in (
    (voice.scan, voice, {"batch": 2}, made("f", 6, 2, 256)),
    (voice.pool(2).scan, voice, {"batch": 2}, made("f", 6, 2, 256)),
    (phrases.decode.scan, phrases.decode, {}, made("f", 5, 1, 8)),
):
    engine = scan.__self__._scan
    for given, numbers in orders(xs):
        state, seen = (phrases if model is not voice else voice).new_state(**sizes), []
        expected = [model(part(xs, i), state=state).tolist() for i in numbers]
        found = scan(given)  # by the engine
        told.append([type(found).__name__, near(found.tolist(), expected)])
        scan.__self__._scan = None
        found = scan(given)
        scan(given, on_step=seen.append)
        scan.__self__._scan = engine
        told.append([type(found).__name__, near(found.tolist(), expected)])
        told.append([type(seen[0]).__name__, near([each.tolist() for each in seen], expected)])

lines = [made("f", 1, 256, turn=turn) for turn in range(1, 5)]
states, others = ([voice.new_state(batch=1) for _ in lines] for _ in range(2))

async def together(batched):
    return await asyncio.gather(*(batched.acall(x, state=s) for x, s in zip(lines, states)))

with voice.batched(4, 60_000) as batched, ThreadPoolExecutor(4) as threads:
    rounds = [list(threads.map(lambda x, s: batched(x, state=s), lines, states)) for _ in range(2)]
    rounds.append(asyncio.run(together(batched)))
for found in rounds:
    expected = [voice(x, state=s).tolist() for x, s in zip(lines, others)]
    told.append([type(found[0]).__name__, near([each.tolist() for each in found], expected)])

places = memoryview(array.array("q", range(6))).cast("B").cast("q", (3, 2))
rows, expected = made("f", 3, 2, 4), (ctypes.c_float * 4 * 32)()
for step in range(3):  # which the calls change
    table(part(rows, step), expected, part(places, step))
for given, numbers in orders(rows):
    if len(numbers) == 3 and numbers[0] == 0:
        changed = (ctypes.c_float * 4 * 32)()
        found = table.scan(given, changed, places)
        told.append([type(found).__name__, bytes(changed) == bytes(expected) != bytes(512)])

def error(call):
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

wrong = [
    error(lambda: voice.scan(made("d", 3, 1, 256)[::-1])),
    error(lambda: voice.scan(made("f", 3, 1, 255)[::-1])),
    error(lambda: voice.scan(memoryview(array.array("f", [1])).cast("B").cast("f", ()))),
    error(lambda: voice.scan([[1.0]])),
]
print(json.dumps([told, wrong, [name for name in ("numpy", "torch") if name in sys.modules]]))
"""


@pytest.mark.parametrize("library", ["", "numpy"])
def test_plain_buffers_in_any_order(
    library: str, installed: Callable[..., Installed], request: pytest.FixtureRequest
) -> None:
    """In a process without torch, and without numpy or with it."""
    python = request.getfixturevalue(f"{library or 'bare'}_python")
    code = f"import {library}\n{BUFFERS}" if library else BUFFERS
    told, wrong, there = run_plain(python, installed(PACKAGE, STANDALONE).directory, code)
    assert told == [["Array", True]] * (3 * 8 * 3 + 3 + 6)
    assert there == ([library] if library else [])
    label = "voice(): argument 'samples' must have"
    for said, expected in zip(
        wrong,
        [
            f"TypeError: {label} dtype float32, got float64. ",
            f"ValueError: {label} shape (batch, 256), got (1, 255): dimension 1 must be 256, not",
            f"TypeError: {label} the steps along its first axis, got an array without axes",
            f"TypeError: {label} the steps along its first axis, got list",
        ],
        strict=True,
    ):
        assert said.startswith(expected)
