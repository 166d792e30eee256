"""The largest eigenvalue of a symmetric matrix that is known by its products alone (Lanczos 1950)."""

from collections.abc import Callable

import torch
from torch import Tensor


def largest_eigenvalue(product: Callable[[Tensor], Tensor], start: Tensor, n_steps: int) -> float:
    """Size of the eigenvalue of largest size, from ``n_steps`` products, plus how uncertain it still is.

    k products span the Krylov space of the start. The matrix seen from there is tridiagonal [k, k], and its extreme
    eigenvalues approach those of the whole matrix far sooner than the power iteration does. An eigenvalue of the
    matrix lies within the residual of the pair that is found; the residual is added, so that too few steps give too
    large a value rather than too small a one (Zhou & Li 2011, Linear Algebra Appl. 435:480).

    Parameters
    ----------
    product
        x [p] -> A x [p], with A symmetric.
    start : Tensor [p]
        Not orthogonal to the leading eigenvector.
    n_steps
        At least one. Fewer are taken where the products span no more dimensions.
    """
    basis, diagonal, beside = [start / start.norm()], [], []
    for _ in range(n_steps):
        x = product(basis[-1])
        diagonal.append(float(x @ basis[-1]))
        size = float(x.norm())
        for q in basis + basis:  # against all vectors, and twice: rounding would bring found eigenvalues back as copies
            x = x - (q @ x) * q
        beside.append(float(x.norm()))
        if beside[-1] <= 1e-6 * size:  # what is left is rounding: the space holds no more
            break
        basis.append(x / x.norm())
    return _largest_ritz_value(diagonal, beside)


def _largest_ritz_value(diagonal: list[float], beside: list[float]) -> float:
    """Largest |eigenvalue| of the tridiagonal matrix, plus the residual of its vector."""
    d, b = (torch.tensor(values, dtype=torch.float64) for values in (diagonal, beside))
    values, vectors = torch.linalg.eigh(torch.diag(d) + torch.diag(b[:-1], 1) + torch.diag(b[:-1], -1))
    i = int(values.abs().argmax())
    return float(values[i].abs() + b[-1] * vectors[-1, i].abs())
