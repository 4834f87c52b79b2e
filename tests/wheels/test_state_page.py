"""What the page about models that remember shows is true: its models build, and its code runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from c_programs import compiled, run_checked
from wheels import REPOSITORY, STANDALONE, Installed, install, pip_wheel, project_head

PAGE = (REPOSITORY / "docs" / "state.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


SOURCES = {
    named[1]: block
    for block in blocks("python")
    if (named := re.match(r"# (streams/\w+\.py)\n", block))
}
CALLS = [block for block in blocks("python") if block not in SOURCES.values()]


def write_project(directory: Path, sources: dict[str, str], tables: list[str]) -> Path:
    """A project with modules and the tables of its models."""
    project = directory / "streams"
    (project / "streams").mkdir(parents=True)
    (project / "streams" / "__init__.py").touch()
    for name, text in sources.items():
        (project / name).write_text(text)
    settings = f'[tool.aotbuild]\nruntime = "{STANDALONE}"\ncpu-levels = ["x86-64-v3", "armv8"]\n'
    text = project_head("streams") + settings + "\n".join(tables)
    (project / "pyproject.toml").write_text(text)
    return project


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory, clean_python: Path) -> Installed:
    directory = tmp_path_factory.mktemp("streams")
    project = write_project(directory, SOURCES, blocks("toml"))
    return install(pip_wheel(project), directory / "installed", clean_python)


def test_the_models_of_the_page_build_and_its_code_runs(streams: Installed, tmp_path: Path) -> None:
    assert len(SOURCES) == 5
    assert len(CALLS) == 8
    code = f"import json, os, torch\nos.chdir({str(tmp_path)!r})\ntorch.manual_seed(0)\n"
    (one, other, logits) = streams.run(
        code + "\n".join(CALLS) + "\nprint(json.dumps([one.shape, other.shape, logits.shape]))"
    )
    assert (one, other, logits) == ([1, 21], [1, 21], [2, 10])
    assert (tmp_path / "stream.safetensors").exists()


def test_the_log_says_what_the_page_says(streams: Installed) -> None:
    told, *_ = blocks("text")
    assert told.strip() in streams.output


def test_the_models_of_the_page_do_what_their_modules_do(streams: Installed) -> None:
    """Step by step, which the build does not compare: beside the eager modules."""
    code = """
import json, sys, torch
from streams import models
from streams.decoder import Decoder
from streams.filter import Filter
from streams.normaliser import Normaliser
from streams.reader import Reader

torch.manual_seed(1)
ids = lambda steps: torch.randint(0, 100, (1, steps))
sequences = {
    "reader": (Reader(), [(torch.rand(1, 8),) for _ in range(9)], {"batch": 1}),
    "filter": (Filter(), [(torch.rand(1, 2),) for _ in range(12)], {"batch": 1}),
    "normaliser": (Normaliser(), [(3 * torch.randn(rows, 8),) for rows in (5, 1, 9, 2)], {}),
    "decoder": (Decoder(), [(ids(n),) for n in (20, 1, 1, 7, 64)], {"batch": 1}),
}
told = {}
for name, (module, calls, sizes) in sequences.items():
    model = getattr(models, name)
    weights = {n: t for n, t in model.state_dict().items() if n in dict(module.named_parameters())}
    module.load_state_dict(weights, strict=False)
    state = model.new_state(**sizes)
    with torch.no_grad():
        for call in calls:
            torch.testing.assert_close(model(*call, state=state), module(*call))
    for buffer, tensor in module.named_buffers():
        torch.testing.assert_close(state[buffer], tensor)
    told[name] = len(calls)
print(json.dumps(told))
"""
    assert streams.run(code) == {"reader": 9, "filter": 12, "normaliser": 4, "decoder": 5}


def test_calls_that_the_page_says_are_refused(streams: Installed) -> None:
    setup = """
