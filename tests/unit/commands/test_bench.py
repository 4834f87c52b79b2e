"""``aotbuild bench``: what is measured, its figures, and what is slower than before."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from page_blocks import first_project
from pydantic import TypeAdapter
from samples import sample_manifest, sample_variant, write_package

from aotbuild.__main__ import main
from aotbuild.commands.bench import command
from aotbuild.commands.bench.report import BenchReport, Case, compared, interval, made_case, slower
from aotbuild.commands.bench.worker import _samples
from aotbuild.runtime.dims import Dim

Runs = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Lets a figure stand for what processes measure; returns what they were asked."""

    def set_time(seconds: float = 1e-3) -> list[dict[str, Any]]:
        asked: list[dict[str, Any]] = []

        def run(case: Any, directory: Path, common: dict[str, Any]) -> dict[str, Any]:
            asked.append(
                {
                    **common,
                    "package": case.package,
                    "model": case.model.name,
                    "level": case.level,
                    "arm": case.arm,
                    "sizes": dict(case.sizes),
                    "directory": directory,
                }
            )
            if case.arm == "onnxruntime":
                return {"left_out": "it takes strings"}
            slower = 3 if case.arm else 1
            times = [seconds * factor * slower for factor in (0.9, 1, 1.1)]
            figures = {"import": 0.01, "first": 0.002, "memory": 3_000_000}
            if case.arm:
                return {"target": case.arm, "samples": times, **figures, "error": 2e-7}
            return {"target": f"cpu-{case.level}", "samples": times, **figures}

        monkeypatch.setattr(command, "_run", run)
        return asked

    return set_time


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with two models, of which one was compiled twice."""
    both = [sample_variant(target=f"cpu-{level}", library=f"net/{level}.so") for level in "ab"]
    directory = tmp_path / "demo"
    write_package(
        directory,
        [
            sample_manifest(variants=both, dims={"batch": Dim(2, None, 2)}),
            sample_manifest("other", variants=[sample_variant("other", platform="plan9-mips")]),
            sample_manifest("third"),
        ],
    )
    return directory


def test_each_model_is_measured_as_compiled_for_each_target(package: Path, runs: Runs) -> None:
    asked = runs()
    assert main(["bench", str(package), "--seconds", "0.6", "--threads", "3"]) == 0
    cases = [(each["model"], each["level"], each["sizes"]["batch"]) for each in asked]
    assert len(cases) == 3 * len(set(cases))
    assert cases[:6] == [
        *(("net", "a", 2), ("net", "b", 2), ("net", "a", 16), ("net", "b", 16)),
        *(("third", "sample", 1), ("third", "sample", 16)),
    ]
    assert cases[6:12] == cases[:6]  # in turns
    assert {each["threads"] for each in asked} == {3}
    assert {round(each["seconds"], 6) for each in asked} == {0.2}
    assert {each["directory"] for each in asked} == {package.parent}


def test_sizes_and_models_can_be_named(package: Path, runs: Runs) -> None:
    asked = runs()
    assert main(["bench", str(package), "third", "--size", "batch=3,5,9"]) == 0
    assert [each["sizes"] for each in asked[:3]] == [{"batch": 3}, {"batch": 5}, {"batch": 9}]
    assert {each["model"] for each in asked} == {"third"}


def test_figures_are_told(
    package: Path, runs: Runs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs(2e-3)
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    assert main(["bench", str(package), "third", "--size", "batch=3"]) == 0
    _, head, row = capsys.readouterr().out.splitlines()
    assert head.split() == [
        *("model", "compiled", "for", "sizes", "median", "interval", "p90", "calls/s"),
        *("first", "import", "memory"),
    ]
    assert " ".join(row.split()) == (
        "third cpu-sample batch=3 2 ms 1.8 ms to 2.2 ms 2.2 ms 500 2 ms 10 ms 3.0 MB"
    )


def test_a_busy_machine_is_told(
    package: Path, runs: Runs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs()
    monkeypatch.setattr("os.getloadavg", lambda: (2.5, 0.0, 0.0))
    assert main(["bench", str(package), "third"]) == 0
    assert "note: 2.5 processes wanted to run when it began" in capsys.readouterr().out


def test_other_runtimes_are_measured_beside(
    package: Path, runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = first_project(tmp_path / "project")
    asked = runs(1e-3)
    arguments = ["bench", str(package), "net", "--size", "batch=4", "--project", str(project)]
    beside = [word for arm in ("eager", "onnxruntime") for word in ("--beside", arm)]
    picture = tmp_path / "bench.svg"
    assert main([*arguments, *beside, "--plot", str(picture)]) == 0
    assert {each["project"] for each in asked} == {str(project)}
    assert [each["arm"] for each in asked[:4]] == ["", "", "eager", "onnxruntime"]
    # What cannot run it is not asked again.
    assert [each["arm"] for each in asked[4:]] == ["", "", "eager", "", "", "eager"]
    _, head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[-5:] == ["of", "the", "best", "differs", "by"]
    assert [" ".join(row.split())[:24] for row in rows[:3]] == [
        "net cpu-a batch=4 1 ms 9",
        "net cpu-b batch=4 1 ms 9",
        "net eager batch=4 3 ms 2",
    ]
    assert rows[2].split()[-2:] == ["3.00", "2e-07"]
    assert rows[3] == "left out: net by onnxruntime: it takes strings"
    root = ET.fromstring(picture.read_text())  # noqa: S314  # our own
    bars = [float(bar.attrib["width"]) for bar in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert bars[0] == bars[1] == pytest.approx(bars[2] / 3, abs=0.1)
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"net, batch = 4", "cpu-a", "eager", "3 ms"} <= set(texts)


def test_reports_with_other_runtimes_are_data(
    package: Path, runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = first_project(tmp_path / "project")
    runs(1e-3)
    arguments = ["bench", str(package), "net", "--project", str(project), "--beside", "eager"]
    assert main([*arguments, "--json"]) == 0
    out = capsys.readouterr().out
    report = TypeAdapter(BenchReport).validate_json(out, strict=True, extra="forbid")
    assert [case.error for case in report.cases] == [None, None, 2e-7] * 2
    # Only what was compiled has to stay as fast as it was.
    (tmp_path / "old.json").write_text(out.replace('"median": 0.003', '"median": 0.001'))
    old = ["--against", str(tmp_path / "old.json"), "--fail-above", "5%"]
    assert main([*arguments, *old]) == 0


def test_other_runtimes_need_torch_and_a_project(
    package: Path,
    runs: Runs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"pyproject\.toml"):
        main(["bench", str(package), "--beside", "eager"])
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SystemExit, match="torch is not installed, which makes the models for them"):
        main(["bench", str(package), "--beside", "eager"])


def test_a_plot_that_cannot_be_written_is_told(package: Path, runs: Runs, tmp_path: Path) -> None:
    runs()
    picture = tmp_path / "missing" / "bench.svg"
    with pytest.raises(SystemExit, match="the plot cannot be written") as told:
        main(["bench", str(package), "--plot", str(picture)])
    assert str(picture) in str(told.value)


def test_an_older_report_is_compared(
    package: Path, runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "old.json"
    runs(1e-3)
    assert main(["bench", str(package), "--json"]) == 0
    out = capsys.readouterr().out
    TypeAdapter(BenchReport).validate_json(out, strict=True, extra="forbid")
    report.write_text(out)
    arguments = ["bench", str(package), "--against", str(report), "--fail-above", "5%"]
    runs(1.04e-3)
    assert main(arguments) == 0
    assert "1.04" in capsys.readouterr().out
    runs(1.06e-3)
    assert main(arguments) == 1
    assert "net by cpu-a at batch = 2 takes 1.06 of what it took: 1.06 ms, before 1 ms" in (
        capsys.readouterr().err
    )
    # What is only in one of them is not compared.
    assert main([*arguments, "--size", "batch=4"]) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "this is no report of bench"),
        ("[]", "this is no report of bench"),
        ('{"format": 1, "cases": [{}]}', "this is no report of bench"),
        ('{"format": 9}', "the report has format 9"),
    ],
)
def test_what_is_no_report_is_told(text: str, said: str, package: Path, tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(text)
    with pytest.raises(SystemExit) as ended:
        main(["bench", str(package), "--against", str(tmp_path / "old.json")])
    assert said in str(ended.value.code)


@pytest.mark.parametrize(
    ("models", "said"),
    [
        (["nett"], "no model of these names is in it: nett"),
        (["other"], "no model of these names is in it: other"),
    ],
)
def test_nothing_to_measure_is_told(models: list[str], said: str, package: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", str(package), *models])
    assert "there is nothing to measure" in str(ended.value.code)
    assert said in str(ended.value.code)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "batch"], '"batch" names no sizes'),
        (["--size", "batch=x"], '"batch=x" names no sizes'),
        (["--fail-above", "5%"], "--fail-above is for --against REPORT"),
        (["--against", "a", "--fail-above", "much"], '"much" is no percentage'),
        (["--threads", "-1"], "-1 is not in the range"),
    ],
)
def test_wrong_arguments_are_told(
    arguments: list[str], said: str, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", str(package), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_the_interval_has_the_median_as_often_as_it_says() -> None:
    draw = random.Random(0)  # noqa: S311
    inside = 0
    for _ in range(2000):
        samples = sorted(draw.expovariate(1) for _ in range(41))
        low, high = interval(samples)
        inside += low <= 0.6931471805599453 <= high
    assert 0.94 < inside / 2000 < 0.985


def test_figures_of_a_case() -> None:
    runs = [
        {"target": "cpu-a", "samples": [3.0, 1.0], "first": 9.0, "import": 0.5, "memory": 10},
        {"target": "cpu-a", "samples": [2.0, 10.0], "first": 7.0, "import": 0.7, "memory": 30},
    ]
    case = made_case("net", {"batch": 2}, runs)
    assert (case.median, case.p90, case.samples) == (2.5, 10.0, 4)
    assert (case.first, case.imports, case.memory) == (8.0, 0.6, 20)
    assert case.low <= case.median <= case.high
    assert case.label == "net by cpu-a at batch = 2"


def test_only_what_is_slower_is_told() -> None:
    def report(**times: float) -> BenchReport:
        cases = [Case(n, "cpu-a", {}, t, t, t, t, t, t, 0, 1) for n, t in times.items()]
        return BenchReport("", "", 1, 1, 0.0, cases)

    found = compared(report(a=1.2, b=0.5, c=1.0), report(a=1.0, b=1.0, d=1.0))
    assert [each.case.model for each in found] == ["a", "b"]
    assert [each.case.model for each in slower(found, 10)] == ["a"]
    assert slower(found, 30) == []


def test_short_calls_are_measured_several_at_once() -> None:
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1

    samples = _samples(call, 0.0)
    assert len(samples) == 10
    assert calls > 50
    assert 0 < statistics.median(samples) < 1e-4
