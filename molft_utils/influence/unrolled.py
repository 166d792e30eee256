"""The influence of training molecules through the whole training: the same training, walked backwards.

Give each training molecule i a weight w_i = 1 on its loss. A training whose every choice is fixed (start, order, label
scale; no dropout) is then one long formula, from the weights w to the final parameters and to a query's loss L, and
dL/dw_i is exact: no damping, no curvature to invert (metagradients, Engstrom et al. 2025, arXiv:2503.13751; MAGIC,
Ilyas & Engstrom 2025, arXiv:2504.16430). With n training molecules

    score(i) = -n dL/dw_i,

**positive means helpful**: having molecule i lowers the query's loss, to first order by score / n.

A derivative foretells what happens when molecules are dropped only if the training is smooth. Measure this first:
:func:`antisymmetry`. It answers for *this* start and *this* order; another order alone may move a loss by more.

Shapes: p parameters in one flat vector, T steps, n training molecules, B molecules in a batch, k queries.
"""

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import Ridge
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from ..errors import DataError, DivergenceError
from ..molformer import load_model
from ..training import LengthBatches, embed, model_tokens, molecule_batches, pad, predict
from .scoring import molecule_loss

#: States that take more GB than this are kept at every sqrt(T)-th step only, and the others computed again.
MEMORY = 4.0


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A training without chance. The defaults are smooth: they start near the end, with large batches and small steps."""

    checkpoint: str | Path = "mini-descriptors"  # where the encoder starts
    head_ridge: float | None = 1.0  # the head starts as this ridge on the pooled vectors (all w_i = 1); None: at random
    epochs: int = 2
    batch_size: int = 64
    learning_rate: float = 2e-4  # the highest: linear up over the share ``warmup`` of the steps, linear down to zero
    warmup: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.999
    eps_root: float = 1e-6  # inside the root, where it bounds the root's derivative; AdamW has its eps outside
    weight_decay: float = 0.01
    clip: float | None = 1.0  # largest norm of a step's gradient
    seed: int = 0  # of the order, and of a random head
    canonical: bool = True  # how SMILES are read, as in the settings
    max_tokens: int = 128


class State(NamedTuple):
    """What a step reads and writes: parameters and both of Adam's moments [p]; or their adjoints [k, p]."""

    theta: Tensor
    m: Tensor
    v: Tensor


def step(recipe: Recipe, state: State, g: Tensor, t: int, rate: float) -> State:
    """Step t of AdamW, counted from 0, with the gradient g of the weighted loss. Each line has its number below."""
    c = clip_factor(recipe, g)
    m = recipe.beta1 * state.m + (1 - recipe.beta1) * c * g  # (1)
    v = recipe.beta2 * state.v + (1 - recipe.beta2) * (c * g) ** 2  # (2)
    root = (v / (1 - recipe.beta2 ** (t + 1)) + recipe.eps_root).sqrt()
    theta = (1 - rate * recipe.weight_decay) * state.theta - rate * m / (1 - recipe.beta1 ** (t + 1)) / root  # (3)
    return State(theta, m, v)


