"""Influence functions: which candidates, added to the training data, would lower the loss on a target set?

With H the curvature of the mean training loss at the trained parameters (its Gauss-Newton matrix, or its Hessian),
lambda the damping (a ridge on H), v the gradient of the mean target loss and g_z the gradient of candidate z's loss
(Koh & Liang 2017, arXiv:1703.04730):

    s = (H + lambda I)^-1 v,    score(z) = s . g_z,    adding z with weight 1/n changes the target loss by -s . g_z / n.

**A positive score means: helpful.** Koh and Liang's I_up,loss is -s . g_z: ranked by it from the top, the harmful
candidates come first.
"""

import dataclasses
import time
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp
from transformers import PreTrainedModel

from ..errors import DataError, DivergenceError
from ..molformer import FeatureMap
from ..settings import Settings
from ..training import molecule_batches
from .lissa import InverseHVP, Loss, Params, aligned, checked_losses, gradient, lissa


@dataclasses.dataclass(frozen=True)
class InfluenceResult:
    """Scores of candidates; positive means that adding the molecule is predicted to lower the target loss.

    ``scores`` [n] are in the order of the candidates, in squared standard deviations of the labels; divided by the
    number of training molecules, a score is the predicted fall of the target loss. ``direction`` is the solution s with
    its residual; ``table`` the candidates with the columns ``score``, ``dot_product`` (v . g_z, the same without the
    curvature) and ``loss``, the best first; ``target`` the name of the split whose loss was used.
    """

    scores: Tensor
    direction: InverseHVP
    table: pd.DataFrame
    target: str
    seconds: float

    def __str__(self) -> str:
        leak = " - A LEAK: the test labels chose the training data" if self.target == "test" else ""
        return (
            f"{len(self.table)} candidates scored for the {self.target} loss{leak}; {int((self.scores > 0).sum())} "
            f"helpful; residual {self.direction.residual:.2f} after {self.direction.n_products} products; "
            f"{self.seconds:.0f} s"
        )


def scores(loss: Loss, params: Params, batches: Sequence, direction: Params) -> Tensor:
    """Score direction . g_z of every molecule z of the batches [n], in their order; positive means helpful.

    The scores of a batch are the derivative of its vector of losses along ``direction``: one forward-mode pass
    (Jacobian-vector product) instead of a backward pass for each molecule.
    """
    params = {name: p.detach() for name, p in params.items()}
    direction, parts = aligned(direction, params), []
    with torch.no_grad():
        for i, batch in enumerate(batches):
            losses, slopes = jvp(lambda p, b=batch: loss(p, b), (params,), (direction,))[:2]
            checked_losses(losses, i)
            parts.append(slopes)
    values = torch.cat(parts)
    if not values.isfinite().all():
        raise DivergenceError(f"{int((~values.isfinite()).sum())} scores are not finite; raise the damping")
    return values


def trained_parameters(model: nn.Module, which: str = "all") -> Params:
    """The parameters that train, by name: "all" of them, or those of the "head"."""
    if which not in ("all", "head"):
        raise DataError(f"parameters is {which!r}; choose 'all' or 'head'")
    params = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    if which == "head":
        params = {name: p for name, p in params.items() if "classifier." in name}
    if not params:
        raise DataError(f"the model has no parameters that train ({which})")
    return params


def molecule_loss(model: PreTrainedModel) -> Loss:
    """Squared error of each molecule as a function of the parameters, in standardised units as the training loss.

    A model that may give another output next time is refused: it, or a part of it, is in train mode, or redraws Omega.
    """
    if any(module.training for module in model.modules()):
        raise DataError("the model is in train mode: its dropout is on; call model.eval() first")
    if any(module.redraw_in_evaluation for module in model.modules() if isinstance(module, FeatureMap)):
        raise DataError("the model redraws Omega at every forward; load it with deterministic_eval=True")
    std = model.config.label_std

    def loss(params: Params, batch: dict[str, Tensor]) -> Tensor:
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        predictions = functional_call(model, params, kwargs=inputs).logits.squeeze(-1)
        return ((predictions - batch["labels"]) / std) ** 2

    return loss


def influence_scores(
    model: PreTrainedModel, train: pd.DataFrame, target: pd.DataFrame, candidates: pd.DataFrame, settings: Settings,
    parameters: str = "all", target_name: str = "validation",
) -> InfluenceResult:  # fmt: skip
    """Score candidate molecules: by how much would adding each lower the loss on the target table?

    Parameters
    ----------
    model
        A fine-tuned regression model in eval mode, plain or wrapped by peft; it is left as it is.
    train
        What the model was trained on; the curvature is that of its mean loss.
    target
        The validation split. The report takes the test split; then say so by ``target_name="test"``, and the result
        is labelled as the leak that it is.
    settings
        ``influence_curvature``, ``influence_damping`` (as a share of the largest eigenvalue), ``influence_depth``,
        ``influence_batch_size`` and ``seed`` are read.
    parameters : {"all", "head"}
        All parameters that train, or the regression head alone.

    Notes
    -----
    Peak memory: eight vectors of the size of the parameters, and one batch's activations; with the Hessian its
    second-order graph (about three times the activations of a training step).
    """
    began = time.perf_counter()
    for name, table in {"train": train, "target": target, "candidates": candidates}.items():
        require_labels(table, name)
    loss, params = molecule_loss(model), trained_parameters(model, parameters)
    size = settings.influence_batch_size
    train_batches, target_batches = (molecule_batches(model, table, size)[0] for table in (train, target))
    candidate_batches, rows = molecule_batches(model, candidates, size)

    v = gradient(loss, params, target_batches)
    solved = lissa(
        loss, params, train_batches, v, damping=settings.influence_damping, relative=True,
        depth=settings.influence_depth, seed=settings.seed, curvature=settings.influence_curvature,
    )  # fmt: skip
    with torch.no_grad():
        losses = torch.cat([loss(params, batch) for batch in candidate_batches])
    columns = {
        "score": scores(loss, params, candidate_batches, solved.direction),
        "dot_product": scores(loss, params, candidate_batches, v),
        "loss": losses,
    }
    order = torch.tensor(rows).argsort().to(losses.device)  # from the order of the batches back to the table's
    columns = {name: values[order].cpu() for name, values in columns.items()}
    # On the CPU before float64: an Apple GPU has none.
    table = candidates.assign(**{name: values.double().numpy() for name, values in columns.items()})
    best_first = table.sort_values("score", ascending=False)
    return InfluenceResult(columns["score"], solved, best_first, target_name, time.perf_counter() - began)


def require_labels(table: pd.DataFrame, name: str) -> None:
    """Raise a DataError that names the first row whose label is no finite number."""
    labels = pd.to_numeric(table["label"], errors="coerce").to_numpy(dtype=float)
    bad = np.flatnonzero(~np.isfinite(labels))
    if len(bad):
        row = table.iloc[bad[0]]
        raise DataError(
            f"{name}: row {row.name} ({row['smiles']}) has the label {row['label']}, no finite number; correct it or "
            f"drop the row ({len(bad)} such in all)"
        )
