"""The influence of training molecules through the whole training: the same training, walked backwards.

Give each training molecule i a weight w_i = 1 on its loss. A training in which all is fixed (start, order, label scale;
no dropout) is one long formula from the weights to the final parameters and to a query's loss L, and dL/dw_i is exact:
no damping, no curvature to invert (Engstrom et al. 2025, arXiv:2503.13751; Ilyas & Engstrom 2025, arXiv:2504.16430).
With n training molecules score(i) = -n dL/dw_i. **Positive means helpful**: having i lowers L by about score / n.

A derivative foretells what happens when molecules are dropped only if the training is smooth: measure that first, with
:func:`antisymmetry`. It answers for *this* start and *this* order; another order alone may move a loss by more.

Shapes: p parameters in one flat vector, n training molecules, B molecules in a batch, k queries.
"""

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from itertools import islice
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
from .scores import molecule_loss, require_labels


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A training without chance. The defaults make a smooth one: a start near the end, large batches, small steps."""

    checkpoint: str = "mini-descriptors"  # where the encoder starts
    head_ridge: float | None = 10.0  # the head starts as this ridge on the pooled vectors; None: at random
    epochs: int = 2
    batch_size: int = 128
    learning_rate: float = 1.5e-3  # the peak: it rises over the share ``warmup`` of the steps, then falls to zero
    warmup: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.999
    eps_root: float = 1e-4  # inside the root, whose derivative it bounds; AdamW's usual eps stands outside
    weight_decay: float = 0.01
    clip: float | None = 1.0  # largest norm of a step's gradient
    seed: int = 0  # of the order, and of a random head


class State(NamedTuple):
    """What a step reads and writes: parameters and Adam's two moments [p]; or derivatives by these [k, p]."""

    theta: Tensor
    m: Tensor
    v: Tensor


def clip_factor(recipe: Recipe, g: Tensor) -> float:
    """What a gradient is multiplied by, so that its norm is at most ``clip``."""
    return 1.0 if recipe.clip is None else min(1.0, recipe.clip / (float(g.norm()) + 1e-6))


def step(recipe: Recipe, before: State, g: Tensor, t: int, rate: float) -> State:
    """Step t of AdamW, counted from 0 (Loshchilov & Hutter 2019), with the gradient g of the weighted loss."""
    c, unbias1, unbias2 = clip_factor(recipe, g), 1 - recipe.beta1 ** (t + 1), 1 - recipe.beta2 ** (t + 1)
    m = recipe.beta1 * before.m + (1 - recipe.beta1) * c * g  # (1)
    v = recipe.beta2 * before.v + (1 - recipe.beta2) * (c * g) ** 2  # (2)
    root = (v / unbias2 + recipe.eps_root).sqrt()
    theta = (1 - rate * recipe.weight_decay) * before.theta - rate / unbias1 * m / root  # (3)
    return State(theta, m, v)


def step_back(recipe: Recipe, before: State, g: Tensor, t: int, rate: float, adjoint: State) -> tuple[State, Tensor]:
    """From the derivatives of L by the state after step t, those by the state before it, and by g: all [k, p].

    The chain rule, from the last equation to the first. What theta does to g follows in :meth:`Training.backwards`.
    """
    c, unbias1, unbias2 = clip_factor(recipe, g), 1 - recipe.beta1 ** (t + 1), 1 - recipe.beta2 ** (t + 1)
    _, m, v = step(recipe, before, g, t, rate)
    root = (v / unbias2 + recipe.eps_root).sqrt()
    by_theta = (1 - rate * recipe.weight_decay) * adjoint.theta  # (3), by theta, m and v
    by_m = adjoint.m - rate / unbias1 * adjoint.theta / root
    by_v = adjoint.v + rate / unbias1 * adjoint.theta * m / (2 * unbias2 * root**3)
    by_clipped = (1 - recipe.beta1) * by_m + 2 * (1 - recipe.beta2) * c * g * by_v  # (1) and (2), by c g
    by_g = c * by_clipped
    if c < 1:  # the clip, c = clip / (|g| + 1e-6): g also changes its own norm
        by_g = by_g - (by_clipped @ g)[:, None] * c / (g.norm() + 1e-6) * g / g.norm()
    return State(by_theta, recipe.beta1 * by_m, recipe.beta2 * by_v), by_g


