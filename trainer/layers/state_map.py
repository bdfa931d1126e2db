"""The map that a cut inserts behind a feature map, a convolution or a normalisation of keys and queries."""

import numpy as np
import torch
from torch import Tensor, nn

from hankelboard.trainer.reduction.reducible import FloatArray


class StateMap(nn.Module):
    """k ← M_g k, a linear map of the state (key) dimension for each group of heads; the identity until a cut.

    What stands between a projection and the state is not linear, so a cut cannot be folded into the
    projection; its r×N matrix is inserted here, and a later cut multiplies it from the left. `weight` is
    there from the beginning, as (groups, 0, N) where there is no map, since a cut must not change the names
    of parameters. A map that does not exist costs nothing and gets no gradient.

    Parameters
    ----------
    groups : int
        Maps; each is shared by the heads of a group.
    state_dim : int
        N, dimension of the keys that come in.

    >>> StateMap(2, 8)(torch.ones(5, 2, 8)).shape
    torch.Size([5, 2, 8])
    """

    def __init__(self, groups: int, state_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(groups, 0, state_dim))  # (groups, r, N); r = 0: no map

    @property
    def state_dim(self) -> int:
        """Dimension of what comes out: r, or N while there is no map."""
        _, rows, columns = self.weight.shape
        return rows or columns

    def forward(self, keys: Tensor) -> Tensor:
        """Map (…, groups, N) to (…, groups, r)."""
        if self.weight.shape[1] == 0:
            return keys
        return torch.einsum("...gn,grn->...gr", keys, self.weight)

    def matrices(self) -> FloatArray:
        """Return M in double precision, (groups, r, N): identities while there is no map."""
        groups, rows, columns = self.weight.shape
        if rows == 0:
            return np.tile(np.eye(columns), (groups, 1, 1))
        return self.weight.detach().cpu().double().numpy().copy()

    def replace(self, matrices: FloatArray) -> None:
        """Insert these maps, (groups, r, N), in place of what is there: a Parameter with its own memory."""
        old = self.weight
        new = torch.tensor(np.ascontiguousarray(matrices), dtype=old.dtype, device=old.device)
        self.weight = nn.Parameter(new, requires_grad=old.requires_grad)

    def extra_repr(self) -> str:
        groups, rows, columns = self.weight.shape
        return f"groups={groups}, state_dim={columns}, rank={rows or columns}"
