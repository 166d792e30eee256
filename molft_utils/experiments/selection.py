"""Scores and values of training data as cached results: influence by LiSSA, the tangent kernel, TS-DShapley.

What is chosen by them is in :mod:`molft_utils.experiments.rules`.
"""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from sklearn.preprocessing import StandardScaler

from ..cache import Cached, Kind, cached
from ..data import load_secondary, overlap, table_hash
from ..errors import DataError
from ..files import write_atomically
from ..influence import InfluenceResult, InverseHVP, Kernel, KernelPath, influence_kernel, influence_scores
from ..settings import Settings
from ..shapley import Values, removal_curve, ts_dshapley
from ..training import embed
from . import pipeline

POOLED = Kind("pooled", 1, (), after=(pipeline.AFTER_MLM,))
KERNEL = Kind("kernel", 1, (), after=(pipeline.AFTER_MLM,))
PATH = Kind("path", 1, (), after=(pipeline.AFTER_MLM,))
INFLUENCE = Kind("influence", 4, ("data", "training", "influence"), after=(pipeline.AFTER_MLM, POOLED))
SHAPLEY = Kind("shapley", 2, ("data", "training", "shapley"), after=(POOLED,))

#: X [n, d], y [n], X_val [q, d], y_val [q] of a source model.
Problem = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

#: Buckets into which the derivatives of a kernel are added up.
SKETCH = 16_384

#: Damping for a kernel's scores, as a share of the largest eigenvalue: the best on the bank's validation molecules.
#: LiSSA would need thousands of products for it.
KERNEL_DAMPING = 0.001

#: The same for the kernels along a training, in Adam's metric.
PATH_DAMPING = 0.005


def secondary_table(settings: Settings, path: str | Path | None = None) -> pd.DataFrame:
    """The secondary set: the repository's, or the CSV at ``path``. The setting ``limit`` keeps only its first rows.

    With a table of the reader's own there is none unless a path is given, as the repository's labels are logP.
    Molecules that are also in the split, which may be in its test part, are printed.
    """
    secondary = load_secondary(path)
    if settings.table is not None:
        if path is None:
            print("no secondary set belongs to your table: nothing is added to it")
            return secondary.head(0)
        shared = overlap(secondary, pipeline.tables(settings))
        print(f"{len(shared)} secondary molecules are also in your table: {shared['split'].value_counts().to_dict()}")
    return secondary.head(settings.limit)


def with_secondary(settings: Settings, chosen: pd.DataFrame) -> pd.DataFrame:
    """The training split, followed by molecules chosen from a secondary set."""
    return joined(pipeline.tables(settings).train, chosen)


def joined(*parts: pd.DataFrame) -> pd.DataFrame:
    """The molecules of several tables, one after the other: ``smiles`` and ``label`` alone."""
    return pd.concat([table[["smiles", "label"]] for table in parts], ignore_index=True)


def scored_fit(settings: Settings, train: pd.DataFrame) -> pipeline.TrainedModel:
    """The model whose training molecules are scored: validation molecules have no part in it; its moments are kept."""
    return pipeline.after_mlm(settings, train, early_stopping=False, moments=True)


def influence(settings: Settings, secondary: pd.DataFrame, target: str = "validation") -> InfluenceResult:
    """Influence scores by LiSSA, from the model that was trained on the training split and all secondary molecules.

    Parameters
    ----------
    secondary
        ``smiles``, ``label``; further columns come back in the result's table.
    target : {"validation", "test"}
        The split whose loss should fall. "test" is the report's choice, and a leak.

    Raises
    ------
    DataError
        For an unknown target.
    """
    if target not in ("validation", "test"):
        raise DataError(f"target is {target!r}; choose 'validation', or 'test' for the report's leak")
    train, candidates = with_secondary(settings, secondary), secondary.reset_index(drop=True)
    fit = scored_fit(settings, train)

    def compute(folder: Path) -> dict:
        tables = train, getattr(pipeline.tables(settings), target), candidates
        scored = influence_scores(fit.model, *tables, settings, target_name=target)
        solution = scored.direction
        save_file({name: p.contiguous() for name, p in solution.direction.items()}, folder / "direction.safetensors")
        write_atomically(folder / "history.csv", solution.history.to_csv(index=False))
        write_atomically(folder / "scores.csv", scored.table[SCORES].sort_index().to_csv(index=False))
        return {**{name: getattr(solution, name) for name in SOLUTION}, "seconds": scored.seconds}

    key = {"train": table_hash(train), "candidates": table_hash(candidates), "target": target}
    return _read_influence(cached(INFLUENCE, settings, key, compute), candidates, target)


