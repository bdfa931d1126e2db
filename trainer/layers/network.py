"""The network around any sequence layer: encoder, residual blocks, and a head over time or at every step."""

from collections.abc import Callable
from typing import Any, cast

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

NORMS = ("batch", "layer")
POOLINGS = ("mean", "masked", "none")


class SequenceModel(nn.Module):
    """Sequences to classes, or every step to a class, through residual blocks of a sequence layer.

        h = encoder(x),   h ← block(h) in every layer,   logits = head(mean over time of h)
                                                         or at every step  head(h[t])

    The mean is over all steps, or with pooling = "masked" over those before the padding: steps whose channels
    are all 0. Batch normalisation sees padding in either case. With pooling = "none" there is an answer at
    every step, which knows nothing of later ones.

    Parameters
    ----------
    input_dim : int
        Channels of the data.
    vocabulary : int
        Tokens to embed instead; 0 where inputs are numbers.
    classes : int
    width : int
        Channels H between the layers.
    layers : int
        Number of blocks.
    mixer : callable
        Makes the sequence layer of a block, (batch, L, H) to (batch, L, H). Called once per block, in order.
    norm : str
        "batch" or "layer".
    dropout : float
        Share of activations dropped in training, in [0, 1).
    pooling : str
        "mean", "masked" or "none".

    Raises
    ------
    ValueError
        If an argument is outside these limits.
    """

    def __init__(
        self,
        *,
        input_dim: int,
        classes: int,
        width: int,
        layers: int,
        mixer: Callable[[], nn.Module],
        norm: str = "batch",
        dropout: float = 0.0,
        pooling: str = "mean",
        vocabulary: int = 0,
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"pooling is {pooling!r}; allowed are {', '.join(POOLINGS)}")
        self.pooling = pooling
        if min(input_dim, classes, width, layers) < 1:
            raise ValueError(
                "input_dim, classes, width and layers must be at least 1; "
                f"they are {input_dim}, {classes}, {width} and {layers}"
            )
        self.encoder = nn.Embedding(vocabulary, width) if vocabulary else nn.Linear(input_dim, width)
        self.blocks = nn.ModuleList(
            Block(width, mixer(), norm=norm, dropout=dropout) for _ in range(layers)
        )  # fmt: skip
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, classes) or (batch, L, classes) of sequences (batch, L, input_dim)."""
        h = self._encoded(x)  # (batch, L, H)
        for block in self.blocks:
            h = block(h)  # (batch, L, H)
        if self.pooling == "none":
            return self.head(h)  # (batch, L, classes)
        if self.pooling == "mean":
            return self.head(h.mean(dim=1))  # (batch, classes)
        inside = (x != 0).any(dim=2)[:, :, None]  # (batch, L, 1)
        total = (h * inside).sum(dim=1)  # (batch, H)
        return self.head(total / inside.sum(dim=1).clamp_min(1))  # (batch, classes)

    def step(self, x: Tensor, state: list[Any] | None = None) -> tuple[Tensor, list[Any]]:
        """Compute one step of a sequence: the streaming form, whose memory does not grow with the length.

        Equal to `forward` in evaluation mode: with pooling = "none" always, with "mean" after the last step.

        Parameters
        ----------
        x : (batch, input_dim)
        state : list, optional
            What the last call returned; None at the beginning.

        Returns
        -------
        logits : (batch, classes)
            Of this step, or of the mean over the steps so far.
        state : list
        """
        if self.pooling == "masked":
            raise ValueError("a network with masked pooling has no streaming form")
        total, steps, *states = state or [0.0, 0, *(None for _ in self.blocks)]
        h = self._encoded(x)  # (batch, H)
        for index, block in enumerate(self.blocks):
            h, states[index] = cast(Block, block).step(h, states[index])
        total, steps = total + h, steps + 1
        return self.head(h if self.pooling == "none" else total / steps), [total, steps, *states]

    def _encoded(self, x: Tensor) -> Tensor:
        if isinstance(self.encoder, nn.Embedding):
            return self.encoder(x[..., 0].long())
        return self.encoder(x.to(self.encoder.weight.dtype))


class Block(nn.Module):
    """h + dropout(GLU(GELU(mixer(norm(h))))), or h + dropout(mixer(norm(h))) for a layer that is `gated`.

    The norm, not affine, is over batch and time, or over channels. The layer is a
    `hankelboard.trainer.layers.sequence_layer.SequenceLayer`; without a streaming form any module will do.
    """

    def __init__(self, width: int, mixer: nn.Module, *, norm: str = "batch", dropout: float = 0.0) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm is {norm!r}; allowed are {', '.join(NORMS)}")
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout must be in [0, 1); it is {dropout}")
        self.norm = BatchNorm(width) if norm == "batch" else nn.LayerNorm(width, elementwise_affine=False)
        self.mixer: Any = mixer
        self.glu = None if getattr(mixer, "gated", False) else nn.Linear(width, 2 * width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor) -> Tensor:
        """Map (batch, L, H) to (batch, L, H)."""
        return h + self.dropout(self._gated(self.mixer(self.norm(h))))  # (batch, L, H)

    def step(self, h: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return the output of one step, (batch, H), and the layer's next state."""
        z, state = self.mixer.step(self.norm(h[:, None])[:, 0], state)
        return h + self.dropout(self._gated(z)), state

    def _gated(self, z: Tensor) -> Tensor:
        return z if self.glu is None else F.glu(self.glu(F.gelu(z)))


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation of (batch, L, H) over batch and time, not affine."""

    def __init__(self, width: int) -> None:
        super().__init__(width, affine=False)

    def forward(self, h: Tensor) -> Tensor:
        return super().forward(h.flatten(0, 1)).view_as(h)  # (batch, L, H)
