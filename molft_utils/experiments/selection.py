"""What training data is chosen by: the stages that score it by influence and value it by TS-DShapley.

The rules that read them are in :mod:`molft_utils.experiments.rules`.
"""

import dataclasses
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from sklearn.preprocessing import StandardScaler

from ..data import Split, load_logp, load_secondary, table_hash
from ..errors import DataError
from ..files import write_atomically
from ..influence import InfluenceResult, InverseHVP, Kernel, influence_kernel, influence_scores
from ..profiles import Settings
from ..shapley import Values, removal_curve, ts_dshapley
from ..training import embed
from . import pipeline
from .stages import Kind, Result, run_stage

POOLED = Kind("pooled", 1)
KERNEL = Kind("kernel", 1)
INFLUENCE = Kind("influence", 3, ("data", "training", "influence"), after=(pipeline.AFTER_MLM,))
SHAPLEY = Kind("shapley", 2, ("data", "training", "shapley"), after=(pipeline.AFTER_MLM,))

#: X [n, d], y [n], X_val [q, d], y_val [q] of a source model.
Problem = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

#: Buckets into which the derivatives of a kernel are added up.
SKETCH = 16_384

#: Damping for a kernel's scores, as a share of the largest eigenvalue: the best on the bank's validation molecules.
#: LiSSA would need thousands of products for it.
KERNEL_DAMPING = 0.001


def secondary_table(settings: Settings, path: str | Path | None = None) -> pd.DataFrame:
    """The secondary set: the repository's, or the CSV at ``path``. The setting ``limit`` keeps only its first rows."""
    return load_secondary(path).head(settings.data.limit)


def further_candidates(settings: Settings, secondary: pd.DataFrame) -> pd.DataFrame:
    """Molecules that no model was trained on: those of ``logp.csv`` that are not in the secondary set."""
    others = load_logp()
    return others[~others["smiles"].isin(secondary["smiles"])].head(settings.data.limit).reset_index(drop=True)


def with_secondary(settings: Settings, chosen: pd.DataFrame) -> pd.DataFrame:
    """The training split, followed by molecules chosen from a secondary set."""
    parts = [table[["smiles", "label"]] for table in (pipeline.tables(settings).train, chosen)]
    return pd.concat(parts, ignore_index=True)


def influence(
    settings: Settings,
    secondary: pd.DataFrame,
    target: str = "validation",
    parameters: str = "all",
    candidates: pd.DataFrame | None = None,
) -> InfluenceResult:
    """Influence scores of the secondary molecules, by the model that was trained on the training split and all of them.

    Parameters
    ----------
    secondary
        ``smiles``, ``label`` (logD).
    target : {"validation", "test"}
        The split whose loss should fall. "test" is the report's choice, and a leak.
    parameters : {"all", "head"}
        The parameters whose gradients are compared.
    candidates
        Score these instead, whether the model was trained on them or not.

    Raises
    ------
    DataError
        For an unknown target.
    """
    if target not in ("validation", "test"):
        raise DataError(f"target is {target!r}; choose 'validation', or 'test' for the report's leak")
    train = with_secondary(settings, secondary)
    start = pipeline.after_mlm(settings, train, early_stopping=False)
    # The scores on disk are numbered from 0.
    scored_table = (secondary if candidates is None else candidates).reset_index(drop=True)
    # The direction is the same for all candidates, and is what costs.
    solved = None if candidates is None else influence(settings, secondary, target, parameters).direction

    def compute(folder: Path, given: Settings) -> dict:
        parts = train, getattr(pipeline.tables(given), target), scored_table
        pooled = [pooled_vectors(start, table) for table in parts] if parameters == "head" else None
        scored = influence_scores(start.model, *parts, given, parameters, target, pooled, solved)
        return _write_influence(scored, folder)

    key = {"train": table_hash(train), "candidates": table_hash(scored_table)}
    key |= {"target": target, "parameters": parameters}
    return _influence_from(run_stage(INFLUENCE, settings, key, compute), scored_table, target)


