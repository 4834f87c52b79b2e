"""The program that opens and calls a library elsewhere; here it runs without an emulator."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from aotbuild.runtime.errors import ModelLoadError
from aotbuild.steps.verify.emulated import Emulated, emulating_command, emulator
from aotbuild.target import TARGETS, usual_targets

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it is for Linux")

LIBRARY = """
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Tensors whose numbers it doubles, and adds a constant to; -1 as the first one fails, and with -3
 * it changes the last one. */
typedef struct { void* data; int64_t ndim, sizes[8], strides[8]; int32_t dtype; } Tensor;
typedef struct { const char* name; Tensor* handle; } Constant;
static float added;
static const char* said = "";

static int from_blob(void* data, int64_t ndim, const int64_t* sizes, const int64_t* strides,
                     int64_t offset, int32_t dtype, int32_t device, int32_t index, Tensor** made) {
  (void)offset, (void)device, (void)index;
  *made = calloc(1, sizeof **made);
  (*made)->data = data, (*made)->ndim = ndim, (*made)->dtype = dtype;
  memcpy((*made)->sizes, sizes, 8 * ndim);
  memcpy((*made)->strides, strides, 8 * ndim);
  return 0;
}
static int copy(Tensor* from, Tensor** to) { *to = from; return 0; }
static int release(Tensor* it) { free(it); return 0; }
static int data(Tensor* it, void** to) { *to = it->data; return 0; }
static int ndim(Tensor* it, int64_t* to) { *to = it->ndim; return 0; }
static int sizes(Tensor* it, int64_t** to) { *to = it->sizes; return 0; }
static int strides(Tensor* it, int64_t** to) { *to = it->strides; return 0; }
static int dtype(Tensor* it, int32_t* to) { *to = it->dtype; return 0; }
static int32_t float32(void) { return 6; }

void* aotbuild_find(const char* name) {
  struct { const char* name; void* function; } known[] = {
      {"aoti_torch_create_tensor_from_blob", from_blob},
      {"aoti_torch_new_tensor_handle", copy},
      {"aoti_torch_delete_tensor_object", release},
      {"aoti_torch_get_data_ptr", data},
      {"aoti_torch_get_dim", ndim},
      {"aoti_torch_get_sizes", sizes},
      {"aoti_torch_get_strides", strides},
      {"aoti_torch_get_dtype", dtype},
      {"aoti_torch_dtype_float32", float32},
  };
  for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
    if (!strcmp(known[i].name, name)) return known[i].function;
  return NULL;
}

int AOTInductorModelContainerCreateWithDevice(void** made, size_t n, const char* d, const char* c) {
  (void)n, (void)d, (void)c;
  *made = &added;
  return 0;
}
int AOTInductorModelContainerGetNumInputs(void* m, size_t* n) { (void)m; *n = 1; return 0; }
int AOTInductorModelContainerGetNumOutputs(void* m, size_t* n) { (void)m; *n = 1; return 0; }
int AOTInductorModelContainerGetNumConstants(void* m, size_t* n) { (void)m; *n = 1; return 0; }
int AOTInductorModelContainerGetConstantName(void) { return 0; }
int AOTInductorModelContainerGetConstantDtype(void) { return 0; }
int AOTInductorModelContainerGetConstantDataSize(void) { return 0; }
int AOTInductorGetLastError(const char** text) { *text = said; return 0; }
int AOTInductorModelContainerUpdateUserManagedConstantBufferPairs(
    void* model, const Constant* constants, size_t count, _Bool inactive, _Bool full) {
  (void)model, (void)inactive, (void)full;
  if (count != 1 || strcmp(constants[0].name, "added")) {
    said = "no constant is named added";
    return 1;
  }
  added = *(float*)constants[0].handle->data;
  return 0;
}
int AOTInductorModelContainerRunSingleThreaded(void* model, Tensor** in, size_t n, Tensor** out,
                                               size_t m, void* stream, void* proxy) {
  (void)model, (void)n, (void)m, (void)stream, (void)proxy;
  Tensor* x = in[0];
  float* numbers = x->data;
  int64_t last = 0, count = 1;
  for (int64_t i = 0; i < x->ndim; i++) last += (x->sizes[i] - 1) * x->strides[i];
  for (int64_t i = 0; i < x->ndim; i++) count *= x->sizes[i];
  if (count && numbers[0] == -1) {
    said = "the first number is -1";
    return 1;
  }
  if (count && numbers[0] == -2) abort();
  if (count && numbers[0] == -3) numbers[last] = 7;
  float* doubled = malloc(4 * (last + 1) + 4);
  for (int64_t i = 0; count && i <= last; i++) doubled[i] = 2 * numbers[i] + added;
  from_blob(doubled, x->ndim, x->sizes, x->strides, 0, x->dtype, 0, 0, &out[0]);
  return 0;
}
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    directory = tmp_path_factory.mktemp("emulated")
    (own,) = usual_targets()
    found = emulating_command(TARGETS[own.name], directory)
    assert found == [str(directory / "emulated")]
    return found


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("library") / "library.so"
    source = path.with_suffix(".c")
    source.write_text(LIBRARY)
    subprocess.run(["gcc", "-w", "-shared", "-fPIC", source, "-o", path], check=True)
    return path


