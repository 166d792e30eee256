"""Studies of the size of influence: do scores predict by how much a loss changes, and is the training smooth enough?

All start from one training by a :class:`molft_utils.influence.Recipe`, without chance; the bank of drops
(``data/retraining/drops.safetensors``) has what really happens if some of its molecules are dropped.
"""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import load_file, save_file
from torch.nn.utils import vector_to_parameters
from transformers import PreTrainedModel

from molft_utils.cache import Kind, cached, checkpoint_hash
from molft_utils.data import table_hash
from molft_utils.evaluation import DROPS, Bank, grade_drops, load_bank, scores
from molft_utils.experiments import pipeline, selection
from molft_utils.influence import Kernel, Recipe, Training, antisymmetry, influence_kernel, unrolled_scores
from molft_utils.settings import Settings, settings
from study import Row, Run

SKETCH = 65_536  # buckets of the kernel's sketch
N_QUERIES = 40

#: Scores of one training by :class:`Recipe` -> damping, as a share of the largest eigenvalue. None is chosen here.
BY_SIZE = {
    "unrolled": None,
    "Gauss-Newton, damping 0.001": 0.001,
    "Gauss-Newton, damping 0.03": 0.03,
    "gradient product": None,
    "random": None,  # the unrolled scores of each query, dealt to random molecules
}
SHARES = (0.01, 0.05, 0.1)
MEAN_LOSS, SINGLE_LOSSES = "mean validation loss", f"{N_QUERIES} test molecules"

UNROLLED = Kind("unrolled", 1)


def unrolled(recipe: Recipe, train: pd.DataFrame, queries: Sequence[pd.DataFrame]) -> tuple[np.ndarray, float]:
    """Scores [n_queries, n_train] for the mean loss of each table, and how long they took in seconds of one core.

    Eight queries at a time take 5 GB; their scores are kept.
    """
    parts = [_unrolled(recipe, train, queries[first : first + 8]) for first in range(0, len(queries), 8)]
    return np.concatenate([found for found, _ in parts]), sum(seconds for _, seconds in parts)


def _unrolled(recipe: Recipe, train: pd.DataFrame, queries: Sequence[pd.DataFrame]) -> tuple[np.ndarray, float]:
    def compute(folder: Path) -> dict:
        began = time.process_time()
        save_file({"scores": unrolled_scores(recipe, train, queries).scores}, folder / "scores.safetensors")
        return {"seconds": time.process_time() - began}

    tables = {"train": table_hash(train), "queries": [table_hash(table) for table in queries]}
    key = {"recipe": dataclasses.asdict(recipe), "checkpoint": checkpoint_hash(recipe.checkpoint), **tables}
    result = cached(UNROLLED, None, key, compute)
    return load_file(result.folder / "scores.safetensors")["scores"], result.record["seconds"]


@dataclasses.dataclass(frozen=True)
class PredictingDrops:
    """Do scores predict, in rank and size, how losses change when a share of the training molecules is dropped?"""

    score: str
    losses: str
    share: float
    training: Recipe
    sketch: int = SKETCH

    files = ("lipophilicity.csv", "molformer-mini-descriptors/model.safetensors", DROPS)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        kernel = dataclasses.replace(selection.KERNEL, after=())
        return (UNROLLED if self.score in ("unrolled", "random") else kernel,)

    def row(self, cfg: Settings) -> Row:
        """Figures, and what training and scoring cost together, as a multiple of the training."""
        bank = load_bank("test", DROPS).some(N_QUERIES)[1]
        if self.losses == MEAN_LOSS:
            bank = load_bank("validation", DROPS)
        values, seconds = self.scores(cfg)
        label_std = pipeline.tables(cfg).train["label"].std(ddof=0)
        graded = grade_drops(values, bank, label_std, mean=self.losses == MEAN_LOSS)
        return {**graded.loc[self.share], "trainings": seconds / trained_model(self.training, cfg)[1]}

    def scores(self, cfg: Settings) -> tuple[np.ndarray, float]:
        """Scores [1 or N_QUERIES, n_train], and how long the training and they took, in seconds of one core."""
        train, validation, test = graded_tables(cfg)
        if self.score in ("unrolled", "random"):
            queries = [validation] if self.losses == MEAN_LOSS else [test.iloc[[i]] for i in range(len(test))]
            found, seconds = unrolled(self.training, train, queries)
            dealt = np.random.default_rng(0).permuted(found, axis=1)
            return (dealt, 0.0) if self.score == "random" else (found, seconds)
        kernel, seconds = kernel_after(self.training, cfg)
        damping = BY_SIZE[self.score]
        every = kernel.scores(damping * kernel.largest_eigenvalue) if damping else kernel.gradient_products()
        of_validation, of_test = np.split(every, [len(validation)])
        return of_validation.mean(axis=0, keepdims=True) if self.losses == MEAN_LOSS else of_test, seconds