#: What :func:`influence` keeps per candidate (every other column of its table is the caller's), and of the solution.
SCORES = ["score", "dot_product", "loss"]
SOLUTION = ("residual", "scale", "n_products", "n_overhead", "damping")


def _read_influence(found: Cached, candidates: pd.DataFrame, target: str) -> InfluenceResult:
    history, direction = pd.read_csv(found.folder / "history.csv"), load_file(found.folder / "direction.safetensors")
    solution = InverseHVP(direction, history=history, **{name: found.record[name] for name in SOLUTION})
    table = candidates.drop(columns=SCORES, errors="ignore").join(pd.read_csv(found.folder / "scores.csv"))
    scores, best_first = torch.tensor(table["score"].to_numpy()), table.sort_values("score", ascending=False)
    return InfluenceResult(scores, solution, best_first, target, found.record["seconds"])


def pooled_vectors(fit: pipeline.TrainedModel, table: pd.DataFrame) -> np.ndarray:
    """Pooled vectors [n, d] that a trained model gives a table's molecules."""

    def compute(folder: Path) -> dict:
        save_file({"pooled": torch.from_numpy(embed(fit.model, table["smiles"]))}, folder / "pooled.safetensors")
        return {}

    key = {"model": fit.folder.name, "table": table_hash(table)}
    return load_file(cached(POOLED, None, key, compute).folder / "pooled.safetensors")["pooled"].numpy()


def kernel(
    fit: pipeline.TrainedModel, train: pd.DataFrame, queries: pd.DataFrame, sketch: int | None = SKETCH
) -> Kernel:
    """The tangent kernel of a trained model (:func:`~molft_utils.influence.influence_kernel`)."""

    def compute(folder: Path) -> dict:
        _save_kernel(influence_kernel(fit.model, train, queries, sketch=sketch), folder / "kernel.safetensors")
        return {}

    key = {"model": fit.folder.name, "train": table_hash(train), "queries": table_hash(queries), "sketch": sketch}
    return _load_kernel(cached(KERNEL, None, key, compute).folder / "kernel.safetensors")


def kernel_path(
    fit: pipeline.TrainedModel, train: pd.DataFrame, queries: pd.DataFrame, all_moments: bool = False
) -> KernelPath:
    """The kernels along the training of a model that has kept its moments (:func:`scored_fit`), by a sketch.

    Each takes a minute. The first and the last moment alone keep nine tenths of what all four predict, and stand for
    all.
    """
    moments = fit.moments if all_moments else fit.moments[:: max(len(fit.moments) - 1, 1)]
    weight = len(fit.moments) / len(moments)

    def compute(folder: Path) -> dict:
        path = influence_kernel(fit.model, train, queries, sketch=SKETCH, checkpoints=moments)
        for i, kernel in enumerate(path.kernels, 1):
            _save_kernel(kernel, folder / f"kernel-{i}.safetensors")
        return {}

    tables = {"train": table_hash(train), "queries": table_hash(queries)}
    found = cached(PATH, None, {"model": fit.folder.name, **tables, "moments": len(moments)}, compute).folder
    return KernelPath([_load_kernel(found / f"kernel-{i + 1}.safetensors") for i in range(len(moments))], weight)


def _save_kernel(kernel: Kernel, path: Path) -> None:
    arrays = dataclasses.asdict(kernel)
    save_file({name: torch.from_numpy(values).float() for name, values in arrays.items()}, path)


