"""Variables of the environment with values that nothing understands."""

from __future__ import annotations

import pytest

from aotbuild.runtime.errors import ModelLoadError
from aotbuild.runtime.variables import check_variables

WRONG = {
    ("AOTBUILD_ENGINE", "fast"): "AOTBUILD_ENGINE=fast: expected native or torch",
    ("AOTBUILD_FALLBACK", "x"): "AOTBUILD_FALLBACK=x: expected warn, silent or error",
    ("AOTBUILD_VERIFY", "Full"): "AOTBUILD_VERIFY=Full: expected quick or full",
    ("AOTBUILD_KEPT_MB", "64MB"): "AOTBUILD_KEPT_MB=64MB: expected a whole number, 0 or more",
    ("AOTBUILD_KEPT_MB", "-1"): "AOTBUILD_KEPT_MB=-1: expected a whole number, 0 or more",
    ("AOTBUILD_KEPT_MB", "1e3"): "AOTBUILD_KEPT_MB=1e3: expected a whole number, 0 or more",
    ("AOTBUILD_NUM_THREADS", "0"): "AOTBUILD_NUM_THREADS=0: expected a whole number, 1 or more",
    ("AOTBUILD_NUM_THREADS", "1.5"): "AOTBUILD_NUM_THREADS=1.5: expected a whole number, 1 or more",
    ("AOTBUILD_NUM_THREADS", "x"): "AOTBUILD_NUM_THREADS=x: expected a whole number, 1 or more",
}
RIGHT = {
    "AOTBUILD_ENGINE": ("", "native", "torch"),
    "AOTBUILD_FALLBACK": ("", "error"),
    "AOTBUILD_KEPT_MB": ("", "0", "512"),
    "AOTBUILD_NUM_THREADS": ("", "1", "12"),
    "AOTBUILD_VERIFY": ("", "full"),
}


@pytest.mark.parametrize(("variable", "text"), WRONG.items())
def test_a_wrong_value_is_refused(
    variable: tuple[str, str], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(*variable)
    with pytest.raises(ModelLoadError) as error:
        check_variables()
    assert str(error.value) == text


@pytest.mark.parametrize("name", RIGHT)
def test_right_values_are_not(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in RIGHT[name]:
        monkeypatch.setenv(name, value)
        check_variables()