class Training:
    """One training on a table of ``smiles`` and ``label`` (logD), n rows, as a function of its molecules' weights.

    Start, label scale and order depend on no weight. A ``model`` takes the place of the recipe's checkpoint, and is
    changed. In train mode, or if it redraws Omega, it is refused with a DataError: no two forwards would be the same.
    """

    def __init__(self, recipe: Recipe, train: pd.DataFrame, model: PreTrainedModel | None = None):
        require_labels(train, "training table")
        self.recipe, self.n = recipe, len(train)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.model = load_model(recipe.checkpoint) if model is None else model
            self.model.config.canonical_smiles = True
            self.model.config.label_mean = float(train["label"].mean())
            self.model.config.label_std = float(train["label"].std(ddof=0)) or 1.0
            self.batches = self._batches(train)
        self.molecule_loss = molecule_loss(self.model)
        if recipe.head_ridge is not None:
            self._start_head(train, recipe.head_ridge)
        self.shapes = {name: p.shape for name, p in self.model.named_parameters()}
        self.start = parameters_to_vector(self.model.parameters()).detach()
        n_steps, warm = len(self.batches), math.ceil(recipe.warmup * len(self.batches))
        shares = (t / warm if t < warm else (n_steps - t) / (n_steps - warm) for t in range(n_steps))
        self.rates = [share * recipe.learning_rate for share in shares]

    def _batches(self, train: pd.DataFrame) -> list[tuple[Tensor, dict[str, Tensor]]]:
        """For each step the rows of its molecules [B], and what the model reads of them."""
        ids, labels = model_tokens(self.model, train["smiles"]), train["label"].to_numpy()
        sampler, batches = LengthBatches([len(i) for i in ids], self.recipe.batch_size), []
        for _ in range(self.recipe.epochs):
            for rows in torch.tensor(list(sampler)).split(self.recipe.batch_size):
                batches.append((rows, pad([{"input_ids": ids[i], "labels": labels[i]} for i in rows])))
        return batches

    @torch.no_grad()
    def _start_head(self, train: pd.DataFrame, alpha: float) -> None:
        standardised = (train["label"].to_numpy() - self.model.config.label_mean) / self.model.config.label_std
        ridge = Ridge(alpha).fit(embed(self.model, train["smiles"]), standardised)
        self.model.get_parameter("classifier.out_proj.weight").copy_(torch.tensor(ridge.coef_)[None])
        self.model.get_parameter("classifier.out_proj.bias").fill_(ridge.intercept_)

    def losses(self, theta: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Squared error of each molecule of a batch [B], in squared standard deviations of the training labels."""
        parts = theta.split([shape.numel() for shape in self.shapes.values()])
        params = {name: x.view(shape) for (name, shape), x in zip(self.shapes.items(), parts, strict=True)}
        return self.molecule_loss(params, batch)

    def gradient(self, theta: Tensor, w: Tensor, batch: dict[str, Tensor], graph: bool = False) -> Tensor:
        """Gradient of sum_i w_i loss_i / B. B counts molecules of weight 0 too: to drop one does not rescale others."""
        loss = (w * self.losses(theta, batch)).sum() / len(w)
        return torch.autograd.grad(loss, theta, create_graph=graph)[0]

    def states(self, state: State, first: int, weights: Tensor) -> Iterator[State]:
        """The state before step ``first``, before the next one, and so on; the last is that after the training."""
        for t in range(first, len(self.batches)):
            yield state
            rows, batch = self.batches[t]
            g = self.gradient(state.theta.clone().requires_grad_(), weights[rows], batch)
            state = step(self.recipe, state, g, t, self.rates[t])
        if not state.theta.isfinite().all():
            raise DivergenceError("the training left the finite numbers; lower the learning rate")
        yield state

    def run(self, weights: Tensor, every: int = 1) -> list[State]:
        """Train with weights [n]. Returns the state before each ``every``-th step, and the one after the last step."""
        zeros, n_steps = torch.zeros_like(self.start), len(self.batches)
        states = tqdm(self.states(State(self.start, zeros, zeros), 0, weights), "training", n_steps + 1, leave=False)
        return [state for t, state in enumerate(states) if t == n_steps or t % every == 0]

    def backwards(self, kept: list[State], every: int, adjoint: Tensor) -> Tensor:
        """Derivatives of k losses by all weights [k, n], from those by the final parameters [k, p].

        ``kept`` is what :meth:`run` returned for weights of 1; what lies between two kept states is computed again.
        """
        ones, by_weights = torch.ones(self.n).to(adjoint), torch.zeros(len(adjoint), self.n).to(adjoint)
        after = State(adjoint, torch.zeros_like(adjoint), torch.zeros_like(adjoint))
        for first in tqdm(range(0, len(self.batches), every)[::-1], "backwards", leave=False):
            steps = range(first, min(first + every, len(self.batches)))
            between = list(islice(self.states(kept[first // every], first, ones), len(steps)))
            for t, state in list(zip(steps, between, strict=True))[::-1]:
                rows, batch = self.batches[t]
                theta, w = state.theta.clone().requires_grad_(), ones[rows].requires_grad_()
                g = self.gradient(theta, w, batch, graph=True)
                after, by_g = step_back(self.recipe, state, g.detach(), t, self.rates[t], after)
                # g depends on theta and on w. A reverse pass per query through it gives the products with by_g of
                # dg/dtheta, which is the Hessian of the step's loss, and of dg/dw, each molecule's own gradient / B.
                for j, vector in enumerate(by_g):
                    by_theta, by_w = torch.autograd.grad(g @ vector, (theta, w), retain_graph=j < len(by_g) - 1)
                    after.theta[j] += by_theta
                    by_weights[j, rows] += by_w
        return by_weights

    def mean_loss_gradient(self, theta: Tensor, table: pd.DataFrame) -> Tensor:
        """Gradient [p] of the mean loss of a table's molecules."""
        batches, _ = molecule_batches(self.model, table, 64)
        theta = theta.clone().requires_grad_()
        return torch.autograd.grad(torch.cat([self.losses(theta, batch) for batch in batches]).mean(), theta)[0]

    def predict(self, theta: Tensor, table: pd.DataFrame) -> np.ndarray:
        """What the model with parameters theta predicts for a table's molecules: logD, float64."""
        vector_to_parameters(theta, self.model.parameters())
        return predict(self.model, table["smiles"])


@dataclasses.dataclass(frozen=True)
class Unrolled:
    """Influence through the whole training; ``scores`` in squared standard deviations of the labels, as a Kernel's."""

    scores: np.ndarray  # float64 [k, n]; positive: having that training molecule lowers that query's loss by score / n
    predictions: np.ndarray  # of the trained model, logD, float64: the queries' molecules one after the other
    seconds: float


def unrolled_scores(
    recipe: Recipe,
    train: pd.DataFrame,
    queries: pd.DataFrame | Sequence[pd.DataFrame],
    every: int | None = None,
    model: PreTrainedModel | None = None,
) -> Unrolled:
    """Train by a recipe, and differentiate each query's final loss by the weight of each training molecule.

    Each molecule of a table of queries is one; of a list of tables, each table's mean loss. The state of each
    ``every``-th step is kept: of all if they fit into 4 GB, else of each sqrt(T)-th of T, and the others are computed
    again, which costs one training more. A state of the mini checkpoint takes 10 MB. The way back takes as long as
    three trainings with one query, and as two more with each further one.
    """
    began = time.perf_counter()
    tables = [queries.iloc[[i]] for i in range(len(queries))] if isinstance(queries, pd.DataFrame) else list(queries)
    if not (len(train) and tables):
        raise DataError(f"{len(train)} training molecules, {len(tables)} queries: give at least one of each")
    require_labels(everyone := pd.concat(tables), "queries")
    training = Training(recipe, train, model)
    n_steps = len(training.batches)
    every = every or (1 if 3 * training.start.nbytes * n_steps < 4e9 else math.isqrt(n_steps))
    kept = training.run(torch.ones(len(train)), every)
    theta = kept[-1].theta
    adjoint = torch.stack([training.mean_loss_gradient(theta, table) for table in tables])
    found = -len(train) * training.backwards(kept, every, adjoint).double().numpy()
    return Unrolled(found, training.predict(theta, everyone), time.perf_counter() - began)


def antisymmetry(recipe: Recipe, train: pd.DataFrame, queries: pd.DataFrame, share: float = 0.05) -> float:
    """How smooth a training is: 1 where predictions change linearly with the weights, near 0 where by chance.

    Three trainings: as it is, with a random share of the molecules dropped, and with the same counted twice. Returned
    is the correlation over the queries between the first change of the predictions and minus the second.
    """
    training = Training(recipe, train)
    chosen = torch.tensor(np.random.default_rng(0).permutation(len(train))[: round(share * len(train))])
    weights = (torch.ones(len(train)).index_fill(0, chosen, weight) for weight in (1.0, 0.0, 2.0))
    ends = (training.run(w, every=len(training.batches))[-1].theta for w in weights)
    as_it_is, dropped, doubled = (training.predict(theta, queries) for theta in ends)
    return float(np.corrcoef(dropped - as_it_is, as_it_is - doubled)[0, 1])
