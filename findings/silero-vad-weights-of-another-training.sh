#!/usr/bin/env bash
# silero-vad 6.2.3 on CPU: the package holds the model several times, and not all of them are the same one.
#
# Expected: `silero_vad_16k.safetensors`, which the package's own `tinygrad_model.py` loads, has the weights
#   of the 16 kHz model that `load_silero_vad()` runs (`silero_vad.jit`, and `silero_vad.onnx`).
# Happened: it has those of another training. Tensors have the same names and shapes, the fixed basis of the
#   transform is the same, and all learned ones differ: the first convolution by up to 4.03, of values up
#   to 14.5. The files of ONNX for 16 kHz have the weights of the jit file, but `silero_vad_half.onnx` has
#   others again. In a made-up voice the probabilities of the two differed by 0.5 at most.
# aotbuild: it compares a build with the eager module, which says nothing about which weights those are.
#   The gallery's `speech` takes the weights of the jit file (gallery/fetch.py).
#
# Seen (2026-11-30, Python 3.11.7, torch 2.13.0):
#   stft basis 0.00
#   conv1.weight 4.03 of 14.52
#   lstm weight_hh 0.65 of 2.60
set -euo pipefail
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT
"${PYTHON:-python3}" -m venv env
env/bin/pip --quiet install torch==2.13.0 numpy safetensors
env/bin/pip --quiet install --no-deps silero-vad==6.2.3 # without torchaudio, which is not needed here
env/bin/python -W ignore - <<'PYTHON'
import sysconfig
from pathlib import Path

import torch
from safetensors.torch import load_file

data = Path(sysconfig.get_path("purelib"), "silero_vad/data")
run = torch.jit.load(str(data / "silero_vad.jit"), map_location="cpu").state_dict()
kept = load_file(data / "silero_vad_16k.safetensors")


def apart(name: str, other: str) -> tuple[float, float]:
    tensor = run[f"_model.{other}"]
    assert tensor.shape == kept[name].shape
    return (tensor - kept[name]).abs().max().item(), tensor.abs().max().item()


basis, _ = apart("stft_conv.weight", "stft.forward_basis_buffer")
first, largest = apart("conv1.weight", "encoder.0.reparam_conv.weight")
cell, largest_cell = apart("lstm_cell.weight_hh", "decoder.rnn.weight_hh")
print(f"stft basis {basis:.2f}")
print(f"conv1.weight {first:.2f} of {largest:.2f}")
print(f"lstm weight_hh {cell:.2f} of {largest_cell:.2f}")
assert basis == 0
assert first > 1, "the files have the same weights now"
assert cell > 0.1
PYTHON
