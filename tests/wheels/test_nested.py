"""Arguments that nest, and arguments that are constants."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from wheels import Installed

SETUP = """
import json, torch
from nested import modules
from nested.models import decoder, recommender

def cache(batch, past):
    return tuple({"k": torch.randn(batch, past, 16), "v": torch.randn(batch, past, 16)}
                 for _ in range(2))

def request(batch):
    return {"items": torch.randint(0, 50, (batch, 7)), "user": {"dense": torch.rand(batch, 4)}}
"""


@pytest.fixture(scope="module")
def nested(installed: Callable[[str], Installed]) -> Installed:
    return installed("nested")


def test_a_cache_goes_in_and_out_at_every_size(nested: Installed) -> None:
    kinds = nested.run(
        SETUP
        + """
for batch, past in [(1, 1), (1, 60), (8, 1), (3, 17), (8, 60)]:
    ids, state = torch.randint(0, 30, (batch, 1)), cache(batch, past)
    with torch.no_grad():
        expected = modules.Decoder().eval()(ids, state)
    actual = decoder(ids, state)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    again = decoder(cache=list(state), ids=ids, causal=True)  # a list serves as a tuple
    torch.testing.assert_close(again, expected, rtol=1e-4, atol=1e-5)
print(json.dumps([type(actual[1]).__name__, type(actual[1][0]).__name__]))
"""
    )
    assert kinds == ["tuple", "dict"]


def test_a_dict_of_inputs_and_a_mode(nested: Installed) -> None:
    nested.run(
        SETUP
        + """
for batch in (1, 2, 17, 64):
    given = request(batch)
    with torch.no_grad():
        expected = modules.Recommender().eval()(given, "probability", temperature=2.0)
    for actual in (recommender(given), recommender(given, "probability", temperature=2.0)):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    reordered = dict(reversed(given.items()))
    torch.testing.assert_close(recommender(reordered), expected, rtol=1e-4, atol=1e-5)
print(1)
"""
    )


WRONG = [
    ("decoder(ids, cache(2, 3)[:1])", "TypeError", "'cache' must be a tuple of 2, got tuple of 1"),
    ("decoder(ids, None)", "TypeError", "'cache' must be a tuple of 2, got NoneType"),
    (
        'decoder(ids, ({"k": 1}, {"k": 1}))',
        "TypeError",
        "argument 'cache[0]' must be a dict with the keys 'k', 'v', got the keys 'k'",
    ),
    (
        'decoder(ids, ({"k": 1, "v": 2},) + cache(2, 3)[1:])',
        "TypeError",
        "'cache[0][\"k\"]' must be a torch.Tensor, got int",
    ),
    (
        "decoder(ids, cache(2, 3)[:1] + cache(2, 4)[1:])",
        "ValueError",
        "past is 4, but 3 in 'cache[0][\"k\"]'",
    ),
    ("decoder(ids, cache(2, 3), False)", "ValueError", "'causal' is always True"),
    ("decoder(ids, cache(2, 3), scale=0.5)", "ValueError", "'scale' is always None"),
    ('recommender(request(2), "raw")', "ValueError", "'mode' is always 'probability'"),
    ("recommender(request(2), temperature=1)", "ValueError", "'temperature' is always 2.0"),
    ("recommender({})", "TypeError", "'batch' must be a dict with the keys 'items', 'user'"),
    ("recommender()", "TypeError", "is missing required argument 'batch'"),
    ("recommender(request(2), mod=1)", "TypeError", "no argument 'mod'"),
]


def test_wrong_structures_and_constants_name_the_argument(nested: Installed) -> None:
    calls = [call for call, _, _ in WRONG]
    results = nested.run(
        SETUP
        + f"""
ids, said = torch.zeros(2, 1, dtype=torch.int64), []
for call in {calls!r}:
    try:
        eval(call)
        said.append(["no error", ""])
    except Exception as error:  # noqa: BLE001
        said.append([type(error).__name__, str(error)])
print(json.dumps(said))
"""
    )
    for (call, kind, message), (got, said) in zip(WRONG, results, strict=True):
        assert got == kind, (call, got, said)
        assert message in said, (call, said)


def test_a_dataclass_comes_back_as_itself_or_as_a_dict(nested: Installed) -> None:
    code = """
import json, sys, torch
{before}
from nested.models import scorer
x = torch.rand(3, 5)
scores = scorer(x)["scores"]
get = (lambda n: scores[n]) if isinstance(scores, dict) else (lambda n: getattr(scores, n))
torch.testing.assert_close(get("logits"), x * 2)
torch.testing.assert_close(get("best"), x.max(-1)[0])
assert get("loss") is None
print(json.dumps(type(scores).__module__ + "." + type(scores).__name__))
"""
    assert nested.run(code.replace("{before}", "")) == "nested.modules.Scores"
    hidden = code.replace("{before}", "sys.modules['nested.modules'] = None")
    assert nested.run(hidden) == "builtins.dict"


def test_the_signature_shows_the_structure_and_the_constants(nested: Installed) -> None:
    shown = nested.run(SETUP + "import inspect\nprint(json.dumps(str(inspect.signature(decoder))))")
    assert "ids: 'Tensor'" in shown
    assert "causal: bool = True" in shown
    assert "scale: None = None" in shown
    stub = nested.files["nested/models/__init__.pyi"].decode()
    assert "cache: tuple[dict[str, Tensor], dict[str, Tensor]]" in stub
    assert 'cache[0]["k"]: float32 tensor of shape (batch, past, 16)' in stub
