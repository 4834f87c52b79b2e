"""Audio models: one of transformers, one of convolutions over a signal of any length."""

import torch
from torch import nn
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder


def whisper():
    torch.manual_seed(0)
    sizes = {"d_model": 32, "encoder_ffn_dim": 64, "num_mel_bins": 16, "max_source_positions": 50}
    config = WhisperConfig(**sizes, encoder_layers=1, encoder_attention_heads=4)
    return WhisperEncoder(config)


class Convolutions(nn.Module):
    """Scores for each frame, and for the whole signal."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            *(nn.Conv1d(1, 32, 10, stride=5), nn.GroupNorm(4, 32), nn.GELU()),
            *(nn.Conv1d(32, 32, 4, stride=2), nn.BatchNorm1d(32), nn.GELU()),
            nn.Conv1d(32, 8, 3, padding=1),
        )

    def forward(self, samples):
        frames = self.layers(samples[:, None])
        return {"frames": frames.transpose(1, 2), "signal": frames.mean(-1)}
