"""The Hankel nuclear norm of a diagonal system, Σσ, as a term of a loss: naively, and by a majoriser.

    P_ij = (B Bᴴ)_ij / (1 − λ_i λ̄_j),   Q_ij = (Cᴴ C)_ij / (1 − λ̄_i λ_j),   Σσ = tr (P Q)^½

For every positive definite W, ½ tr(W⁻¹ P) + ½ tr(W Q) >= Σσ, with equality for W₀ = T Tᴴ where T balances the
system: T⁻¹ P T⁻ᴴ = Tᴴ Q T = Σ. There the gradients agree too, because the bound touches from above. So one
balancing serves for many steps, and each step costs two Gramians instead of factors, a singular value
decomposition and the way back through both.

Both Gramians carry a ridge of 1e-8 of their diagonal: Σσ is not differentiable where a σ is 0. In double
precision whatever the training precision is.
"""

import torch
from torch import Tensor

RIDGE = 1e-8


def gramians(eigenvalues: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """Return P and Q, (N, N) complex128 each, with their ridge; differentiable.

    Parameters
    ----------
    eigenvalues : (N,) complex
        λ, |λ| < 1.
    B : (N, H) complex
    C : (M, N) complex
    """
    eigenvalues, B, C = (part.to(torch.complex128) for part in (eigenvalues, B, C))
    inverse = 1.0 / (1.0 - eigenvalues[:, None] * eigenvalues.conj()[None, :])  # (N, N)
    return _with_ridge(B @ B.mH * inverse), _with_ridge(C.mH @ C * inverse.conj())


def _with_ridge(gramian: Tensor) -> Tensor:
    diagonal = gramian.diagonal().real
    ridge = RIDGE * (diagonal + RIDGE * diagonal.mean())  # a state that nothing reaches has a zero row
    return gramian + torch.diag(ridge).to(gramian.dtype)


def hankel_nuclear_norm(eigenvalues: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Return Σσ, differentiable through factors and singular value decomposition. Arguments as `gramians`."""
    P, Q = gramians(eigenvalues, B, C)
    hsv: Tensor = torch.linalg.svdvals(torch.linalg.cholesky(Q).mH @ torch.linalg.cholesky(P))
    return hsv.sum()


class Majoriser:
    """An upper bound of Σσ for all systems of N states, tight in value and gradient at the one it is made of.

    Arguments as `gramians`. Raises torch.linalg.LinAlgError when a Gramian is not finite.
    """

    def __init__(self, eigenvalues: Tensor, B: Tensor, C: Tensor):
        with torch.no_grad():
            P, Q = gramians(eigenvalues, B, C)
            L_c, L_o = torch.linalg.cholesky(P), torch.linalg.cholesky(Q)
            U, hsv, Zh = torch.linalg.svd(L_o.mH @ L_c)
            root = hsv.sqrt()
            T, inverse = L_c @ (Zh.mH / root), L_o @ (U / root)  # (N, N): T, and T⁻ᴴ
            self._W, self._W_inverse = T @ T.mH, inverse @ inverse.mH  # (N, N) each

    def __call__(self, eigenvalues: Tensor, B: Tensor, C: Tensor) -> Tensor:
        """Return ½ tr(W₀⁻¹ P) + ½ tr(W₀ Q), differentiable."""
        P, Q = gramians(eigenvalues, B, C)
        bound: Tensor = ((self._W_inverse * P.conj()).sum() + (self._W * Q.conj()).sum()).real
        return 0.5 * bound