def step_back(recipe: Recipe, state: State, g: Tensor, t: int, rate: float, adjoint: State) -> tuple[State, Tensor]:
    """Take step t back: from derivatives of L by the state after it to those by the state before it and by g.

    The adjoint of x is dL/dx, for k queries at once: [k, p]. The chain rule, from the last equation to the first; what
    theta does to g is left to :meth:`Training.backwards`.
    """
    _, m, v = step(recipe, state, g, t, rate)
    c, unbias1, unbias2 = clip_factor(recipe, g), 1 - recipe.beta1 ** (t + 1), 1 - recipe.beta2 ** (t + 1)
    root = (v / unbias2 + recipe.eps_root).sqrt()
    # (3): theta' = (1 - rate decay) theta - rate (m' / unbias1) / root(v')
    by_theta = (1 - rate * recipe.weight_decay) * adjoint.theta
    by_m = adjoint.m - rate / unbias1 * adjoint.theta / root
    by_v = adjoint.v + rate / unbias1 * adjoint.theta * m / (2 * unbias2 * root**3)
    # (2) and (1): v' = beta2 v + (1 - beta2) (c g)^2,  m' = beta1 m + (1 - beta1) c g
    by_clipped = (1 - recipe.beta1) * by_m + 2 * (1 - recipe.beta2) * (c * g) * by_v
    # The clip, c = C / (|g| + 1e-6) where that is below 1: g also changes its own norm.
    by_g = c * by_clipped
    if c < 1:
        norm = g.norm()
        by_g = by_g - (by_clipped @ g)[:, None] * c / (norm + 1e-6) * g / norm
    return State(by_theta, recipe.beta1 * by_m, recipe.beta2 * by_v), by_g


def clip_factor(recipe: Recipe, g: Tensor) -> float:
    """What a gradient is multiplied with, so that its norm is at most ``clip``."""
    return 1.0 if recipe.clip is None else min(1.0, recipe.clip / (float(g.norm()) + 1e-6))


