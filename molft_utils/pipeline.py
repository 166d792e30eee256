"""The stages that several notebooks share: the split, the baseline, the MLM fine-tuning, and the model after it.

Each stage is stored under its inputs (:mod:`molft_utils.stages`), so a model trained in one notebook is loaded in the
next.
"""

import dataclasses
import shutil
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, set_seed

from . import stages
from .checkpoints import XL_REVISION, load_model, locate, quiet_transformers
from .data import DATA_FOLDER, Split, load_lipophilicity, load_secondary, split
from .errors import DataError
from .finetune import Fit, finetune, pretrain_mlm
from .fingerprints import baseline_predictions
from .influence import InfluenceResult, InverseHVP, influence_scores
from .settings import DATA, INFLUENCE, MLM, REGRESSION, Settings


@dataclasses.dataclass
class StagedFit(Fit):
    """A Fit that lies on disk: ``folder`` holds the model, ``reused`` says that it was made earlier."""

    folder: Path
    reused: bool
    n_train: int

    @property
    def note(self) -> str:
        """One sentence for the notebook: made now or earlier, how many epochs, how long."""
        when = "made earlier, loaded now" if self.reused else "made now"
        return f"{when}: {len(self.history)} epochs in {self.seconds:.0f} s"


def tables(settings: Settings) -> Split:
    """The split of the settings; with ``limit``, the first so many molecules of each part."""
    parts = _whole(settings.split_method, settings.split_seed)
    return Split(*(part.head(settings.limit).copy() for part in (parts.train, parts.validation, parts.test)))


@lru_cache(maxsize=4)
def _whole(method: str, seed: int) -> Split:
    return split(load_lipophilicity(), method, seed)  # three seconds of checks


def baseline(settings: Settings) -> StagedFit:
    """Regression fine-tuning straight from the checkpoint."""
    return _regression(settings, tables(settings).train, settings.checkpoint, {})


def mlm(settings: Settings) -> StagedFit:
    """Masked-language-model fine-tuning on the SMILES of the training and validation splits, as the report does.

    No label and no test molecule takes part, and no epoch is chosen: the last one counts.
    """

    def fit(folder: Path) -> Fit:
        parts = tables(settings)
        set_seed(settings.seed)
        model = load_model(settings.checkpoint, task="mlm")
        return pretrain_mlm(model, [*parts.train["smiles"], *parts.validation["smiles"]], settings, output_dir=folder)

    n_molecules = sum(len(part) for part in (tables(settings).train, tables(settings).validation))
    return _staged("mlm", _inputs(settings, MLM), fit, settings, "mlm", n_molecules)


def after_mlm(settings: Settings, train: pd.DataFrame | None = None) -> StagedFit:
    """Regression fine-tuning from the encoder that :func:`mlm` made, on the training split or another table."""
    start = mlm(settings)
    train = tables(settings).train if train is None else train
    return _regression(settings, train, start.folder, {"start": start.folder.name})


def secondary_table(settings: Settings, path: str | Path | None = None) -> pd.DataFrame:
    """The secondary set (the repository's, or the CSV at ``path``); with ``limit``, its first so many molecules."""
    return load_secondary(path).head(settings.limit)


def with_secondary(settings: Settings, chosen: pd.DataFrame) -> pd.DataFrame:
    """The training split and, beneath it, molecules chosen from a secondary set."""
    parts = [table[["smiles", "label"]] for table in (tables(settings).train, chosen)]
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
    start = after_mlm(settings, train)

    def compute(folder: Path) -> dict:
        aim = getattr(tables(settings), target)
        found = influence_scores(start.model, train, aim, secondary, settings, parameters, target)
        solution = found.direction
        save_file({name: p.contiguous() for name, p in solution.direction.items()}, folder / "direction.safetensors")
        stages.write_atomically(folder / "table.csv", found.table.to_csv())
        stages.write_atomically(folder / "history.csv", solution.history.to_csv(index=False))
        return {
            "residual": solution.residual,
            "scale": solution.scale if solution.scale == solution.scale else None,  # JSON knows no nan
            "n_products": solution.n_products,
            "seconds": found.seconds,
        }

    inputs = {**_inputs(settings, INFLUENCE), "start": start.folder.name, "target": target, "parameters": parameters}
    done = stages.run_stage("influence", {**inputs, "candidates": stages.table_hash(secondary)}, compute)
    return _influence_from(done, secondary, target)


