"""The C interface of stand-alone wheels: programs without Python run the same models."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest
from c_programs import CALLS, SANITIZERS, STRICT, block, compiled, run_checked
from wheels import REPOSITORY, STANDALONE, Installed

from aotbuild.cache.store import Store
from aotbuild.runtime.conditions import holds
from aotbuild.runtime.manifest import Manifest
from aotbuild.steps.c_compiler import compile_c
from aotbuild.steps.package.c_interface.conditions import condition_in_c
from aotbuild.steps.package.c_interface.described import described
from aotbuild.steps.package.c_interface.write import source_files
from aotbuild.toolchain import find_cxx

IMAGES = array("f", [(i * 37 % 101) / 101 * (i // 640 % 7) / 7 for i in range(360 * 64)])
BATCHES = """
import json
from array import array
from digits.models import net
images = array("f")
with open({path!r}, "rb") as file:
    images.frombytes(file.read())
scores = b""
for start in range(0, 360, 100):
    part = memoryview(images[start * 64 : (start + 100) * 64]).cast("B")
    scores += memoryview(net(part.cast("f", (part.nbytes // 256, 1, 8, 8)))).tobytes()
print(json.dumps(scores.hex()))
"""


@pytest.fixture(scope="module")
def example(installed: Callable[..., Installed]) -> Installed:
    return installed("example_project", STANDALONE)


@pytest.fixture(scope="module")
def interface(example: Installed) -> Path:
    return example.directory / "digits" / "models" / "_c"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "images.bin"
    path.write_bytes(IMAGES.tobytes())
    return path


@pytest.fixture(scope="module")
def scores(example: Installed, bare_python: Path, images: Path) -> array[float]:
    """What the package gives in Python."""
    printed = run_checked(
        [bare_python, "-P", "-c", BATCHES.format(path=str(images))],
        PYTHONPATH=str(example.directory),
    )
    values = array("f")
    values.frombytes(bytes.fromhex(json.loads(printed)))
    assert len(values) == 3600
    return values


def asked(python: Path, directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """``python -m digits.models`` with options."""
    return subprocess.run(
        [python, "-P", "-m", "digits.models", *options],
        env={"PYTHONPATH": str(directory)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_cpp_program_of_30_lines_predicts_the_same_digits(
    example: Installed, bare_python: Path, images: Path, scores: array[float], tmp_path: Path
) -> None:
    program = REPOSITORY / "example_project" / "cpp"
    assert (program / "predict.cpp").read_text() == block("cpp")
    assert (program / "CMakeLists.txt").read_text() == block("cmake")
    assert len(block("cpp").splitlines()) == 30
    done = asked(bare_python, example.directory, "--cmake-dir")
    cmake = shutil.which("cmake")
    assert cmake
    run_checked([cmake, "-S", program, "-B", tmp_path, f"-Ddigits_DIR={done.stdout.strip()}"])
    run_checked([cmake, "--build", tmp_path])
    # Not even by chance can it find a Python.
    printed = run_checked([tmp_path / "predict", images], PATH="/nowhere", PYTHONHOME="/nowhere")
    rows = (scores[i : i + 10] for i in range(0, 3600, 10))
    assert [int(line) for line in printed.split()] == [
        max(range(10), key=row.__getitem__) for row in rows
    ]


@pytest.mark.parametrize("components", ["net denoiser", "net digit", "OPTIONAL_COMPONENTS digit"])
def test_cmake_tells_which_models_there_are(
    interface: Path, tmp_path: Path, components: str
) -> None:
    needed = "" if components.startswith("OPTIONAL") else "COMPONENTS "
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(trial LANGUAGES NONE)\n"
        f"find_package(digits 0.1 CONFIG REQUIRED {needed}{components})\n"
    )
    cmake = shutil.which("cmake")
    assert cmake
    command = [cmake, "-S", str(tmp_path), "-B", str(tmp_path / "b")]
    command.append(f"-DCMAKE_PREFIX_PATH={interface}/cmake")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if components == "net digit":
        said = " ".join(done.stderr.split())
        assert "digits.models has no model digit for C; it has denoiser, net, reader" in said
    else:
        assert done.returncode == 0, done.stderr


def test_calls_in_c_give_the_same_bits(
    interface: Path, images: Path, scores: array[float], tmp_path: Path
) -> None:
    (tmp_path / "calls.c").write_text(CALLS)
    program = compiled(tmp_path / "calls.c", interface, "-O1")
    printed = run_checked([program, images, tmp_path / "scores"])
    assert (tmp_path / "scores").read_bytes() == scores.tobytes()
    (mapped,) = printed.splitlines()  # and nothing of Python or torch
    assert re.search(r"^[0-9a-f-]+ rw-p 00000000 .*/weights\.safetensors$", mapped)


def test_sanitizers_find_nothing(
    example: Installed, images: Path, scores: array[float], tmp_path: Path
) -> None:
    """The library is compiled again with them; the programs that tests compile are, too."""
    package = tmp_path / "digits" / "models"
    shutil.copytree(example.directory / "digits" / "models", package)
    manifests = [Manifest.read(path) for path in sorted(package.rglob("model.json"))]
    found = described("digits.models", {each.model: [each] for each in manifests})
    library = package / "_c" / "libdigits.so"
    options = ("-I.", "-shared", "-pthread", *SANITIZERS)
    compile_c(
        library,
        source_files(found, package),
        options,
        Store.of_build(package),
        "the interface",
        "here",
    )
    (tmp_path / "calls.c").write_text(CALLS)
    program = compiled(tmp_path / "calls.c", library.parent, "-O1", *SANITIZERS)
    run_checked([program, images, tmp_path / "scores"])
    assert (tmp_path / "scores").read_bytes() == scores.tobytes()


def test_the_c_program_of_the_page(interface: Path, tmp_path: Path) -> None:
    (tmp_path / "clean.c").write_text(block("c"))
    printed = run_checked([compiled(tmp_path / "clean.c", interface, "-std=c99")])
    first, *_, last = printed.splitlines()
    assert first.startswith("image 0: error ")
    assert last == block("text").strip()


def test_the_rust_program_of_the_page(
    interface: Path, tmp_path: Path, example: Installed, bare_python: Path
) -> None:
    rustc = shutil.which("rustc")
    if rustc is None:
        pytest.skip("there is no rustc")
    (tmp_path / "predict.rs").write_text(block("rust"))
    program = tmp_path / "predict"
    link = ["-L", str(interface), "-C", f"link-arg=-Wl,-rpath,{interface}"]
    run_checked([rustc, tmp_path / "predict.rs", *link, "-o", program])
    code = """
import json
from array import array
from digits.models import net
half = memoryview(array("f", [0.5] * 320)).cast("B").cast("f", (5, 1, 8, 8))
print(json.dumps([value for row in net(half).tolist() for value in row]))
"""
    expected = run_checked([bare_python, "-P", "-c", code], PYTHONPATH=str(example.directory))
    found = json.loads(run_checked([program]))
    assert array("f", found) == array("f", json.loads(expected))


@pytest.mark.parametrize("language", [("c", "c99"), ("c++", "c++17")])
@pytest.mark.parametrize("package", ["digits", "alone"])
def test_headers_are_of_plain_c_and_need_no_others(
    installed: Callable[..., Installed], package: str, language: tuple[str, str], tmp_path: Path
) -> None:
    wheel = installed("alone") if package == "alone" else installed("example_project", STANDALONE)
    include = wheel.directory / package / "models" / "_c" / "include"
    headers = sorted(path.relative_to(include) for path in include.rglob("*.h"))
    assert len(headers) == (8 if package == "alone" else 4)
    text = "".join((include / header).read_text() for header in headers)
    assert set(re.findall(r"#include (<.*>|\"[^_].*\")", text)) == {"<stddef.h>", "<stdint.h>"}
    assert max(map(len, text.splitlines())) <= 120
    for i, header in enumerate(headers):
        (tmp_path / f"{i}.c").write_text(f'#include "{header}"\n#include "{header}"\nint used;\n')
        command = [*find_cxx(), "-x", language[0], f"-std={language[1]}", *STRICT, f"-I{include}"]
        run_checked([*command, "-fsyntax-only", tmp_path / f"{i}.c"])


FOREIGN = """
import ctypes, json, sys
from array import array
from pathlib import Path

class Ordered(ctypes.Structure):
    names = ("output0", "output1", "output2", "output3", "output4", "output5")
    _fields_ = [
        field
        for name in names
        for field in ((name, ctypes.c_void_p), (f"{name}_shape", ctypes.c_int64 * 2))
    ] + [("owner", ctypes.c_void_p)]

class Inputs(ctypes.Structure):
    _fields_ = [("x", ctypes.c_void_p), ("rows", ctypes.c_int64)]

(library,) = Path(sys.argv[1]).glob("alone/models/_c/libalone.so")
alone = ctypes.CDLL(str(library))
values = array("f", [(i * 29 % 53) / 7 - 3 for i in range(6 * 40)])
model = ctypes.c_void_p()
assert alone.alone_ordered_open(ctypes.byref(model), 1, 0) == 0
inputs, outputs = Inputs(values.buffer_info()[0], 6), Ordered()
assert alone.alone_ordered_run(model, ctypes.byref(inputs), ctypes.byref(outputs)) == 0
own = []
for i, name in enumerate(Ordered.names):
    shape = list(getattr(outputs, f"{name}_shape"))
    size = shape[0] * shape[1] * (8 if i in (1, 3) else 4)
    own.append([shape, ctypes.string_at(getattr(outputs, name), size).hex()])
alone.alone_ordered_free(ctypes.byref(outputs))
alone.alone_ordered_close(model)
if len(sys.argv) > 2:
    sys.path.insert(0, sys.argv[1])
    from alone.models import ordered
    results = ordered(memoryview(values).cast("B").cast("f", (6, 40)))
    assert own == [[list(r.shape), memoryview(r).tobytes().hex()] for r in results]
print(json.dumps([shape for shape, _ in own]))
"""


def test_a_foreign_caller_gets_what_python_gets(
    installed: Callable[..., Installed], bare_python: Path
) -> None:
    """In one process with the package in Python, which has the same library open."""
    directory = str(installed("alone").directory)
    printed = run_checked([bare_python, "-P", "-c", FOREIGN, directory, "and Python"])
    five, all_ = [6, 5], [6, 40]
    assert json.loads(printed) == [five, five, all_, all_, all_, all_]


DAMAGED = r"""
#include <digits/net.h>
#include <stdio.h>
int main(void) {
  digits_net *net = (digits_net *)1;
  int status = digits_net_open(&net, 1, 0);
  printf("%d %d %s\n", status, net == NULL, digits_error());
  digits_net_close(net);
  return 0;
}
"""


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4096])


def change(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def swap(path: Path) -> None:
    shutil.copyfile(path.parents[1] / "denoiser" / path.name, path)


def swap_in_same_size(path: Path) -> None:
    other = (path.parents[1] / "denoiser" / path.name).read_bytes()
    size = path.stat().st_size
    path.write_bytes(other[:size].ljust(size, b"\0"))


DAMAGES: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "no library": ("net/{level}.so", Path.unlink, "{path} is missing; install the package again"),
    "a foreign library": ("net/{level}.so", swap, "{path} has {size} bytes instead of {before}; "),
    "a foreign library of the same size": (
        "net/{level}.so",
        swap_in_same_size,
        "{path} is not the file that was built; ",
    ),
    "a changed library": ("net/{level}.so", change, "{path} is not the file that was built; "),
    "no weights": ("weights.safetensors", Path.unlink, "{path} is missing; "),
    "truncated weights": (
        "weights.safetensors",
        truncate,
        "{path} has {size} bytes instead of {before}; install the package again",
    ),
    "changed weights": ("weights.safetensors", change, "{path} is not the file that was built; "),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_told(
    example: Installed, interface: Path, damage: str, tmp_path: Path
) -> None:
    package = tmp_path / "digits" / "models"
    shutil.copytree(interface.parent, package, ignore=shutil.ignore_patterns("*.py", "_runtime"))
    (tmp_path / "damaged.c").write_text(DAMAGED)
    program = compiled(tmp_path / "damaged.c", package / "_c")
    assert run_checked([program]) == "0 0 \n"
    name, make, text = DAMAGES[damage]
    path = package / name.format(level=example.manifest("net")["variants"][0]["target"])
    before = path.stat().st_size
    make(path)
    size = path.stat().st_size if path.exists() else 0
    said = text.format(path=path, size=size, before=before)
    assert run_checked([program]).startswith(f"2 1 {said}")


def test_weights_that_are_not_in_the_package(example: Installed, tmp_path: Path) -> None:
    """Those of ``weights-in``: a file that the environment names, and another distribution."""
    package = tmp_path / "digits" / "models"
    shutil.copytree(example.directory / "digits" / "models", package)
    manifests = [Manifest.read(path) for path in sorted(package.rglob("model.json"))]
    (tmp_path / "damaged.c").write_text(DAMAGED)
    program = compiled(tmp_path / "damaged.c", package / "_c")
    beside = tmp_path / "digits_weights" / "weights.safetensors"
    beside.parent.mkdir()

    def build(apart: str) -> None:
        models = {each.model: [dataclasses.replace(each, apart=apart)] for each in manifests}
        files = source_files(described("digits.models", models), package)
        options = ("-I.", "-shared", "-pthread")
        compile_c(
            package / "_c" / "libdigits.so",
            files,
            options,
            Store.of_build(package),
            "the interface",
            "here",
        )

    build("AOTBUILD_WEIGHTS")
    shutil.move(package / "weights.safetensors", beside)
    names = f"/nowhere:{beside.parent}"
    assert run_checked([program], AOTBUILD_WEIGHTS=str(beside)) == "0 0 \n"
    assert run_checked([program], AOTBUILD_WEIGHTS=names).startswith("0 0 ")
    assert run_checked([program], AOTBUILD_WEIGHTS="") == (
        "2 1 the weights are not in the package: set AOTBUILD_WEIGHTS to the path of "
        "weights.safetensors, which the build wrote\n"
    )
    assert run_checked([program], AOTBUILD_WEIGHTS="/nowhere") == (
        "2 1 AOTBUILD_WEIGHTS=/nowhere: /nowhere is missing: set AOTBUILD_WEIGHTS to the path of "
        "weights.safetensors, which the build wrote\n"
    )
    shutil.copyfile(beside, package / "weights.safetensors")
    build("digits-weights==1.0")
    (package / "weights.safetensors").unlink()
    assert run_checked([program]) == "0 0 \n"
    beside.unlink()
    assert run_checked([program]) == (
        f"2 1 {beside} is missing: the weights are in digits-weights==1.0: "
        'pip install "digits-weights==1.0"\n'
    )


def test_another_cpu_level_is_told(example: Installed, interface: Path, tmp_path: Path) -> None:
    (tmp_path / "level.c").write_text(DAMAGED)
    program = compiled(tmp_path / "level.c", interface)
    level = example.manifest("net")["variants"][0]["target"].removeprefix("cpu-")
    assert run_checked([program], AOTBUILD_CPU_LEVEL=level) == "0 0 \n"
    assert run_checked([program], AOTBUILD_CPU_LEVEL="x86-64-v9") == (
        f"2 1 AOTBUILD_CPU_LEVEL=x86-64-v9: net was compiled for {level}; set it to one of these, "
        "or unset it\n"
    )


def test_where_the_parts_are(example: Installed, interface: Path, bare_python: Path) -> None:
    places = {"--cmake-dir": "cmake", "--include-dir": "include", "--library-dir": "."}
    for option, place in places.items():
        done = asked(bare_python, example.directory, option)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{interface / place}\n", "")
    assert (interface / "libdigits.so").stat().st_size < 64_000


def test_a_package_that_needs_torch_tells_what_to_do(
    installed: Callable[..., Installed], clean_python: Path
) -> None:
    wheel = installed("example_project")
    assert not [name for name in wheel.files if "/_c/" in name]
    done = asked(clean_python, wheel.directory, "--cmake-dir")
    assert done.returncode == 1
    assert done.stderr == (
        "python -m digits.models: digits.models has no C interface, as its models are run by torch."
        ' Build it with runtime = "standalone" in [tool.aotbuild]\n'
    )


CONDITIONS = [
    "n % 3 == 1 and not m > 5",
    "(n - 7) // 3 >= -m",
    "-n // 4 == -2",
    "(3 - n) % m != 1",
    "n / m > 1.5",
    "0 < n - m <= 4 or n == 2*m",
    "floor(0.5*n) >= 3 and ceil(n / 3) <= m + 2",
    "round(n / 2) == n // 2",
    "min(n, m, 4) + max(n, 2.5) < 9",
    "sqrt(n - 5) < 2",
    "log2(n) == floor(log2(n))",
    "abs(n - m) < (2 if n > 6 else 4)",
    "n ** 2 <= 2 ** m",
    "float(n) // 2.0 == 3.0",
    "7.5 % m < 1",
    "n * m * 4611686018427387904 > 9223372036854775807",
]


def test_conditions_between_sizes_are_those_of_python(tmp_path: Path) -> None:
    functions = "".join(
        f"static bool c{i}(const int64_t *dims) {{ bool failed = false; "
        f"bool holds = {condition_in_c(text, ['n', 'm'])}; return holds && !failed; }}\n"
        for i, text in enumerate(CONDITIONS)
    )
    calls = "".join(f" putchar('0' + c{i}(dims));" for i in range(len(CONDITIONS)))
    (tmp_path / "main.c").write_text(
        f'#include "interface.h"\n#include <math.h>\n#include <stdio.h>\n{functions}'
        "int main(void) {\n  for (int64_t n = 0; n < 14; n++)\n"
        "    for (int64_t m = 0; m < 10; m++) {\n"
        f"      int64_t dims[] = {{n, m}};{calls}\n      putchar('\\n');\n    }}\n  return 0;\n}}\n"
    )
    source = REPOSITORY / "aotbuild"
    files = [tmp_path / "main.c", source / "c_interface" / "conditions.c"]
    sources = [word for file in files for word in ("-x", "c", str(file))]
    run_checked(
        [*find_cxx(), "-std=c11", *SANITIZERS, *sources, "-x", "none"]
        + [f"-I{source}/c_interface", f"-I{source}/engine", "-lm", "-o", str(tmp_path / "main")]
    )
    rows = iter(run_checked([tmp_path / "main"]).splitlines())
    for n in range(14):
        for m in range(10):
            expected = [holds(text, {"n": n, "m": m}) for text in CONDITIONS]
            assert [digit == "1" for digit in next(rows)] == expected, (n, m)


def test_what_is_not_translated_is_refused() -> None:
    for text in ("n & 1", "n in (1, 2)", "other > 1", "pow(n, 2) > 3"):
        with pytest.raises(ValueError, match="not translated"):
            condition_in_c(text, ["n"])