def pooled_vectors(fit: pipeline.StagedFit, table: pd.DataFrame) -> np.ndarray:
    """Pooled vectors [n, d] that a trained model gives a table's molecules, computed once and kept as a stage."""

    def compute(folder: Path, given: Settings) -> dict:
        save_file({"pooled": torch.from_numpy(embed(fit.model, table["smiles"]))}, folder / "pooled.safetensors")
        return {}

    result = run_stage(POOLED, None, {"model": fit.folder.name, "table": table_hash(table)}, compute)
    return load_file(result.folder / "pooled.safetensors")["pooled"].numpy()


def kernel(fit: pipeline.StagedFit, train: pd.DataFrame, queries: pd.DataFrame, sketch: int | None = SKETCH) -> Kernel:
    """The tangent kernel of a trained model (:func:`~molft_utils.influence.influence_kernel`), kept as a stage."""

    def compute(folder: Path, given: Settings) -> dict:
        found = influence_kernel(fit.model, train, queries, sketch=sketch)
        arrays = {name: torch.from_numpy(values).float() for name, values in dataclasses.asdict(found).items()}
        save_file(arrays, folder / "kernel.safetensors")
        return {}

    key = {"model": fit.folder.name, "train": table_hash(train), "queries": table_hash(queries), "sketch": sketch}
    arrays = load_file(run_stage(KERNEL, None, key, compute).folder / "kernel.safetensors")
    return Kernel(**{name: values.double().numpy() for name, values in arrays.items()})


def _write_influence(scored: InfluenceResult, folder: Path) -> dict:
    """Write scores, direction and history into a stage's folder; :func:`_influence_from` reads them."""
    solution = scored.direction
    save_file({name: p.contiguous() for name, p in solution.direction.items()}, folder / "direction.safetensors")
    write_atomically(folder / "table.csv", scored.table.to_csv())
    write_atomically(folder / "history.csv", solution.history.to_csv(index=False))
    return {
        "residual": solution.residual,
        "scale": solution.scale if solution.scale == solution.scale else None,  # JSON has no nan
        "n_products": solution.n_products,
        "n_overhead": solution.n_overhead,
        "damping": solution.damping,
        "seconds": scored.seconds,
    }


def _influence_from(result: Result, candidates: pd.DataFrame, target: str) -> InfluenceResult:
    table = pd.read_csv(result.folder / "table.csv", index_col=0)
    direction = load_file(result.folder / "direction.safetensors")
    history, record = pd.read_csv(result.folder / "history.csv"), result.record
    scale = float("nan") if record["scale"] is None else record["scale"]
    spent = record["n_products"], history, record["n_overhead"]
    solution = InverseHVP(direction, record["residual"], scale, *spent, damping=record["damping"])
    scores = torch.tensor(table["score"].loc[candidates.index].to_numpy())
    return InfluenceResult(scores, solution, table, target, record["seconds"])


@dataclasses.dataclass(frozen=True)
class SourceData:
    """What the source model of TS-DShapley learns from: standardised representations and labels.

    The rows of ``X`` [n, d] and ``y`` [n] are the training split, followed by the secondary set. The validation split
    is cut in two halves: the values are computed on ``value``, and ``choice`` decides how many molecules to drop.
    """

    X: np.ndarray
    y: np.ndarray
    X_value: np.ndarray
    y_value: np.ndarray
    X_choice: np.ndarray
    y_choice: np.ndarray


@dataclasses.dataclass(frozen=True)
class ShapleyResult:
    """TS-DShapley values, and how many molecules they drop.

    ``table`` holds the training split and the secondary set in the order of training, with ``value``,
    ``standard_error`` and ``secondary``. ``curve`` is the removal curve and ``optimum`` its best number of molecules to
    drop; ``n_drop`` are dropped: the optimum, but at least the share that the settings ask for. ``split_half`` (a rank
    correlation), ``kind``, ``stopped`` and ``seconds`` describe the sampling.
    """

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
        """The opposite: the training table without the ``n_drop`` molecules of highest value."""
        return self.table.drop(self.table["value"].nlargest(self.n_drop).index)

    def kept_at_random(self, seed: int) -> pd.DataFrame:
        """The control: the training table without ``n_drop`` molecules drawn at random."""
        return self.table.drop(self.table.sample(self.n_drop, random_state=seed).index)

    def __str__(self) -> str:
        return (
            f"{len(self.table)} values ({self.kind}); split-half rank correlation {self.split_half:.2f}, "
            f"{self.stopped}; the source model would drop {self.optimum}, {self.n_drop} are dropped; "
            f"{self.seconds:.0f} s"
        )