def _influence_from(done: stages.Result, secondary: pd.DataFrame, target: str) -> InfluenceResult:
    table = pd.read_csv(done.folder / "table.csv", index_col=0)
    direction = load_file(done.folder / "direction.safetensors")
    history, record = pd.read_csv(done.folder / "history.csv"), done.record
    scale = float("nan") if record["scale"] is None else record["scale"]
    solution = InverseHVP(direction, record["residual"], scale, record["n_products"], history)
    scores = torch.tensor(table["score"].loc[secondary.index].to_numpy())
    return InfluenceResult(scores, solution, table, target, record["seconds"])


def fingerprint_predictions(settings: Settings) -> pd.DataFrame:
    """Test predictions of the models that set the bar, a column a model (:mod:`molft_utils.fingerprints`)."""

    def compute(folder: Path) -> dict:
        made = pd.DataFrame(baseline_predictions(tables(settings)))
        stages.write_atomically(folder / "predictions.csv", made.to_csv(index=False))
        return {}

    inputs = {name: value for name, value in _inputs(settings, ()).items() if name != "weights"}
    return pd.read_csv(stages.run_stage("fingerprints", inputs, compute).folder / "predictions.csv")


@torch.no_grad()
def largest_movement(settings: Settings, model: PreTrainedModel) -> float:
    """The largest change of any weight between the start of :func:`baseline` and ``model``, in the weights' unit."""
    set_seed(settings.seed)
    start = dict(load_model(settings.checkpoint, head=settings.head).named_parameters())
    return max(float((after - start[name]).abs().max()) for name, after in model.named_parameters())


def describe(settings: Settings) -> dict:
    """Everything a run of these settings depends on, for a result's record."""
    return _inputs(settings, {*REGRESSION, *MLM})


def _regression(settings: Settings, train: pd.DataFrame, start: str | Path, inputs: dict) -> StagedFit:
    def fit(folder: Path) -> Fit:
        set_seed(settings.seed)  # the head's initial weights
        model = load_model(start, head=settings.head)
        return finetune(model, train, tables(settings).validation, settings, folder)

    inputs = {**_inputs(settings, REGRESSION), **inputs, "train": stages.table_hash(train)}
    return _staged("regression", inputs, fit, settings, "regression", len(train))


def _inputs(settings: Settings, fields: Iterable[str]) -> dict:
    """What a stage depends on: the settings that it reads, the data, the checkpoint and the package's version."""
    values = settings.pick(*DATA, *fields)
    name, _ = locate(settings.checkpoint)
    weights = XL_REVISION if settings.checkpoint == "xl" else stages.file_hash(Path(name) / "model.safetensors")
    data = stages.file_hash(DATA_FOLDER / "lipophilicity.csv")
    if "checkpoint" in values:
        values["checkpoint"] = Path(settings.checkpoint).name  # where a folder lies is no input; its weights are
    return {**values, "weights": weights, "data": data, "molft": version("molft")}


def _staged(
    name: str, inputs: dict, fit: Callable[[Path], Fit], settings: Settings, task: str, n_train: int
) -> StagedFit:
    def compute(folder: Path) -> dict:
        made = fit(folder / "training")
        with quiet_transformers():
            made.model.save_pretrained(folder)
        stages.write_atomically(folder / "history.csv", made.history.to_csv(index=False))
        shutil.rmtree(folder / "training")  # the Trainer's checkpoints have done their work
        return {"seconds": made.seconds}

    result = stages.run_stage(name, inputs, compute)
    model = load_model(result.folder, task=task, head=settings.head)
    history = pd.read_csv(result.folder / "history.csv")
    return StagedFit(model, history, result.record["seconds"], result.folder, result.reused, n_train)
