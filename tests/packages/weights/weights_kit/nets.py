import torch
from torch import nn


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(nn.Linear(24, 64), nn.GELU(), nn.Linear(64, 64))

    def forward(self, x):
        return self.layers(x)


class Classifier(nn.Module):
    """Parameters of every size that a compiler likes to write into its code."""

    def __init__(self):
        super().__init__()
        self.encoder = Encoder()
        torch.manual_seed(2)
        self.norm = nn.LayerNorm(64)  # ones and zeros
        self.head = nn.Linear(64, 5)
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.shift = nn.Parameter(torch.tensor([0.25]))
        self.rows = nn.Parameter(torch.zeros(2, 1))
        self.more_rows = nn.Parameter(torch.zeros(2, 1))
        self.unused = nn.Parameter(torch.ones(3))
        self.register_buffer("steps", torch.tensor([2, 3]))
        self.register_buffer("table", torch.rand(40), persistent=False)

    def forward(self, x):
        hidden = self.norm(self.encoder(x)) * self.scale + self.shift
        rows = (self.rows - self.more_rows).sum() + self.steps.sum()
        return self.head(hidden) + rows + self.table[:5]


class Regressor(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = Encoder()
        torch.manual_seed(3)
        self.head = nn.Linear(64, 1)

    def forward(self, x):
        return self.head(torch.relu(self.encoder(x)))


class Translator(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.embedding = nn.Embedding(100, 16)
        self.mix = nn.Linear(16, 16)
        self.output = nn.Linear(16, 100, bias=False)
        self.output.weight = self.embedding.weight

    def encode(self, tokens):
        return self.mix(self.embedding(tokens).mean(1))

    def decode(self, hidden):
        return self.output(self.mix(hidden))


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.norm.running_mean.uniform_(-1, 1)
        self.norm.running_var.uniform_(0.5, 2)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(6)
        self.conv = nn.Conv2d(3, 64, 3, stride=2)
        self.layers = nn.Sequential(nn.Linear(64 * 49, 128), nn.ReLU(), nn.Linear(128, 10))

    def forward(self, x):
        return self.layers(torch.relu(self.conv(x)).flatten(1))