@pytest.mark.parametrize(
    "x",
    [
        torch.arange(12.0).reshape(3, 4),
        torch.arange(24.0).reshape(2, 3, 4).transpose(0, 2),
        torch.arange(10.0)[2::2],
        torch.tensor(3.0),
        torch.empty(0, 5),
        torch.arange(3.0).expand(4, 3),
    ],
    ids=["plain", "transposed", "sliced", "number", "empty", "expanded"],
)
def test_tensors_go_there_and_back(command: list[str], library: Path, x: torch.Tensor) -> None:
    emulated = Emulated(command, library)
    emulated.set_constants({"added": torch.tensor([0.5])})
    emulated.set_num_threads(2)
    for _ in range(2):
        (y,) = emulated.run([x])
        assert (y.shape, y.stride(), y.dtype) == (x.shape, x.stride(), x.dtype)
        torch.testing.assert_close(y, 2 * x + 0.5, rtol=0, atol=0)


def test_what_the_library_changes_is_changed_here(command: list[str], library: Path) -> None:
    emulated = Emulated(command, library)
    emulated.set_constants({"added": torch.tensor([0.5])})
    whole = torch.tensor([0.0, -3.0, 0.0, 4.0, 0.0, 5.0, 6.0])
    part = whole[1:6:2].requires_grad_()
    (y,) = emulated.run([part])
    assert whole.tolist() == [0.0, -3.0, 0.0, 4.0, 0.0, 7.0, 6.0]
    assert y.tolist() == [-5.5, 8.5, 14.5]
    kept = torch.tensor([-4.0, 5.0])
    version = kept._version
    emulated.run([kept])
    assert kept._version == version  # what did not change is not written to


def test_what_the_library_says_is_the_error(command: list[str], library: Path) -> None:
    emulated = Emulated(command, library)
    with pytest.raises(ModelLoadError, match="cannot be loaded: no constant is named added"):
        emulated.set_constants({"other": torch.ones(1)})
    emulated.set_constants({"added": torch.zeros(1)})
    with pytest.raises(RuntimeError, match=r"^the first number is -1$"):
        emulated.run([torch.tensor([-1.0])])
    (y,) = emulated.run([torch.tensor([4.0])])
    assert y.item() == 8


def test_a_crash_is_told(command: list[str], library: Path) -> None:
    emulated = Emulated(command, library)
    with pytest.raises(RuntimeError, match=r"^the emulator ended with -6$"):
        emulated.run([torch.tensor([-2.0])])


def test_a_library_that_cannot_be_opened_is_told(command: list[str], tmp_path: Path) -> None:
    emulated = Emulated(command, tmp_path / "library.so")
    with pytest.raises(ModelLoadError, match=r"library\.so: cannot open shared object file"):
        emulated.set_constants({"added": torch.ones(1)})


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_there_is_no_emulator_without_the_program_or_the_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "sysroot"
    (root / "lib").mkdir(parents=True)
    library = root / "lib" / "libc.so.6"
    compiler = program(tmp_path / "aarch64-linux-gnu-g++", f"#!/bin/sh\necho {library}\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    command = [str(compiler)]
    assert emulator(command, "aarch64") == []
    found = program(tmp_path / "qemu-aarch64", "#!/bin/sh\n")
    assert emulator(command, "aarch64") == []
    library.touch()
    assert emulator(command, "aarch64") == []
    (root / "lib" / "ld-linux-aarch64.so.1").touch()
    assert emulator(command, "aarch64") == [str(found), "-L", str(root)]
