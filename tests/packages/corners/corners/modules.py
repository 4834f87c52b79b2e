"""Modules whose sizes are at the ends of what torch.export traces."""

import torch
from torch import nn


class Sums(nn.Module):
    def forward(self, x):
        return torch.relu(x).sum(-1)


class Mixes(nn.Module):
    def forward(self, x):
        return torch.softmax(x, 1).cumsum(-1) + x.amax(1, keepdim=True) * x.mean(2, keepdim=True)


class Slopes(nn.Module):
    def __init__(self):
        super().__init__()
        self.slopes = nn.PReLU(4)

    def forward(self, x):
        return self.slopes(x)


class Pools(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(1, 2, 3)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)

    def forward(self, x):
        return self.pool(self.conv(x))


class Frames(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.frames = nn.Conv1d(1, 6, 320, stride=160)
        self.inner = nn.Conv1d(6, 4, 1)
        self.recurrent = nn.LSTM(4, 3, batch_first=True)

    def forward(self, audio):
        frames = self.frames(audio[:, None])
        batch, channels, steps = frames.shape
        inner = self.inner(frames.transpose(1, 2).reshape(batch * steps, channels, 1))
        return self.recurrent(inner.view(batch, steps, 4))[0]


class Flat(nn.Module):
    def forward(self, x):
        values = x.reshape(-1)
        return values + torch.ones(values.shape[0])


class Counts(nn.Module):
    def forward(self, x):
        values = x.reshape(-1)
        return values + torch.ones(len(values))


class Turned(nn.Module):
    def forward(self, x):
        doubled = x * 2
        return doubled.t(), x.t()
