"""All pairs at once: the Gauss-Newton influence of every training molecule on every query, solved exactly.

With fewer training molecules than parameters, the inverse of the Gauss-Newton matrix is cheap in their space.
Let J [n, p] hold the derivatives of the standardised predictions and K = J J^T; G = (2 / n) J^T J. For a query q

    J_q (G + damping I)^-1 J^T = (n / 2) K_q (K + n damping / 2 I)^-1,

which is kernel ridge regression with the network's tangent kernel K (Jacot et al. 2018, arXiv:1806.07572). One kernel
gives every damping, the leave-one-out residuals and the self-influence, with no error of a solver.

All this is one linear step around the *end* of a training, which cannot say what would have been learnt otherwise: it
ranks retrainings, but gives their size too small. :class:`KernelPath` adds up such steps at several moments of the
same training, each with its own parameters, residuals and metric, as SOURCE does with a block-diagonal curvature (Bae
et al. 2024, arXiv:2405.12186).
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import overload

import numpy as np
import pandas as pd
import torch
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse.linalg import eigsh
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from ..errors import DataError
from ..training import Moment, molecule_batches
from .lissa import Params
from .scores import molecule_loss, require_labels, trained_parameters

CHUNK = 16  # gradients that are computed at a time, at most; more are no faster on two cores
CHUNK_BYTES = 2**30  # and no more than fit into so much memory
BLOCK = 16_384  # parameters whose products are added to the Gram matrix at a time
EPS = 1e-5  # Adam's metric counts no parameter more than one whose gradients are of this size


@dataclasses.dataclass(frozen=True)
class Kernel:
    """The tangent kernel of a model, and its residuals (standardised prediction minus label).

    ``train`` [n_train, n_train] is K of the training molecules, J J^T; ``cross`` [n_queries, n_train] K of the queries
    with them; ``train_residuals`` [n_train] and ``query_residuals`` [n_queries]. All are float64.
    """

    train: np.ndarray
    cross: np.ndarray
    train_residuals: np.ndarray
    query_residuals: np.ndarray

    @cached_property
    def largest_eigenvalue(self) -> float:
        """That of the Gauss-Newton matrix, by which a damping is chosen."""
        n = len(self.train)
        return float(eigsh(self.train, k=1, v0=np.ones(n), return_eigenvectors=False)[0]) * 2 / n

    def scores(self, damping: float) -> np.ndarray:
        """Influence of each training molecule on each query's loss: float64 [n_queries, n_train].

        Positive: having that molecule in the training data lowers that query's loss, by the score / n_train. In squared
        standard deviations of the labels, as :func:`~molft_utils.influence.influence_scores` gives them.
        """
        # A step of the prediction changes the query's squared error by 2 r times as much.
        return -2 * len(self.train) * self.query_residuals[:, None] * self.attributions(damping)

    def attributions(self, damping: float) -> np.ndarray:
        """By how much each training molecule moves each query's prediction: float64 [n_queries, n_train].

        In standard deviations of the labels; positive: having that molecule raises the prediction. It is -r times the
        weight of the pair in kernel ridge regression, where r is the training molecule's residual.

        This is first order, around this model: it leaves out that without the molecule other features would have been
        learnt. Real retraining shifts predictions by several times as much (``data/results/shifts.csv``).
        """
        weights = cho_solve(self._factor(damping), self.cross.T).T  # K_q (K + n damping / 2 I)^-1
        return -weights * self.train_residuals

    def gradient_products(self) -> np.ndarray:
        """The same without any curvature, g_q . g_z: float64 [n_queries, n_train]."""
        return 4 * self.query_residuals[:, None] * self.cross * self.train_residuals

    def leave_one_out(self, damping: float) -> np.ndarray:
        """Residual [n_train] that each training molecule would have if it were left out: r / (1 - h)."""
        return self.train_residuals / (1 - self._leverage(damping))

    def self_influence(self, damping: float) -> np.ndarray:
        """How much a training molecule lowers its own squared error, [n_train]: r² h."""
        return self.train_residuals**2 * self._leverage(damping)

    def _factor(self, damping: float) -> tuple:
        if not damping > 0:
            raise DataError(f"damping is {damping}; it must be above zero")
        n = len(self.train)
        return cho_factor(self.train + n * damping / 2 * np.eye(n), lower=True)

    def _leverage(self, damping: float) -> np.ndarray:
        """The diagonal h of K (K + n damping / 2 I)^-1."""
        n = len(self.train)
        return 1 - n * damping / 2 * np.diag(cho_solve(self._factor(damping), np.eye(n)))


@dataclasses.dataclass(frozen=True)
class KernelPath:
    """The kernels of one training at several moments, whose influences are added up.

    Each kernel has its own scale, so the damping is given as a share of each one's largest eigenvalue. ``weight`` is
    for how many epochs a kernel stands. Both set the size of the sum, which theory does not: with a damping chosen for
    the *ranks* of retrainings the sizes come out right, with a tenth of it they are twice too large.
    """

    kernels: Sequence[Kernel]
    weight: float = 1.0

    def scores(self, share: float) -> np.ndarray:
        """As :meth:`Kernel.scores`: float64 [n_queries, n_train]."""
        return self._sum(kernel.scores(share * kernel.largest_eigenvalue) for kernel in self.kernels)

    def attributions(self, share: float) -> np.ndarray:
        """As :meth:`Kernel.attributions`: float64 [n_queries, n_train]."""
        return self._sum(kernel.attributions(share * kernel.largest_eigenvalue) for kernel in self.kernels)

    def _sum(self, parts: Iterable[np.ndarray]) -> np.ndarray:
        return self.weight * np.sum(list(parts), axis=0)


@overload
def influence_kernel(
    model: PreTrainedModel, train: pd.DataFrame, queries: pd.DataFrame, parameters: str = ..., sketch: int | None = ...,
    memory: float = ..., seed: int = ...,
) -> Kernel: ...  # fmt: skip
@overload
def influence_kernel(
    model: PreTrainedModel, train: pd.DataFrame, queries: pd.DataFrame, parameters: str = ..., sketch: int | None = ...,
    memory: float = ..., seed: int = ..., *, checkpoints: Sequence[Moment], metric: str = ...,
) -> KernelPath: ...  # fmt: skip
def influence_kernel(
    model: PreTrainedModel, train: pd.DataFrame, queries: pd.DataFrame, parameters: str = "all",
    sketch: int | None = None, memory: float = 12.0, seed: int = 0, *, checkpoints: Sequence[Moment] | None = None,
    metric: str = "adam",
) -> Kernel | KernelPath:  # fmt: skip
    """Compute the tangent kernel of a fine-tuned regression model.

    Parameters
    ----------
    model
        In eval mode, plain or wrapped by peft: then the adapter's parameters alone count.
    parameters : {"all", "head"}
    sketch
        Add up the derivatives, with random signs, in so many buckets (count sketch; Charikar et al. 2002), and
        multiply these. The kernel's error falls as 1 / sqrt(sketch). None keeps all derivatives.
    memory, seed
        Refuse what needs more than so many GB; the seed fixes the sketch.
    checkpoints
        Moments of the model's training: a kernel is taken at each (:class:`KernelPath`). None takes the model's end.
    metric : {"adam", "plain"}
        How checkpoints measure a step. Adam divides a gradient by the root of its second moment v; so "adam" multiplies
        each derivative by (sqrt(v) + 1e-5)^(-1/2), up to a factor, before the kernel is taken.

    Notes
    -----
    Memory: 2 bytes for each molecule and parameter (the mini checkpoint with 4,500 molecules: 7.5 GB), or 4 for each
    molecule and bucket. Time on two cores, mini checkpoint, 4,500 molecules: about a minute for the derivatives, and
    several for the products of all of them, or seconds with a sketch; so much for each checkpoint.
    """
    require_labels(train, "train")
    require_labels(queries, "queries")
    if metric not in ("adam", "plain"):
        raise DataError(f"metric is {metric!r}; choose 'adam' or 'plain'")
    molecule_loss(model)  # refuses a model that is not the same function twice
    params = trained_parameters(model, parameters)
    everyone = pd.concat([train, queries], ignore_index=True)
    n, p = len(everyone), sum(t.numel() for t in params.values())
    needed = n * (sketch * 4 if sketch else p * 2) / 1e9
    if needed > memory:
        raise DataError(
            f"the derivatives of {n:,} molecules by {p:,} parameters take {needed:.0f} GB, more than the {memory:g} GB "
            "allowed; give sketch=16384, parameters='head', a LoRA model, or more memory"
        )
    add_up = _sketcher(p, sketch, seed, model.device) if sketch else None

    def kernel(params: Params, scale: Tensor | None = None) -> Kernel:
        features = torch.empty(n, sketch or p, dtype=torch.float32 if sketch else torch.float16)
        residuals = _derivatives(model, params, everyone, add_up, features, scale)
        gram = _products(features, len(train), model.device).double().numpy()
        return Kernel(gram[: len(train)], gram[len(train) :], residuals[: len(train)], residuals[len(train) :])

    if checkpoints is None:
        return kernel(params)
    if not checkpoints:
        raise DataError("no checkpoints are given; train with moments=, or leave checkpoints out")
    return KernelPath([kernel(*_at(moment, params, metric)) for moment in checkpoints])


def _at(moment: Moment, params: Params, metric: str) -> tuple[Params, Tensor | None]:
    """The parameters at a moment, and what each derivative [p] is multiplied by: at most 1, as half precision asks."""
    if missing := [name for name in params if name not in moment.parameters]:
        raise DataError(f"the checkpoint has no {missing[0]}; it is of another model")
    v = torch.cat([moment.second_moments[name].flatten() for name in params])
    scale = None if metric == "plain" else (1 + v.sqrt() / EPS).rsqrt()
    return {name: moment.parameters[name].to(p) for name, p in params.items()}, scale


@torch.no_grad()  # vmap and grad see through it; the parameters that are not asked for need no graph
def _derivatives(
    model: PreTrainedModel, params: Params, table: pd.DataFrame, add_up: Callable | None, features: Tensor,
    scale: Tensor | None = None,
) -> np.ndarray:  # fmt: skip
    """Write the derivatives of standardised predictions, added up or as they are, into ``features`` [n, k].

    They are first multiplied by ``scale`` [p]. Returns the residuals [n]; both are in the table's order.
    """
    batches, order = molecule_batches(model, table, chunk_size(params))
    std, residuals = model.config.label_std, np.empty(len(table))

    def residual(p: Params, ids: Tensor, mask: Tensor, label: Tensor) -> Tensor:
        logits = functional_call(model, p, kwargs={"input_ids": ids[None], "attention_mask": mask[None]}).logits
        return (logits.squeeze() - label) / std

    each = vmap(grad_and_value(residual), in_dims=(None, 0, 0, 0))
    places = torch.tensor(order).split([len(batch["labels"]) for batch in batches])
    for batch, rows in zip(tqdm(batches, desc="derivatives", unit="batch", leave=False), places, strict=True):
        grads, r = each(params, batch["input_ids"], batch["attention_mask"], batch["labels"])
        flat = torch.cat([g.flatten(1) for g in grads.values()], dim=1)
        if scale is not None:
            flat *= scale.to(flat)
        features[rows] = (add_up(flat) if add_up else flat).to(features)
        residuals[rows] = r.cpu().double()
    return residuals


def chunk_size(params: Params) -> int:
    """How many molecules' gradients are computed at a time: 16 of the mini checkpoint, 5 of the published size."""
    return max(1, min(CHUNK, CHUNK_BYTES // sum(t.nbytes for t in params.values())))


def _sketcher(p: int, n_buckets: int, seed: int, device: torch.device) -> Callable[[Tensor], Tensor]:
    """[b, p] -> [b, n_buckets]: each derivative is added, with a random sign, to a random bucket."""
    generator = torch.Generator().manual_seed(seed)
    bucket = torch.randint(n_buckets, (p,), generator=generator).to(device)
    sign = (torch.randint(2, (p,), generator=generator) * 2.0 - 1).to(device)

    def add_up(rows: Tensor) -> Tensor:
        sums = torch.zeros(len(rows), n_buckets, dtype=rows.dtype, device=device)
        return sums.index_add_(1, bucket, rows.mul_(sign))  # in place: at the published size a copy is a gigabyte

    return add_up


def _products(features: Tensor, n_train: int, device: torch.device) -> Tensor:
    """Gram matrix [n, n_train] in single precision, a block of columns at a time; the products on ``device``."""
    gram = torch.zeros(len(features), n_train, device=device)
    starts = range(0, features.shape[1], BLOCK)
    for start in tqdm(starts, desc="products", unit="block", leave=False, disable=len(starts) == 1):
        # The derivatives wait in the computer's memory, of which there is more; on a GPU goes one block of them.
        block = features[:, start : start + BLOCK].to(device).float()
        gram += block @ block[:n_train].T
    return gram.cpu()