def _load_kernel(path: Path) -> Kernel:
    return Kernel(**{name: values.double().numpy() for name, values in load_file(path).items()})


@dataclasses.dataclass(frozen=True)
class SourceData:
    """What the source model of TS-DShapley learns from: standardised representations and labels.

    The validation split is cut in two halves: values are computed on ``value``, and ``choice`` decides how many
    molecules to drop.
    """

    X: np.ndarray  # [n, d]
    y: np.ndarray  # [n]
    X_value: np.ndarray
    y_value: np.ndarray
    X_choice: np.ndarray
    y_choice: np.ndarray

    @property
    def problem(self) -> Problem:
        """With all validation molecules together."""
        X_val = np.vstack([self.X_value, self.X_choice])
        return self.X, self.y, X_val, np.append(self.y_value, self.y_choice)


def source_data(
    fit: pipeline.TrainedModel, train: pd.DataFrame, validation: pd.DataFrame, n_reference: int, split_seed: int
) -> SourceData:
    """Representations by a trained model, and labels; both standardised by the first ``n_reference`` rows of train."""
    vectors, labels = pooled_vectors(fit, train), train["label"].to_numpy()
    scaler = StandardScaler().fit(vectors[:n_reference])
    mean, std = labels[:n_reference].mean(), labels[:n_reference].std()
    X_val = scaler.transform(pooled_vectors(fit, validation))
    y_val = (validation["label"].to_numpy() - mean) / std
    value, choice = np.array_split(np.random.default_rng(split_seed).permutation(len(y_val)), 2)
    halves = X_val[value], y_val[value], X_val[choice], y_val[choice]
    return SourceData(scaler.transform(vectors), (labels - mean) / std, *halves)


def values_and_optimum(data: SourceData, settings: Settings, n_kept: int = 0) -> tuple[np.ndarray, int]:
    """TS-DShapley values [n] by one half of the validation molecules, and how many to drop by the other half.

    On these molecules, which made no value, the source model is best with so many of the lowest dropped; the first
    ``n_kept`` are never dropped.
    """
    values = sampled_values((data.X, data.y, data.X_value, data.y_value), settings).values
    ranked = np.append(np.full(n_kept, values[n_kept:].max() + 1), values[n_kept:])
    curve = removal_curve(data.X, data.y, ranked, data.X_choice, data.y_choice, alpha=settings.shapley_alpha)
    return values, int(curve.attrs["optimum"])


def shapley(settings: Settings, secondary: pd.DataFrame) -> tuple[np.ndarray, int]:
    """TS-DShapley values [n] of the training split and the secondary set, and how many of the lowest are dropped.

    As many as :func:`values_and_optimum` says, but at least the share ``shapley_drop``.
    """
    train = with_secondary(settings, secondary)
    fit = scored_fit(settings, train)
    n_train = len(train) - len(secondary)

    def compute(folder: Path) -> dict:
        data = source_data(fit, train, pipeline.tables(settings).validation, n_train, settings.split_seed)
        values, optimum = values_and_optimum(data, settings)
        write_atomically(folder / "values.csv", pd.DataFrame({"value": values}).to_csv(index=False))
        return {"optimum": optimum}

    found = cached(SHAPLEY, settings, {"train": table_hash(train), "n_secondary": len(secondary)}, compute)
    values = pd.read_csv(found.folder / "values.csv")["value"].to_numpy()
    return values, max(found.record["optimum"], round(settings.shapley_drop * len(values)))


def sampled_values(problem: Problem, settings: Settings, skip: float | None = None) -> Values:
    """TS-DShapley as the settings have it; ``skip`` replaces theirs. No subset is larger than the data."""
    n = len(problem[1])
    size = min(settings.shapley_subset, n)
    return ts_dshapley(
        *problem,
        n_chains=max(settings.shapley_chains, math.ceil(n / size)),  # at least one round
        subset_size=size,
        n_permutations=settings.shapley_permutations,
        alpha=settings.shapley_alpha,
        skip=settings.shapley_skip if skip is None else skip,
        target=settings.shapley_target,
        seed=settings.seed,
    )
