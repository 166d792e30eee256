"""Choosing training data: the stages that score a secondary set, and the rules by which molecules are kept.

The rules are the report's, and the controls that it lacks. They take the scored secondary table
(:class:`~molft_utils.influence.InfluenceResult`) and a seed.
"""

import dataclasses
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from sklearn.preprocessing import StandardScaler

from ..data import load_secondary, table_hash
from ..errors import DataError
from ..files import write_atomically
from ..influence import InfluenceResult, InverseHVP, influence_scores
from ..profiles import INFLUENCE, SHAPLEY, Settings
from ..shapley import removal_curve, ts_dshapley
from ..training import embed
from . import pipeline, stages

N_CHOSEN = 100


RULES: dict[str, Callable[[pd.DataFrame, int], pd.DataFrame]] = {
    "none": lambda table, seed: table.iloc[:0],
    "all": lambda table, seed: table.sort_index(),
    "all positive": lambda table, seed: table[table["score"] > 0],
    "top 100": lambda table, seed: table.nlargest(N_CHOSEN, "score"),
    "bottom 100": lambda table, seed: table.nsmallest(N_CHOSEN, "score"),
    "100 random": lambda table, seed: table.sample(min(N_CHOSEN, len(table)), random_state=seed),
    "top 100 by gradient product": lambda table, seed: table.nlargest(N_CHOSEN, "dot_product"),
}


def choose(table: pd.DataFrame, rule: str, seed: int = 0) -> pd.DataFrame:
    """The molecules that a rule keeps, in the order of the secondary set.

    Raises
    ------
    DataError
        If the rule is unknown, or nothing is left by a rule that should keep something.
    """
    if rule not in RULES:
        raise DataError(f"unknown rule {rule!r}; choose one of {', '.join(RULES)}")
    chosen = RULES[rule](table, seed).sort_index()
    if rule != "none" and not len(chosen):
        raise DataError(f"the rule {rule!r} keeps none of {len(table)} molecules; no score is positive")
    return chosen


def secondary_table(settings: Settings, path: str | Path | None = None) -> pd.DataFrame:
    """The secondary set (the repository's, or the CSV at ``path``); with ``limit``, its first so many molecules.

    Warns where the repository's set is a leak: its labels come from a model of the training molecules of the random
    split with seed 42, and another split tests on many of these.
    """
    if path is None and (settings.split_method, settings.split_seed) != ("random", 42):
        warnings.warn(
            "the secondary labels come from a model of the training molecules of the random split with seed 42; "
            f"many are test molecules of split_method={settings.split_method!r}, split_seed={settings.split_seed}",
            stacklevel=2,
        )
    return load_secondary(path).head(settings.limit)


def with_secondary(settings: Settings, chosen: pd.DataFrame) -> pd.DataFrame:
    """The training split and, beneath it, molecules chosen from a secondary set."""
    parts = [table[["smiles", "label"]] for table in (pipeline.tables(settings).train, chosen)]
    return pd.concat(parts, ignore_index=True)


def influence(
    settings: Settings, secondary: pd.DataFrame, target: str = "validation", parameters: str = "all"
) -> InfluenceResult:
    """Scores of the secondary molecules under the model that was trained on the training split and all of them.

    ``target`` names the split whose loss is to fall; "test" is the report's way, and a leak.
    """
    if target not in ("validation", "test"):
        raise DataError(f"target is {target!r}; choose 'validation', or 'test' for the report's leak")
    train = with_secondary(settings, secondary)
    start = pipeline.after_mlm(settings, train)
    secondary = secondary.reset_index(drop=True)  # the scores on disk are numbered from 0

    def compute(folder: Path) -> dict:
        tables = train, getattr(pipeline.tables(settings), target), secondary
        pooled = [pooled_vectors(start, table) for table in tables] if parameters == "head" else None
        found = influence_scores(start.model, *tables, settings, parameters, target, pooled)
        solution = found.direction
        save_file({name: p.contiguous() for name, p in solution.direction.items()}, folder / "direction.safetensors")
        write_atomically(folder / "table.csv", found.table.to_csv())
        write_atomically(folder / "history.csv", solution.history.to_csv(index=False))
        return {
            "residual": solution.residual,
            "scale": solution.scale if solution.scale == solution.scale else None,  # JSON knows no nan
            "n_products": solution.n_products,
            "seconds": found.seconds,
        }

    inputs = {
        **pipeline.inputs_of(settings, INFLUENCE),
        "start": start.folder.name,
        "target": target,
        "parameters": parameters,
    }
    done = stages.run_stage("influence", {**inputs, "candidates": table_hash(secondary)}, compute)
    return _influence_from(done, secondary, target)


def pooled_vectors(fit: pipeline.StagedFit, table: pd.DataFrame) -> np.ndarray:
    """Pooled vectors [n, d] of a table's molecules by a trained model, computed once and kept as a stage."""

    def compute(folder: Path) -> dict:
        save_file({"pooled": torch.from_numpy(embed(fit.model, table["smiles"]))}, folder / "pooled.safetensors")
        return {}

    done = stages.run_stage("pooled", {"start": fit.folder.name, "table": table_hash(table)}, compute)
    return load_file(done.folder / "pooled.safetensors")["pooled"].numpy()


