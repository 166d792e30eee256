"""How molft's own costs grow with molecules, parameters and length: slopes on a log-log plot.

A slope of 1 means that twice as much takes twice as long. Molecules are the first of the training split; models of
other sizes have random weights; molecules of other lengths are random tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from ...data import load_lipophilicity, split
from ...influence import influence_kernel, molecule_loss, scores, trained_parameters
from ...molformer import MolformerConfig, MolformerForSequenceClassification, load_model
from ...profiles import settings
from ...shapley import permutation_values
from ...training import finetune, molecule_batches
from .rows import Row
from .turns import in_turns, slope, spread

ROUNDS = 3
MOLECULES = (64, 128, 256, 512)
SAMPLED = (250, 500, 1000, 2000)
WIDTHS = (32, 64, 128, 256)
LENGTHS = (16, 32, 64, 128)

#: Buckets of the kernel.
SKETCH = 16_384


def molecules() -> dict[str, Mapping[int, Callable[[], object]]]:
    """Fit, scores and kernel of so many molecules; a permutation of so many for the sampler."""
    table, model, cfg = split(load_lipophilicity()).train, load_model("mini"), settings("class", epochs=1)
    model.config.canonical_smiles = True
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(max(SAMPLED), 128)), rng.normal(size=max(SAMPLED))
    queries = table.tail(16)

    def fit(n: int) -> None:
        finetune(load_model("mini"), table.head(n), None, cfg)

    def kernel(n: int) -> None:
        influence_kernel(model, table.head(n), queries, sketch=SKETCH)

    def sampled(n: int) -> None:
        permutation_values(X[:n], y[:n], X[:168], y[:168], alpha=100.0, n_permutations=1)

    return {
        "fit": {n: partial(fit, n) for n in MOLECULES},
        "scores": {n: partial(score, model, table.head(n)) for n in MOLECULES},
        "kernel": {n: partial(kernel, n) for n in MOLECULES},
        "Shapley sampler, a permutation": {n: partial(sampled, n) for n in SAMPLED},
    }


def parameters() -> dict[str, Mapping[int, Callable[[], object]]]:
    """A training step and scores of 64 molecules, and a kernel of 32, by the number of parameters."""
    table = split(load_lipophilicity()).train.head(64)
    models = {sum(p.numel() for p in model.parameters()): model for model in map(of_width, WIDTHS)}
    batches = molecule_batches(models[min(models)], table, 32)[0]

    def kernel(model: Any) -> None:
        influence_kernel(model, table.head(32), table.tail(8), sketch=SKETCH)

    return {
        "training step": {p: partial(step, model, *batches) for p, model in models.items()},
        "scores": {p: partial(score, model, table) for p, model in models.items()},
        "kernel": {p: partial(kernel, model) for p, model in models.items()},
    }


def lengths() -> dict[str, Mapping[int, Callable[[], object]]]:
    """A training step and scores of 32 molecules by their length in tokens."""
    model = of_width(128)
    loss, params = molecule_loss(model), trained_parameters(model)
    direction = {name: torch.ones_like(p) for name, p in params.items()}
    batches = {n: random_tokens(n) for n in LENGTHS}
    return {
        "training step": {n: partial(step, model, batch) for n, batch in batches.items()},
        "scores": {n: partial(scores, loss, params, [batch], direction) for n, batch in batches.items()},
    }


def of_width(width: int) -> Any:
    """A MoLFormer with the mini checkpoint's number of layers and random weights, four times as wide inside."""
    torch.manual_seed(0)
    mini = load_model("mini").config
    config = MolformerConfig(
        vocab_size=mini.vocab_size, hidden_size=width, intermediate_size=4 * width,
        num_hidden_layers=mini.num_hidden_layers, num_attention_heads=mini.num_attention_heads,
        num_random_features=mini.num_random_features, num_labels=1, problem_type="regression",
        classifier_head="linear", deterministic_eval=True,
    )  # fmt: skip
    model = MolformerForSequenceClassification(config).eval()
    model.config.canonical_smiles = True
    return model


def random_tokens(length: int) -> dict[str, torch.Tensor]:
    """Thirty-two molecules without padding."""
    ids = torch.randint(4, 60, (32, length), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.zeros(32)}


def step(model: Any, *batches: dict) -> None:
    """Forward and backward on each batch."""
    for batch in batches:
        model(**batch).loss.backward()
        model.zero_grad()


def score(model: Any, table: pd.DataFrame) -> torch.Tensor:
    """Scores of a table's molecules in one direction."""
    loss, params = molecule_loss(model), trained_parameters(model)
    direction = {name: torch.ones_like(p) for name, p in params.items()}
    return scores(loss, params, molecule_batches(model, table, 32)[0], direction)


def compare() -> list[Row]:
    """Slopes, and the times that they come from."""
    rows = []
    for axis, measured in (("molecules", molecules()), ("parameters", parameters()), ("tokens", lengths())):
        for what, runs in measured.items():
            seconds = in_turns({str(n): run for n, run in runs.items()}, ROUNDS)
            rows += growth_rows(f"{what}, by {axis}", list(runs), seconds, axis)
    return rows


def growth_rows(case: str, sizes: Sequence[int], seconds: pd.DataFrame, axis: str) -> list[Row]:
    """The slope of a case, and a row for each of its sizes."""
    note = f"CPU time, one thread: median and range of {len(seconds)} rounds in turn"
    middle, low, high = slope(sizes, seconds.to_numpy())
    span = f"{min(sizes):,} to {max(sizes):,} {axis}"
    rows = [Row(f"slope: {case}", "molft", span, middle, low, high, "log/log", note)]
    for n in sizes:
        times = seconds[str(n)]
        rows.append(Row(f"time: {case}", "molft", f"{n} {axis}", *spread(times), "s", note))
    return rows
