"""What torch tells of failures that it raises afterwards is hidden, unless someone wants it."""

from __future__ import annotations

import logging
import sys

import pytest

from aotbuild.torch_output import quieten_torch, without_dumps


@pytest.fixture(autouse=True)
def no_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AOTBUILD_DEBUG", raising=False)


def test_what_torch_logs_before_it_raises_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("torch", "torch.anything.of_its_own", "torchvision", "mine")
    levels = {name: logging.getLogger(name).level for name in names}
    logging.getLogger("torch.anything.of_its_own").setLevel(logging.WARNING)
    try:
        monkeypatch.setenv("TORCH_LOGS", "+export")
        quieten_torch()
        assert logging.getLogger("torch").level == levels["torch"]
        monkeypatch.delenv("TORCH_LOGS")
        quieten_torch()
        for name in names:
            shown = logging.getLogger(name).isEnabledFor(logging.CRITICAL)
            assert shown == (name in {"torchvision", "mine"})
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize("debugging", [False, True])
def test_what_is_printed_and_logged_while_tracing_is_hidden_unless_debugging(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, debugging: bool
) -> None:
    monkeypatch.setenv("AOTBUILD_DEBUG", str(int(debugging)))
    before = logging.root.manager.disable
    with without_dumps():
        sys.stdout.write("graph")
        sys.stderr.write("dump")
        assert logging.getLogger("mine").isEnabledFor(logging.ERROR) == debugging
    assert capsys.readouterr() == (("graph", "dump") if debugging else ("", ""))
    assert logging.root.manager.disable == before
