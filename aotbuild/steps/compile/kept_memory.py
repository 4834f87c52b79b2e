"""Memory for what is computed in between, kept by a library from one call to the next.

Inductor can place all of it in one block (``memory_planning``), which its code allocates in each
call. The C library gives a large block back to the system when it is freed, and each of its pages
is then made anew, and cleared, in the next call: of MobileNet with a batch of 8 that was a third of
the time. Here the block stays with the runner, which runs one call at a time, unless it is larger
than ``AOTBUILD_KEPT_MB`` says.
"""

from __future__ import annotations

import re

_INCLUDES = "#include <cstdlib>\n#include <exception>\n#include <map>\n#include <mutex>\n"

_CLASS = """
// A block of memory that a model has for one call, and mostly keeps for the next.
class KeptBlock {
 public:
  KeptBlock(const AOTInductorModel* model, int index, AtenTensorHandle* outputs)
      : slot(slot_of(model, index)), outputs(outputs), count(model->num_outputs()),
        exceptions(std::uncaught_exceptions()) {
    for (size_t i = 0; i < count; i++) outputs[i] = nullptr;
  }

  KeptBlock(const KeptBlock&) = delete;
  KeptBlock& operator=(const KeptBlock&) = delete;

  ~KeptBlock() {
    // What a result lies in belongs to the caller.
    if (std::uncaught_exceptions() > exceptions || slot.size > most() || holds_result()) drop();
  }

  AOTITorchError take(int64_t size, int32_t device, AtenTensorHandle* handle) {
    if (slot.size < size) {
      drop();
      const int64_t stride = 1;
      AOTITorchError failed = aoti_torch_empty_strided(1, &size, &stride, aoti_torch_dtype_uint8(),
          aoti_torch_device_type_cpu(), device, &slot.tensor);
      if (failed) return failed;
      slot.size = size;
    }
    return slot.size ? aoti_torch_new_tensor_handle(slot.tensor, handle) : empty(device, handle);
  }

 private:
  struct Slot {
    AtenTensorHandle tensor = nullptr;
    int64_t size = 0;
  };

  static Slot& slot_of(const AOTInductorModel* model, int index) {
    static std::mutex lock;
    // Never destroyed, as models are not: a call may still run when the process ends.
    static auto& slots = *new std::map<std::pair<const void*, int>, Slot>;
    std::lock_guard<std::mutex> guard(lock);
    return slots[{model, index}];
  }

  static int64_t most() {
    static const char* given = std::getenv("AOTBUILD_KEPT_MB");
    static const int64_t megabytes = given && *given ? std::atoll(given) : 256;
    return megabytes << 20;
  }

  static AOTITorchError empty(int32_t device, AtenTensorHandle* handle) {
    const int64_t size = 0, stride = 1;
    return aoti_torch_empty_strided(1, &size, &stride, aoti_torch_dtype_uint8(),
        aoti_torch_device_type_cpu(), device, handle);
  }

  static const char* data_of(AtenTensorHandle tensor) {
    void* data = nullptr;
    aoti_torch_get_data_ptr(tensor, &data);
    return static_cast<const char*>(data);
  }

  bool holds_result() const {
    const char* begin = slot.tensor ? data_of(slot.tensor) : nullptr;
    for (size_t i = 0; begin && i < count; i++) {
      const char* data = outputs[i] ? data_of(outputs[i]) : nullptr;
      if (data >= begin && data < begin + slot.size) return true;
    }
    return false;
  }

  void drop() {
    if (slot.tensor) aoti_torch_delete_tensor_object(slot.tensor);
    slot = Slot{};
  }

  Slot& slot;
  AtenTensorHandle* outputs;
  size_t count;
  int exceptions;
};

"""

_INCLUDE = re.compile(r"\s*#include .*\n")

_RUN = "void AOTInductorModel::run_impl("

_ALLOCATION = re.compile(
    r"^    AOTI_TORCH_ERROR_CODE_CHECK\(aoti_torch_empty_strided\(1, (\w+), \w+, "
    r"cached_torch_dtype_uint8, cached_torch_device_type_cpu, this->device_idx_, "
    r"&pool(\d+)_handle\)\);$",
    re.MULTILINE,
)
_KEPT = r"""    KeptBlock pool\2_kept(this, \2, output_handles);
    AOTI_TORCH_ERROR_CODE_CHECK(
        pool\2_kept.take(\1[0], this->device_idx_, &pool\2_handle));"""
_BRANCH = re.compile(r"^ *(?:if|else|while|for)\b.*\{$", re.MULTILINE)
"""Code that runs only at times, or more than once."""


def with_kept_pools(wrapper: str) -> str:
    """The code around the kernels, with its blocks of memory kept from call to call.

    It is returned as it is where there are none, or where results are not made in one go.
    """
    head, run_impl, body = wrapper.partition(_RUN)
    end = body.find("} // AOTInductorModel::run_impl")
    run, rest = body[:end], body[end:]
    if not run_impl or end < 0 or _BRANCH.search(run):
        return wrapper
    changed, count = _ALLOCATION.subn(_KEPT, run)
    if not count:
        return wrapper
    # Only what a source includes first can be precompiled.
    first = _INCLUDE.match(head)
    place = first.end() if first else 0
    head = f"{head[:place]}{_INCLUDES}{head[place:]}"
    return f"{head}{_CLASS}{run_impl}{changed}{rest}"
