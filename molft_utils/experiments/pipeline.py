"""The stages that several notebooks share: the split, the baseline, the MLM fine-tuning, and the model after it.

Each stage is stored under its inputs (:mod:`molft_utils.experiments.stages`), so a model trained in one notebook is loaded in the
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
from transformers import PreTrainedModel, set_seed

from ..data import Split, baseline_predictions, load_lipophilicity, split, table_hash
from ..files import DATA_FOLDER, file_hash, write_atomically
from ..molformer import XL_REVISION, device, load_model, locate, quiet_transformers
from ..peft_methods import apply_method, learning_rate, merged
from ..profiles import ADAPTERS, DATA, MLM, REGRESSION, Settings
from ..training import Fit, finetune, pretrain_mlm
from . import stages
from .cost import PeakMemory


@dataclasses.dataclass
class StagedFit(Fit):
    """A Fit that lies on disk: ``folder`` holds the model, ``reused`` says that it was made earlier.

    ``n_train`` molecules trained it; ``peak_memory`` (MB) is that of the process, or of the GPU where there is one.
    """

    folder: Path
    reused: bool
    n_train: int
    peak_memory: float

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
        set_seed(settings.seed)
        model = load_model(settings.checkpoint, task="mlm")
        return pretrain_mlm(model, smiles, settings, output_dir=folder)

    parts = tables(settings)
    smiles = [*parts.train["smiles"], *parts.validation["smiles"]]
    return _staged("mlm", inputs_of(settings, MLM), fit, settings, "mlm", len(smiles))


def after_mlm(settings: Settings, train: pd.DataFrame | None = None, method: str = "full") -> StagedFit:
    """Regression fine-tuning from the encoder that :func:`mlm` made, on the training split or another table.

    ``method`` is one of :mod:`molft_utils.peft_methods`, with the learning rate that the settings give it; what it
    trained is merged into the model that is kept.
    """
    start = mlm(settings)
    train = tables(settings).train if train is None else train
    inputs = {"start": start.folder.name}
    if method != "full":
        settings = settings.replace(learning_rate=learning_rate(method, settings))
        inputs |= {"method": method, **(settings.pick(*ADAPTERS) if method == "lora" else {})}
    return _regression(settings, train, start.folder, inputs, method)


def fingerprint_predictions(settings: Settings) -> pd.DataFrame:
    """Test predictions of the models that set the bar, a column a model (:mod:`molft_utils.data.fingerprints`)."""

    def compute(folder: Path) -> dict:
        made = pd.DataFrame(baseline_predictions(tables(settings)))
        write_atomically(folder / "predictions.csv", made.to_csv(index=False))
        return {}

    inputs = {name: value for name, value in inputs_of(settings, ()).items() if name != "weights"}
    return pd.read_csv(stages.run_stage("fingerprints", inputs, compute).folder / "predictions.csv")


@torch.no_grad()
def largest_movement(settings: Settings, model: PreTrainedModel) -> float:
    """The largest change of any weight between the start of :func:`baseline` and ``model``, in the weights' unit."""
    set_seed(settings.seed)
    start = dict(load_model(settings.checkpoint, head=settings.head).named_parameters())
    return max(float((after.cpu() - start[name]).abs().max()) for name, after in model.named_parameters())


def describe(settings: Settings) -> dict:
    """Everything a run of these settings depends on, for a result's record."""
    return inputs_of(settings, {*REGRESSION, *MLM})


def _regression(
    settings: Settings, train: pd.DataFrame, start: str | Path, inputs: dict, method: str = "full"
) -> StagedFit:
    def fit(folder: Path) -> Fit:
        set_seed(settings.seed)  # the head's initial weights
        model = apply_method(load_model(start, head=settings.head), method, settings)
        made = finetune(model, train, tables(settings).validation, settings, folder)
        return dataclasses.replace(made, model=merged(made.model))

    inputs = {**inputs_of(settings, REGRESSION), **inputs, "train": table_hash(train)}
    return _staged("regression", inputs, fit, settings, "regression", len(train))


def inputs_of(settings: Settings, fields: Iterable[str]) -> dict:
    """What a stage depends on: the settings that it reads (``fields``), data, checkpoint and the package's version."""
    values = settings.pick(*DATA, *fields)
    name, _ = locate(settings.checkpoint)
    weights = XL_REVISION if settings.checkpoint == "xl" else file_hash(Path(name) / "model.safetensors")
    data = file_hash(DATA_FOLDER / "lipophilicity.csv")
    if "checkpoint" in values:
        values["checkpoint"] = Path(settings.checkpoint).name  # where a folder lies is no input; its weights are
    return {**values, "weights": weights, "data": data, "molft": version("molft")}


def _staged(
    name: str, inputs: dict, fit: Callable[[Path], Fit], settings: Settings, task: str, n_train: int
) -> StagedFit:
    def compute(folder: Path) -> dict:
        with PeakMemory() as memory:
            made = fit(folder / "training")
        with quiet_transformers():
            made.model.save_pretrained(folder)
        write_atomically(folder / "history.csv", made.history.to_csv(index=False))
        return {"seconds": made.seconds, "peak_memory": memory.megabytes}

    result = stages.run_stage(name, inputs, compute)
    # The Trainer's checkpoints have done their work. Removed only now: a kill in the midst leaves the result whole, and
    # the next load removes the rest.
    shutil.rmtree(result.folder / "training", ignore_errors=True)
    record = result.record
    model = load_model(result.folder, task=task, head=settings.head).to(device())
    history = pd.read_csv(result.folder / "history.csv")
    return StagedFit(model, history, record["seconds"], result.folder, result.reused, n_train, record["peak_memory"])
