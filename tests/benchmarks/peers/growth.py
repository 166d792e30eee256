"""How molft's own costs grow with molecules and parameters: slopes on a log-log plot.

A slope of 1 means that twice as much takes twice as long. Molecules are the first of the training split; models of
other sizes have random weights.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from molft_utils.data import load_lipophilicity, split
from molft_utils.influence import influence_kernel, molecule_loss, scores, trained_parameters
from molft_utils.molformer import MolformerConfig, MolformerForSequenceClassification, load_model
from molft_utils.settings import settings
from molft_utils.shapley import permutation_values
from molft_utils.training import finetune, molecule_batches
from rows import Row, in_turns, spread, write

ROUNDS, SKETCH = 3, 16_384
MOLECULES, SAMPLED, WIDTHS = (64, 128, 256, 512), (250, 500, 1000, 2000), (32, 64, 128, 256)

Runs = dict[str, Mapping[int, Callable[[], object]]]


def by_molecules() -> Runs:
    """Fit, scores and kernel of so many molecules; a permutation of so many for the sampler."""
    table, model = split(load_lipophilicity()).train, load_model("mini")
    model.config.canonical_smiles = True
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(max(SAMPLED), 128)), rng.normal(size=max(SAMPLED))

    def fit(n: int) -> None:
        finetune(load_model("mini"), table.head(n), None, settings("class", epochs=1))

    def sampled(n: int) -> None:
        permutation_values(X[:n], y[:n], X[:168], y[:168], alpha=100.0, n_permutations=1)

    return {
        "fit": {n: partial(fit, n) for n in MOLECULES},
        "scores": {n: partial(score, model, table.head(n)) for n in MOLECULES},
        "kernel": {
            n: partial(influence_kernel, model, table.head(n), table.tail(16), sketch=SKETCH) for n in MOLECULES
        },
        "Shapley sampler, a permutation": {n: partial(sampled, n) for n in SAMPLED},
    }


def by_parameters() -> Runs:
    """A training step and scores of 64 molecules, and a kernel of 32."""
    table = split(load_lipophilicity()).train.head(64)
    models = {sum(p.numel() for p in model.parameters()): model for model in map(of_width, WIDTHS)}
    queries = table.tail(8)
    return {
        "training step": {p: partial(step, model, table) for p, model in models.items()},
        "scores": {p: partial(score, model, table) for p, model in models.items()},
        "kernel": {p: partial(influence_kernel, m, table.head(32), queries, sketch=SKETCH) for p, m in models.items()},
    }


def of_width(width: int) -> Any:
    """A MoLFormer with the mini checkpoint's number of layers and random weights, four times as wide inside."""
    torch.manual_seed(0)
    changed = {"hidden_size": width, "intermediate_size": 4 * width, "num_labels": 1, "problem_type": "regression"}
    config = MolformerConfig(**{**load_model("mini").config.to_dict(), **changed, "canonical_smiles": True})
    return MolformerForSequenceClassification(config).eval()


def step(model: Any, table: pd.DataFrame) -> None:
    """Forward and backward on each batch."""
    for batch in molecule_batches(model, table, 32)[0]:
        model(**batch).loss.backward()
        model.zero_grad()


def score(model: Any, table: pd.DataFrame) -> torch.Tensor:
    """Scores of a table's molecules in one direction."""
    loss, params = molecule_loss(model), trained_parameters(model)
    direction = {name: torch.ones_like(p) for name, p in params.items()}
    return scores(loss, params, molecule_batches(model, table, 32)[0], direction)


def compare() -> list[Row]:
    """Slopes, of the median over rounds with its range over rounds, and the times that they come from."""
    rows, note = [], f"CPU time, one thread: median and range of {ROUNDS} rounds in turn"
    for axis, measured in (("molecules", by_molecules()), ("parameters", by_parameters())):
        for what, runs in measured.items():
            seconds = in_turns({str(n): run for n, run in runs.items()}, ROUNDS)
            slopes = np.polyfit(np.log(list(runs)), np.log([seconds.median(), *seconds.to_numpy()]).T, 1)[0]
            span = f"{min(runs):,} to {max(runs):,} {axis}"
            figures = slopes[0], slopes.min(), slopes.max()
            rows.append(Row(f"slope: {what}, by {axis}", "molft", span, *figures, "log/log", note))
            for n in seconds:
                rows.append(Row(f"time: {what}, by {axis}", "molft", f"{n} {axis}", *spread(seconds[n]), "s", note))
    return rows


if __name__ == "__main__":
    write("growth", compare())
