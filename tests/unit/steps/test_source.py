"""From ``source`` to a module: imports of the project's code, and what goes wrong in them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from samples import run_python

from aotbuild.config.schema import Model
from aotbuild.errors import SourceError, WeightsError
from aotbuild.steps.export.source import build_module
from aotbuild.steps.project_code import importing

CPU = torch.device("cpu")
NETWORK = """\
import functools

import torch


class Net(torch.nn.Module):
    def __init__(self, width=3, *, bias=True):
        super().__init__()
        self.linear = torch.nn.Linear(width, 2, bias=bias)
        self.dropout = torch.nn.Dropout()


class Outer:
    Inner = Net


def make(width):
    return Net(width)


def make_nothing(width=3):
    return width


def make_error():
    raise LookupError("no such size")


instance = Net(7).train()
partial = functools.partial(Net, 5)
number = 3
"""


@pytest.fixture
def written(tmp_path: Path, fresh_imports: None) -> Callable[..., Path]:
    """Writes the modules of a package ``demo``."""
    del fresh_imports

    def write(**modules: str) -> Path:
        (tmp_path / "demo").mkdir(exist_ok=True)
        (tmp_path / "demo" / "__init__.py").touch()
        for name, text in modules.items():
            (tmp_path / "demo" / f"{name}.py").write_text(text, encoding="utf-8")
        return tmp_path

    return write


@pytest.fixture
def demo(written: Callable[..., Path]) -> Path:
    """A project with the modules above."""
    return written(network=NETWORK)


def build(project: Path, source: str, **more: Any) -> torch.nn.Module:
    with importing([str(project)], "demo.models"):
        return build_module("net", Model(source=source, **more), project, CPU)


def refused(project: Path, source: str, **more: Any) -> SourceError:
    with pytest.raises(SourceError) as caught:
        build(project, source, **more)
    assert caught.value.where.startswith("pyproject.toml: tool.aotbuild.models.net")
    assert caught.value.fix
    return caught.value


def width(module: torch.nn.Module) -> int:
    linear = module.linear
    assert isinstance(linear, torch.nn.Linear)
    return linear.in_features


def test_a_class_is_called_without_arguments(demo: Path) -> None:
    assert width(build(demo, "demo.network:Net")) == 3


def test_a_class_takes_args_and_kwargs(demo: Path) -> None:
    module = build(demo, "demo.network:Net", args=[9], kwargs={"bias": False})
    assert width(module) == 9
    assert isinstance(module.linear, torch.nn.Linear)
    assert module.linear.bias is None


@pytest.mark.parametrize(
    ("source", "args", "expected"),
    [
        ("demo.network:make", [4], 4),
        ("demo.network:partial", [], 5),
        ("demo.network:instance", [], 7),
        ("demo.network:Outer.Inner", [6], 6),
    ],
)
def test_a_source_may_be_a_factory_an_instance_or_nested(
    demo: Path, source: str, args: list[Any], expected: int
) -> None:
    assert width(build(demo, source, args=args)) == expected


@pytest.mark.parametrize("source", ["demo.network:Net", "demo.network:instance"])
def test_a_module_is_made_ready_for_inference(demo: Path, source: str) -> None:
    module = build(demo, source)
    assert not any(child.training for child in module.modules())
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_the_declared_weights_are_loaded(demo: Path) -> None:
    source = torch.nn.Linear(3, 2)
    state = {f"linear.{name}": value.detach() for name, value in source.named_parameters()}
    save_file(state, demo / "net.safetensors")
    module = build(demo, "demo.network:Net", weights="net.safetensors")
    assert isinstance(module.linear, torch.nn.Linear)
    assert torch.equal(module.linear.weight, source.weight)


def test_weights_that_do_not_fit_are_told_with_their_place(demo: Path) -> None:
    save_file({"other": torch.zeros(1)}, demo / "net.safetensors")
    with pytest.raises(WeightsError, match=r'"net\.safetensors" does not fit') as caught:
        build(demo, "demo.network:Net", weights="net.safetensors")
    assert caught.value.where == "pyproject.toml: tool.aotbuild.models.net.weights"


@pytest.mark.parametrize("source", ["absent_package.network:Net", "demo.netwrok:Net"])
def test_a_module_that_does_not_exist_is_told(demo: Path, source: str) -> None:
    name = source.partition(":")[0]
    error = refused(demo, source)
    assert error.what == f'the module "{name}" cannot be imported'
    assert error.where.endswith("models.net.source")
    assert "ModuleNotFoundError: No module named" in error.why
    assert error.fix.startswith("correct the module's name")


@pytest.mark.parametrize("missing", ["absent_package", "demo.absent", "dem", "demo.other.absent"])
def test_a_missing_import_of_the_module_is_told_with_its_line(
    written: Callable[..., Path], missing: str
) -> None:
    project = written(other="import torch\n\nimport MISSING\n".replace("MISSING", missing))
    error = refused(project, "demo.other:Net")
    assert error.what == 'the module "demo.other" cannot be imported'
    assert "ModuleNotFoundError: No module named" in error.why
    assert f"at demo/other.py:3 in <module>: import {missing}" in error.why
    assert "build-system.requires" in error.fix


@pytest.mark.parametrize(
    ("text", "why", "line"),
    [
        ("import torch\nx = 1 / 0\n", "ZeroDivisionError: division by zero", "2 in <module>"),
        (
            "def f():\n    raise ValueError('odd')\n\nf()\n",
            "ValueError: odd",
            "2 in f: raise ValueError('odd')",
        ),
        ("raise KeyError\n", "KeyError", "1 in <module>"),
        ("import torch\ntorch.zeros(2) @ torch.zeros(3)\n", "RuntimeError: ", "2 in <module>"),
    ],
)
def test_an_error_while_importing_is_told_with_the_users_line(
    written: Callable[..., Path], text: str, why: str, line: str
) -> None:
    error = refused(written(broken=text), "demo.broken:Net")
    assert error.why.startswith(why)
    assert f"at demo/broken.py:{line}" in error.why


def test_a_syntax_error_is_told_with_file_and_line(written: Callable[..., Path]) -> None:
    error = refused(written(broken="x = 1\ndef f(:\n"), "demo.broken:Net")
    assert error.why.startswith("SyntaxError: ")
    assert "(broken.py, line 2)" in error.why


def test_a_module_that_exits_while_it_is_imported_is_told(written: Callable[..., Path]) -> None:
    project = written(script="import sys\nsys.exit(0)\n")
    assert "SystemExit" in refused(project, "demo.script:Net").why


@pytest.mark.parametrize(
    ("source", "missing", "fix"),
    [
        ("demo.network:Nett", "Nett", 'did you mean "Net"?'),
        ("demo.network:Outer.Iner", "Iner", 'did you mean "Inner"?'),
        ("demo.network:qqqq", "qqqq", 'name something that "demo.network" defines'),
    ],
)
def test_a_missing_attribute_is_told_with_a_suggestion(
    demo: Path, source: str, missing: str, fix: str
) -> None:
    error = refused(demo, source)
    assert error.what == f'"demo.network" has no attribute "{missing}"'
    assert error.fix == fix


def test_a_value_that_is_no_module_is_told(demo: Path) -> None:
    error = refused(demo, "demo.network:number")
    assert error.what == '"demo.network:number" is no torch.nn.Module'
    assert error.why == "it is builtins.int"


def test_a_factory_that_returns_no_module_is_told(demo: Path) -> None:
    error = refused(demo, "demo.network:make_nothing")
    assert error.what == '"demo.network:make_nothing" returned no torch.nn.Module'
    assert error.why == "it returned builtins.int"


def test_a_factory_that_fails_is_told_with_the_users_line(demo: Path) -> None:
    error = refused(demo, "demo.network:make_error")
    line = NETWORK[: NETWORK.index("raise LookupError")].count("\n") + 1
    assert error.what == 'calling "demo.network:make_error" failed'
    assert error.why == (
        "LookupError: no such size\n"
        f'at demo/network.py:{line} in make_error: raise LookupError("no such size")'
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's own
def test_a_torchscript_module_is_told(written: Callable[..., Path]) -> None:
    project = written(old="import torch\n\nnet = torch.jit.script(torch.nn.Linear(3, 2))\n")
    error = refused(project, "demo.old:net")
    assert error.what == '"demo.old:net" is a TorchScript module'


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's own
def test_what_torch_compile_wraps_is_taken_out(written: Callable[..., Path]) -> None:
    project = written(eager="import torch\n\nnet = torch.compile(torch.nn.Linear(3, 2))\n")
    assert type(build(project, "demo.eager:net")) is torch.nn.Linear


@pytest.mark.parametrize("source", ["demo.reading:make", "demo.early:make"])
def test_a_file_that_is_opened_relative_to_the_current_directory_is_told(
    written: Callable[..., Path], source: str
) -> None:
    opened = 'open("demo/sizes.json")\n'
    project = written(reading=f"def make():\n    {opened}", early=opened)
    error = refused(project, source)
    assert "No such file or directory: 'demo/sizes.json'" in error.why
    assert "beside the module" in error.fix


@pytest.mark.parametrize("more", [{"args": [3, 4]}, {"kwargs": {"size": 1}}])
def test_wrong_arguments_of_a_factory_are_told(demo: Path, more: dict[str, Any]) -> None:
    error = refused(demo, "demo.network:make", **more)
    assert error.what == 'calling "demo.network:make" failed'
    assert "TypeError: make()" in error.why
    assert "args = [...] and kwargs = { ... }" in error.fix


@pytest.mark.parametrize(("key", "value"), [("args", [3]), ("kwargs", {"width": 3})])
def test_an_instance_takes_no_arguments(demo: Path, key: str, value: Any) -> None:
    error = refused(demo, "demo.network:instance", **{key: value})
    assert "is an instance and takes no arguments" in error.what
    assert error.where.endswith(f"models.net.{key}")


@pytest.mark.parametrize(
    "line",
    [
        "from .models import net, other",
        "from demo.models import net",
        "import demo.models",
        "from . import models\n\nnet = models.net",
    ],
)
def test_the_package_to_be_built_may_be_imported_by_the_projects_own(demo: Path, line: str) -> None:
    (demo / "demo" / "__init__.py").write_text(f"{line}\n")
    assert width(build(demo, "demo.network:Net")) == 3


def test_a_compiled_model_that_is_called_while_it_is_built_is_told(demo: Path) -> None:
    (demo / "demo" / "__init__.py").write_text("from .models import net\n\nnet(1)\n")
    error = refused(demo, "demo.network:Net")
    assert '"demo.models.net" is called while it is being compiled' in error.block()
    assert "call compiled models in functions, not when a module is imported" in error.block()
    assert "demo/__init__.py:3" in error.block()


def test_importing_leaves_the_interpreter_as_it_was(demo: Path) -> None:
    before = (list(sys.path), list(sys.meta_path), sys.dont_write_bytecode)

    def fail() -> None:
        with importing([str(demo), "/absent"], "demo.models"):
            assert sys.path[:2] == [str(demo), "/absent"]
            raise ValueError("odd")

    with pytest.raises(ValueError, match="odd"):
        fail()
    assert (list(sys.path), list(sys.meta_path), sys.dont_write_bytecode) == before


def test_importing_writes_nothing_into_the_source_tree(demo: Path) -> None:
    build(demo, "demo.network:Net")
    assert not list(demo.rglob("__pycache__"))


TRACKED = """
import json, sys
from pathlib import Path
project = Path(sys.argv[1])
from aotbuild.steps.project_code import FileTracker, importing
tracker = FileTracker(project)
with importing([str(project / "src")], "demo.models"):
    import demo.network
