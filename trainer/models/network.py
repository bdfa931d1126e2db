"""Sequence classifier: encoder, residual blocks around a state-space layer, mean pooling, head."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional


class SequenceClassifier(nn.Module):
    def __init__(self, *, input_dim, classes, width, layers, mixer, norm="batch", dropout=0.1):
        super().__init__()
        self.encoder = nn.Linear(input_dim, width)
        self.blocks = nn.ModuleList(Block(width, mixer(), norm, dropout) for _ in range(layers))
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = self.encoder(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(1))


class Block(nn.Module):
    def __init__(self, width, mixer, norm, dropout):
        super().__init__()
        self.norm = nn.BatchNorm1d(width, affine=False) if norm == "batch" else nn.LayerNorm(width, elementwise_affine=False)
        self.mixer = mixer
        self.glu = nn.Linear(width, 2 * width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        y = self.norm(x.flatten(0, 1)).view_as(x)
        y = functional.gelu(self.mixer(y))
        return x + self.dropout(functional.glu(self.glu(y)))