def graded_tables(cfg: Settings) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The training split, the validation molecules, and ``N_QUERIES`` test molecules at even distances."""
    parts = pipeline.tables(cfg)
    return parts.train, parts.validation, parts.test.iloc[load_bank("test", DROPS).some(N_QUERIES)[0]]


@lru_cache(maxsize=1)
def trained_model(recipe: Recipe, cfg: Settings) -> tuple[PreTrainedModel, float]:
    """The model that a recipe trains, and how long it took in seconds of one core."""
    began = time.process_time()
    training = Training(recipe, pipeline.tables(cfg).train)
    vector_to_parameters(trained(training, torch.ones(training.n)), training.model.parameters())
    return training.model, time.process_time() - began


@lru_cache(maxsize=1)
def kernel_after(recipe: Recipe, cfg: Settings) -> tuple[Kernel, float]:
    """Its kernel, with the validation and then the test molecules as queries; training and kernel took so long."""
    (model, of_training), (train, *queries), began = trained_model(recipe, cfg), graded_tables(cfg), time.process_time()
    kernel = influence_kernel(model, train, pd.concat(queries, ignore_index=True), sketch=SKETCH)
    return kernel, of_training + time.process_time() - began


def trained(training: Training, weights: torch.Tensor) -> torch.Tensor:
    """The parameters [p] after a training with these weights [n]."""
    return training.run(weights, every=len(training.batches))[-1].theta


def drops() -> Iterator[Run]:
    for score, losses, share in product(BY_SIZE, (MEAN_LOSS, SINGLE_LOSSES), SHARES):
        key = {"score": score, "losses": losses, "share": share}
        yield Run("drops", key, settings("class"), PredictingDrops(score, losses, share, Recipe()))


#: Trainings of which it is measured how smooth they are -> real trainings that their unrolled scores must predict:
#: so many subsets of 5 % of the molecules, with this weight.
SMOOTHNESS = {
    "default": (Recipe(), 20, 2.0),
    "smaller steps": (Recipe(learning_rate=1e-3), 0, 0.0),
    "three epochs": (Recipe(epochs=3), 0, 0.0),
    "smaller batches and steps": (Recipe(batch_size=64, learning_rate=2e-4, eps_root=1e-6), 0, 0.0),
    "as in the class profile": (
        Recipe(checkpoint="mini", head_ridge=None, epochs=4, batch_size=32, learning_rate=1e-3, eps_root=1e-8),
        10,
        0.0,
    ),
}


@dataclasses.dataclass(frozen=True)
class Smoothness:
    """Antisymmetry and errors of a training; whether its unrolled scores predict the mean validation loss of others.

    These others are the first subsets of 5 % of the bank of drops, whose molecules get ``weight``.
    """

    training: Recipe
    n_subsets: int
    weight: float

    kinds = (UNROLLED,)

    @property
    def files(self) -> tuple[str, ...]:
        return ("lipophilicity.csv", f"molformer-{self.training.checkpoint}/model.safetensors", DROPS)

    def row(self, cfg: Settings) -> Row:
        parts, training = pipeline.tables(cfg), Training(self.training, pipeline.tables(cfg).train)
        theta = trained(training, torch.ones(training.n))
        ends = {"validation_rmse": parts.validation, "rmse": parts.test}
        return {
            **{name: value for name, value in dataclasses.asdict(self.training).items() if name in VARIED},
            "antisymmetry": antisymmetry(self.training, parts.train, parts.validation),
            **{name: scores(table["label"], training.predict(theta, table)).rmse for name, table in ends.items()},
            **(self.predicting(training, parts.train, parts.validation) if self.n_subsets else {}),
        }

    def predicting(self, training: Training, train: pd.DataFrame, validation: pd.DataFrame) -> Row:
        """How the scores predict the real trainings. The first order of counting double is minus that of dropping."""
        members = load_bank("validation", DROPS).members
        kept = np.vstack([members[:1], members[(~members).mean(axis=1).round(2) == 0.05][: self.n_subsets]])
        weights = (torch.tensor(np.where(row, 1.0, self.weight), dtype=torch.float32) for row in kept)
        predictions = np.stack([training.predict(trained(training, w), validation) for w in weights])
        bank = Bank(kept, predictions[:, None], validation["label"].to_numpy())
        found = (1 - self.weight) * unrolled(self.training, train, [validation])[0]
        graded = grade_drops(found, bank, training.model.config.label_std, mean=True)
        return {"weight": self.weight, **graded.loc[0.05].drop("n_queries")}


#: Fields of a training that stand in the table.
VARIED = ("checkpoint", "head_ridge", "epochs", "batch_size", "learning_rate", "eps_root")


def smoothness() -> Iterator[Run]:
    for name, (recipe, n_subsets, weight) in SMOOTHNESS.items():
        yield Run("smoothness", {"training": name}, settings("class"), Smoothness(recipe, n_subsets, weight))