files = tracker.files()
print(json.dumps([str(path.relative_to(project)) for path in files]))
"""


def test_the_files_that_a_model_was_made_from_are_noted(tmp_path: Path) -> None:
    project = tmp_path / "project"
    source = project / "src" / "demo"
    packages = project / ".venv" / "lib" / "site-packages"
    for directory in (source / "deep", packages):
        directory.mkdir(parents=True)
    texts = {
        source / "__init__.py": "",
        source / "network.py": (
            "import os, pathlib, sys\n"
            f"sys.path.append({str(packages)!r})\n"
            "import installed\n"
            "from . import used\n"
            "from .deep import namespaced\n"
            "here = pathlib.Path(__file__).parent\n"
            "(here / 'sizes.json').read_text()\n"
            "os.close(os.open(here / 'raw.bin', os.O_RDONLY))\n"
            "(here / 'log.txt').write_text('')\n"
            "(here / 'absent.txt').exists()\n"
        ),
        source / "used.py": "",
        source / "unused.py": "",
        source / "deep" / "namespaced.py": "",
        source / "sizes.json": "{}",
        source / "raw.bin": "",
        source / "unread.json": "{}",
        packages / "installed.py": "",
        project / "pyproject.toml": "",
    }
    for path, text in texts.items():
        path.write_text(text)
    assert run_python(TRACKED, str(project), cwd=project) == [
        "src/demo/__init__.py",
        "src/demo/deep/namespaced.py",
        "src/demo/network.py",
        "src/demo/raw.bin",
        "src/demo/sizes.json",
        "src/demo/used.py",
    ]


def test_a_module_of_no_numbers_is_refused_unless_it_is_meant(
    written: Callable[..., Path],
) -> None:
    text = "import torch\n\ndef make():\n    net = torch.nn.Linear(2, 1)\n"
    text += "    net.bias.data[0] = float('nan')\n    return net\n"
    project = written(diverged=text)
    with pytest.raises(WeightsError) as caught:
        build(project, "demo.diverged:make")
    assert caught.value.what == "demo.diverged:make: the parameter bias is not finite"
    assert caught.value.where == "pyproject.toml: tool.aotbuild.models.net.source"
    assert build(project, "demo.diverged:make", check_finite=False) is not None


UNREADY = """\
import torch


class NoInit(torch.nn.Module):
    def __init__(self):
        self.size = 1


class Meta(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4, device="meta")


class Lazy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.LazyLinear(4)


class Sparse(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("w", torch.eye(4).to_sparse())
"""


@pytest.mark.parametrize("name", ["NoInit", "Meta", "Lazy", "Sparse"])
def test_a_module_that_cannot_be_made_ready_is_told(
    name: str, written: Callable[..., Path]
) -> None:
    project = written(unready=UNREADY)
    model = Model(source=f"demo.unready:{name}", weights="random")
    with importing([str(project)], "demo.models"), pytest.raises(SourceError) as raised:
        build_module("net", model, project, CPU)
    assert raised.value.what == f'"demo.unready:{name}" cannot be made ready for inference'
    assert raised.value.fix
