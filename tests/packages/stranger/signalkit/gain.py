import torch


class Gain(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.full((1,), 3.0))

    def forward(self, signal):
        return torch.tanh(signal * self.gain)