def _influence_from(done: stages.Result, secondary: pd.DataFrame, target: str) -> InfluenceResult:
    table = pd.read_csv(done.folder / "table.csv", index_col=0)
    direction = load_file(done.folder / "direction.safetensors")
    history, record = pd.read_csv(done.folder / "history.csv"), done.record
    scale = float("nan") if record["scale"] is None else record["scale"]
    solution = InverseHVP(direction, record["residual"], scale, record["n_products"], history)
    scores = torch.tensor(table["score"].loc[secondary.index].to_numpy())
    return InfluenceResult(scores, solution, table, target, record["seconds"])


@dataclasses.dataclass(frozen=True)
class SourceData:
    """What the source model of TS-DShapley learns from: standardised representations and labels.

    Rows of ``X`` are the training split and beneath it the secondary set. The validation split is cut in two halves:
    ``value`` makes the values, ``choice`` says how many molecules to drop.
    """

    X: np.ndarray
    y: np.ndarray
    X_value: np.ndarray
    y_value: np.ndarray
    X_choice: np.ndarray
    y_choice: np.ndarray


@dataclasses.dataclass(frozen=True)
class ShapleyResult:
    """Values of the training split and the secondary set (``table``: ``value``, ``standard_error``, ``secondary``, in
    the order of training), the removal ``curve`` with its ``optimum``, the number of molecules that are dropped
    (``n_drop``: the optimum, but at least the share that the settings ask for), and how the sampling went."""

    table: pd.DataFrame
    curve: pd.DataFrame
    optimum: int
    n_drop: int
    split_half: float
    kind: str
    stopped: str
    seconds: float

    def kept(self) -> pd.DataFrame:
        """The training table without the ``n_drop`` molecules of lowest value."""
        return self.table.drop(self.table["value"].nsmallest(self.n_drop).index)

    def kept_without_highest(self) -> pd.DataFrame:
        """The opposite: without as many of highest value."""
        return self.table.drop(self.table["value"].nlargest(self.n_drop).index)

    def kept_at_random(self, seed: int) -> pd.DataFrame:
        """The control: as many molecules dropped at random."""
        return self.table.drop(self.table.sample(self.n_drop, random_state=seed).index)

    def __str__(self) -> str:
        return (
            f"{len(self.table)} values ({self.kind}); split-half rank correlation {self.split_half:.2f}, "
            f"{self.stopped}; the source model would drop {self.optimum}, {self.n_drop} are dropped; "
            f"{self.seconds:.0f} s"
        )


def source_data(settings: Settings, secondary: pd.DataFrame) -> SourceData:
    """Representations by the model that was trained on the training split and the whole secondary set."""
    parts, train = pipeline.tables(settings), with_secondary(settings, secondary)
    fit = pipeline.after_mlm(settings, train)
    n_train = len(parts.train)
    vectors = pooled_vectors(fit, train)
    scaler = StandardScaler().fit(vectors[:n_train])
    mean, std = parts.train["label"].mean(), parts.train["label"].std(ddof=0)
    X_val, y_val = scaler.transform(pooled_vectors(fit, parts.validation)), parts.validation["label"].to_numpy()
    order = np.random.default_rng(settings.split_seed).permutation(len(y_val))
    value, choice = np.array_split(order, 2)
    y, y_val = ((labels - mean) / std for labels in (train["label"].to_numpy(), y_val))
    return SourceData(scaler.transform(vectors), y, X_val[value], y_val[value], X_val[choice], y_val[choice])


def shapley(settings: Settings, secondary: pd.DataFrame, n_jobs: int = 1) -> ShapleyResult:
    """TS-DShapley values of the training split and the secondary set, and how many molecules to drop."""
    train = with_secondary(settings, secondary)
    start = pipeline.after_mlm(settings, train)

    def compute(folder: Path) -> dict:
        began, data = time.perf_counter(), source_data(settings, secondary)
        values = ts_dshapley(
            data.X,
            data.y,
            data.X_value,
            data.y_value,
            n_chains=settings.shapley_chains,
            subset_size=settings.shapley_subset,
            n_permutations=settings.shapley_permutations,
            alpha=settings.shapley_alpha,
            skip=settings.shapley_skip,
            target=settings.shapley_target,
            seed=settings.seed,
            n_jobs=n_jobs,
        )
        alpha = settings.shapley_alpha
        curve = removal_curve(data.X, data.y, values.values, data.X_choice, data.y_choice, alpha=alpha)
        made = pd.DataFrame({"value": values.values, "standard_error": values.standard_error})
        write_atomically(folder / "values.csv", made.to_csv(index=False))
        write_atomically(folder / "curve.csv", curve.to_csv(index=False))
        return {
            "optimum": curve.attrs["optimum"],
            "split_half": values.split_half,
            "kind": values.kind,
            "stopped": values.stopped,
            "seconds": time.perf_counter() - began,
        }

    inputs = {**pipeline.inputs_of(settings, SHAPLEY), "start": start.folder.name}
    done = stages.run_stage("shapley", inputs, compute)
    table = pd.concat([train, pd.read_csv(done.folder / "values.csv")], axis=1)
    table["secondary"] = np.arange(len(table)) >= len(table) - len(secondary)
    if "corrupted" in secondary:
        table["corrupted"] = np.append(np.zeros(len(table) - len(secondary), bool), secondary["corrupted"])
    told = {name: done.record[name] for name in ("optimum", "split_half", "kind", "stopped", "seconds")}
    told["n_drop"] = max(told["optimum"], round(settings.shapley_drop * len(table)))
    return ShapleyResult(table, pd.read_csv(done.folder / "curve.csv"), **told)