class Training:
    """One training as a function of the weights of its molecules.

    Parameters
    ----------
    recipe, train
        Table with ``smiles`` and ``label`` (logD). Its labels fix the label scale, whatever the weights.
    model
        A regression model in eval mode to start from, in place of the recipe's checkpoint; it is changed in place.

    Raises
    ------
    DataError
        If the table is empty, or the model is in train mode or redraws Omega: not the same function twice.
    """

    def __init__(self, recipe: Recipe, train: pd.DataFrame, model: PreTrainedModel | None = None):
        if not len(train):
            raise DataError("the training table has no rows")
        self.recipe, self.n = recipe, len(train)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.model = load_model(recipe.checkpoint) if model is None else model
            self.batches = self._configured(train)
        self.molecule_loss = molecule_loss(self.model)
        if recipe.head_ridge is not None:
            self._start_head_at_ridge(train, recipe.head_ridge)
        self.shapes = {name: p.shape for name, p in self.model.named_parameters()}
        self.start = parameters_to_vector(self.model.parameters()).detach()
        n_steps = len(self.batches)
        warm = math.ceil(recipe.warmup * n_steps)
        rise, fall = np.arange(n_steps) / max(warm, 1), (n_steps - np.arange(n_steps)) / max(n_steps - warm, 1)
        self.rates = (recipe.learning_rate * np.minimum(rise, fall) if warm else recipe.learning_rate * fall).tolist()

    def _configured(self, train: pd.DataFrame) -> list[tuple[Tensor, dict[str, Tensor]]]:
        """Fix label scale and order: for each step the molecules' rows [B] and their batch."""
        config, p = self.model.config, next(self.model.parameters())
        config.canonical_smiles, config.max_tokens = self.recipe.canonical, self.recipe.max_tokens
        config.label_mean, config.label_std = float(train["label"].mean()), float(train["label"].std(ddof=0)) or 1.0
        ids, labels = model_tokens(self.model, train["smiles"]), torch.tensor(train["label"].to_numpy(), dtype=p.dtype)
        sampler = LengthBatches([len(i) for i in ids], self.recipe.batch_size)
        batches = []
        for _ in range(self.recipe.epochs):
            for rows in torch.tensor(list(sampler)).split(self.recipe.batch_size):
                batch = {**pad([{"input_ids": ids[i]} for i in rows]), "labels": labels[rows]}
                batches.append((rows, {name: x.to(p.device) for name, x in batch.items()}))
        return batches

    @torch.no_grad()
    def _start_head_at_ridge(self, train: pd.DataFrame, alpha: float) -> None:
        head, config = self.model.classifier.out_proj, self.model.config
        y = (train["label"].to_numpy() - config.label_mean) / config.label_std
        ridge = Ridge(alpha).fit(embed(self.model, train["smiles"]), y)
        head.weight.copy_(torch.tensor(ridge.coef_)[None])
        head.bias.copy_(torch.tensor([ridge.intercept_]))

    def losses(self, theta: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Squared error of each molecule of a batch [B], in squared standard deviations of the training labels."""
        parts = theta.split([shape.numel() for shape in self.shapes.values()])
        params = {name: x.view(shape) for (name, shape), x in zip(self.shapes.items(), parts, strict=True)}
        return self.molecule_loss(params, batch)

    def gradient(self, theta: Tensor, weights: Tensor, batch: dict[str, Tensor], graph: bool = False) -> Tensor:
        """Gradient of sum_i w_i loss_i / B. B counts molecules of weight 0 too: dropping one rescales no other."""
        loss = (weights * self.losses(theta, batch)).sum() / len(weights)
        return torch.autograd.grad(loss, theta, create_graph=graph)[0]

    def states(self, state: State, first: int, weights: Tensor) -> Iterator[State]:
        """The state before step ``first``, before the next, and so on, at last the one after the training."""
        for t in range(first, len(self.batches)):
            yield state
            rows, batch = self.batches[t]
            g = self.gradient(state.theta.clone().requires_grad_(), weights[rows], batch)
            state = step(self.recipe, state, g, t, self.rates[t])
        if not state.theta.isfinite().all():
            raise DivergenceError("the training left the finite numbers; lower the learning rate")
        yield state

    def run(self, weights: Tensor | None = None, every: int = 1) -> list[State]:
        """Train. Returns the state before each ``every``-th step, and the one after the last step."""
        w = torch.ones(self.n).to(self.start) if weights is None else weights.to(self.start)
        beginning = State(self.start, torch.zeros_like(self.start), torch.zeros_like(self.start))
        steps = enumerate(tqdm(self.states(beginning, 0, w), "training", len(self.batches) + 1, leave=False))
        return [state for t, state in steps if (t % every == 0 and t < len(self.batches)) or t == len(self.batches)]

    def backwards(self, kept: Sequence[State], every: int, adjoint: Tensor) -> Tensor:
        """Derivatives of k queries' losses by all weights [k, n], from those by the final parameters [k, p].

        ``kept`` is what :meth:`run` returned; steps between two kept states are trained again.
        """
        ones = torch.ones(self.n).to(self.start)
        by_weights = torch.zeros(len(adjoint), self.n).to(self.start)
        after = State(adjoint, torch.zeros_like(adjoint), torch.zeros_like(adjoint))
        steps = tqdm(total=len(self.batches), desc="backwards", unit="step", leave=False)
        for segment in reversed(range(len(kept) - 1)):
            first = segment * every
            before = list(islice(self.states(kept[segment], first, ones), min(every, len(self.batches) - first)))
            for t, state in reversed(list(enumerate(before, start=first))):
                rows, batch = self.batches[t]
                theta, w = state.theta.clone().requires_grad_(), ones[rows].requires_grad_()
                g = self.gradient(theta, w, batch, graph=True)
                after, by_g = step_back(self.recipe, state, g.detach(), t, self.rates[t], after)
                # g depends on theta and w: one more reverse pass per query gives (dg/dtheta)^T by_g, the step's Hessian
                # times by_g, and (dg/dw)^T by_g.
                for j, vector in enumerate(by_g):
                    by_theta, by_w = torch.autograd.grad(g @ vector, (theta, w), retain_graph=j < len(by_g) - 1)
                    after.theta[j] += by_theta
                    by_weights[j, rows] += by_w  # a molecule comes once in each epoch: its contributions add up
                steps.update()
        steps.close()
        return by_weights

    def query_gradient(self, theta: Tensor, query: pd.DataFrame) -> Tensor:
        """Gradient [p] of the mean loss of a table's molecules by the final parameters."""
        batches, _ = molecule_batches(self.model, query, 64)
        return sum(
            self.gradient(theta.clone().requires_grad_(), torch.ones_like(batch["labels"]), batch)
            * (len(batch["labels"]) / len(query))
            for batch in batches
        )  # type: ignore[return-value]

    def predict(self, theta: Tensor, table: pd.DataFrame) -> np.ndarray:
        """What the model with parameters theta predicts for a table's molecules: logD, float64 [len(table)]."""
        vector_to_parameters(theta, self.model.parameters())
        return predict(self.model, table["smiles"])


@dataclasses.dataclass(frozen=True)
class Unrolled:
    """Influence through the whole training.

    Attributes
    ----------
    scores : float64 [k, n]
        In squared standard deviations of the labels, as :meth:`Kernel.scores` gives them. Positive: having that
        training molecule lowers that query's loss, to first order by the score / n.
    predictions : float64
        Of the trained model, in logD, for the queries' molecules one after the other.
    seconds, training_seconds
        The time that it took, and that of the training in it.
    """

    scores: np.ndarray
    predictions: np.ndarray
    seconds: float
    training_seconds: float


def unrolled_scores(
    recipe: Recipe,
    train: pd.DataFrame,
    queries: pd.DataFrame | Sequence[pd.DataFrame],
    every: int | None = None,
    model: PreTrainedModel | None = None,
) -> Unrolled:
    """Train by a recipe and differentiate each query's final loss by the weight of each training molecule.

    Parameters
    ----------
    recipe, train, model
        As :class:`Training` takes them.
    queries
        A table: each of its molecules is a query. A list of tables: the mean loss of each table is a query.
    every
        Keep the state of every so-manieth step, and compute those between again, which costs one more training. None
        keeps all where they take at most ``MEMORY`` GB, else every sqrt(T)-th.

    Notes
    -----
    A state takes 3 p numbers: with the mini checkpoint 10 MB, 1 GB for the 96 steps of the recipe. Backwards takes
    about three times as long as the training with one query, and about two trainings more with each further one.

    Raises
    ------
    DataError
        As :class:`Training`; if there are no queries.
    DivergenceError
        If the training leaves the finite numbers.
    """
    began = time.perf_counter()
    training = Training(recipe, train, model)
    tables = [queries.iloc[i : i + 1] for i in range(len(queries))] if isinstance(queries, pd.DataFrame) else queries
    if not len(tables):
        raise DataError("there are no queries; give at least one molecule")
    n_steps, size = len(training.batches), 3 * training.start.nbytes / 1e9
    every = every or (1 if n_steps * size <= MEMORY else math.isqrt(n_steps))
    kept = training.run(every=every)
    trained = time.perf_counter()
    theta = kept[-1].theta
    adjoint = torch.stack([training.query_gradient(theta, table) for table in tables])
    derivatives = training.backwards(kept, every, adjoint).double().cpu().numpy()
    predictions = training.predict(theta, pd.concat(tables))
    return Unrolled(-training.n * derivatives, predictions, time.perf_counter() - began, trained - began)


def antisymmetry(
    recipe: Recipe, train: pd.DataFrame, queries: pd.DataFrame, share: float = 0.05, seed: int = 0
) -> float:
    """How smooth a training is: 1 where predictions change linearly with the weights, about 0 where by chance.

    Three trainings: as it is, with a random share of the molecules dropped, and with the same counted twice. Returned
    is the correlation over the queries of the first change of the predictions with minus the second. Trust a derivative
    of the training above about 0.9.
    """
    training = Training(recipe, train)
    chosen = np.random.default_rng(seed).permutation(len(train))[: round(share * len(train))]
    outputs = []
    for weight in (1, 0, 2):
        weights = torch.ones(len(train))
        weights[chosen] = weight
        outputs.append(training.predict(training.run(weights, len(training.batches))[-1].theta, queries))
    as_it_is, dropped, doubled = outputs
    return float(np.corrcoef(dropped - as_it_is, as_it_is - doubled)[0, 1])