import torch
from streams.models import average, decoder, reader
full = decoder.new_state(batch=1)
decoder(torch.zeros(1, 60, dtype=torch.int64), state=full)
decoder(torch.zeros(1, 60, dtype=torch.int64), state=full)
wide, own = torch.zeros(4, 16), torch.zeros(4, 8)
busy, broken = reader.new_state(batch=1), decoder.new_state(batch=1)
busy._lock.acquire()
"""
    wrong = [
        (
            "decoder(torch.zeros(1, 9, dtype=torch.int64), state=full)",
            "StateError",
            "the state is full: 'layers.0.keys' has 120 of 128 entries, and this call adds 9",
        ),
        ("reader(torch.rand(1, 8), state=busy)", "StateError", "another call is using this state"),
        ("reader(torch.rand(2, 8), state=full)", "StateError", ", not of reader"),
        ("decoder(torch.tensor([[1000]]), state=broken)", "IndexError", "argument 'ids'"),
        (
            "decoder(torch.tensor([[1]]), state=broken)",
            "StateError",
            "a call that failed has left this state half changed",
        ),
        ("reader.new_state()", "TypeError", "is missing the size 'batch'"),
        ("average(wide[:, ::2], own)", "ValueError", "has gaps"),
        ("average(own, own)", "ValueError", "shares memory"),
        ("average(own.requires_grad_(), own * 1)", "ValueError", "requires gradients"),
    ]
    streams.refuses(setup, wrong)
    said = [message for _, kind, message in wrong if kind == "StateError"]
    assert len(said) == 4
    assert [message for message in said if message not in PAGE] == []


def test_a_call_with_a_state_breaks_a_graph_of_torch_compile(streams: Installed) -> None:
    code = """
import json, torch
from streams.models import reader

def twice(line, state):
    return reader(line + 1, state=state) * 2

state, other = reader.new_state(batch=2), reader.new_state(batch=2)
line = torch.rand(2, 8)
found = torch.compile(twice, backend="eager")(line, state)
torch.testing.assert_close(found, twice(line, other))
torch.testing.assert_close(state["hidden"], other["hidden"])
torch._dynamo.reset()
try:
    torch.compile(twice, backend="eager", fullgraph=True)(line, state)
    print(json.dumps("whole"))
except Exception as error:
    print(json.dumps(type(error).__module__))
"""
    assert streams.run(code).startswith("torch._dynamo")


def test_the_c_program_of_the_page(streams: Installed, tmp_path: Path) -> None:
    (program,) = blocks("c")
    (tmp_path / "scan.c").write_text(program)
    interface = streams.directory / "streams" / "models" / "_c"
    printed = run_checked([compiled(tmp_path / "scan.c", interface, "-std=c99")])
    code = """
import json, torch
from streams.models import reader
state = reader.new_state(batch=2)
for _ in range(28):
    logits = reader(torch.zeros(2, 8), state=state)
print(json.dumps(f"{logits[0, 0]:.4f}"))
"""
    assert printed.strip() == streams.run(code)


WRONG = """
import torch
from torch import nn


class Wrong(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4))
        self.plain = torch.zeros(4)
        self.calls = 0
        self.register_buffer("past", torch.zeros(1, 1, 4))
        self.register_buffer("total", torch.zeros(4))

    def forward(self, x):
        {}
        return x * 2
"""
REFUSED = {
    "the buffer past changes its shape in a call": (
        "self.past = torch.cat([self.past.expand(x.shape[0], -1, -1), x[:, None]], 1)"
    ),
    "the buffer total changes its dtype in a call": "self.total = self.total.double() + x.sum(0)",
    "forward() changes the parameter weight": "with torch.no_grad(): self.weight.add_(x.sum(0))",
    "forward() changes the tensor plain, which is no buffer": "self.plain.add_(x.sum(0))",
    "forward() gives something else when it is called again with the same arguments": (
        "self.calls += 1; x = x + self.calls"
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_the_page_says_is_refused(message: str, tmp_path: Path) -> None:
    assert message in PAGE
    table = '[tool.aotbuild.models.wrong]\nsource = "streams.wrong:Wrong"\n'
    table += 'inputs.x = { shape = ["batch", 4] }\ndims.batch = { max = 8 }\n'
    source = WRONG.format(REFUSED[message])
    project = write_project(tmp_path, {"streams/wrong.py": source}, [table])
    done = subprocess.run(
        [sys.executable, "-P", "-m", "aotbuild", "check", "--project", str(project)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert message in done.stderr
    for told in blocks("text")[1:]:
        if message in told:
            assert told in done.stderr