def source_of(fit: pipeline.StagedFit, parts: Split, train: pd.DataFrame, split_seed: int) -> SourceData:
    """Representations by a trained model, and labels, of the rows of ``train``.

    Both are standardised by the first rows of ``train``, which are ``parts.train``.
    """
    n_train = len(parts.train)
    vectors = pooled_vectors(fit, train)
    scaler = StandardScaler().fit(vectors[:n_train])
    mean, std = parts.train["label"].mean(), parts.train["label"].std(ddof=0)
    X_val, y_val = scaler.transform(pooled_vectors(fit, parts.validation)), parts.validation["label"].to_numpy()
    order = np.random.default_rng(split_seed).permutation(len(y_val))
    value_rows, choice_rows = np.array_split(order, 2)
    y, y_val = ((labels - mean) / std for labels in (train["label"].to_numpy(), y_val))
    halves = X_val[value_rows], y_val[value_rows], X_val[choice_rows], y_val[choice_rows]
    return SourceData(scaler.transform(vectors), y, *halves)


def shapley(settings: Settings, secondary: pd.DataFrame, n_jobs: int = 1) -> ShapleyResult:
    """TS-DShapley values of the training split and the secondary set, and how many molecules to drop.

    Parameters
    ----------
    secondary
        The molecules beside the training split: ``smiles``, ``label`` (logD).
    n_jobs
        Number of chains that are sampled at the same time (joblib).
    """
    train = with_secondary(settings, secondary)
    fit = pipeline.after_mlm(settings, train, early_stopping=False)

    def compute(folder: Path, given: Settings) -> dict:
        began = time.perf_counter()
        data = source_of(fit, pipeline.tables(given), train, given.data.split_seed)
        values = sampled_values((data.X, data.y, data.X_value, data.y_value), given, n_jobs=n_jobs)
        curve = removal_curve(data.X, data.y, values.values, data.X_choice, data.y_choice, alpha=given.shapley.alpha)
        columns = pd.DataFrame({"value": values.values, "standard_error": values.standard_error})
        write_atomically(folder / "values.csv", columns.to_csv(index=False))
        write_atomically(folder / "curve.csv", curve.to_csv(index=False))
        return {
            "optimum": curve.attrs["optimum"],
            "split_half": values.split_half,
            "kind": values.kind,
            "stopped": values.stopped,
            "seconds": time.perf_counter() - began,
        }

    key = {"train": table_hash(train), "n_secondary": len(secondary)}
    return _shapley_from(run_stage(SHAPLEY, settings, key, compute), settings.shapley.drop, train, secondary)


def sampled_values(problem: Problem, settings: Settings, skip: float | None = None, n_jobs: int = 1) -> Values:
    """TS-DShapley as the settings have it, of a source model's problem; ``skip`` replaces theirs."""
    group = settings.shapley
    return ts_dshapley(
        *problem,
        n_chains=group.chains,
        subset_size=group.subset,
        n_permutations=group.permutations,
        alpha=group.alpha,
        skip=group.skip if skip is None else skip,
        target=group.target,
        seed=settings.training.seed,
        n_jobs=n_jobs,
    )


def _shapley_from(result: Result, drop: float, train: pd.DataFrame, secondary: pd.DataFrame) -> ShapleyResult:
    table = pd.concat([train, pd.read_csv(result.folder / "values.csv")], axis=1)
    table["secondary"] = np.arange(len(table)) >= len(table) - len(secondary)
    if "corrupted" in secondary:
        table["corrupted"] = np.append(np.zeros(len(table) - len(secondary), bool), secondary["corrupted"])
    recorded = {name: result.record[name] for name in ("optimum", "split_half", "kind", "stopped", "seconds")}
    n_drop = max(recorded["optimum"], round(drop * len(table)))
    return ShapleyResult(table, pd.read_csv(result.folder / "curve.csv"), n_drop=n_drop, **recorded)
