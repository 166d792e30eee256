"""The stages that several notebooks share: the split, the baseline, the MLM fine-tuning, and the model after it.

Each stage is stored under its inputs (:mod:`molft_utils.experiments.stages`), so a model trained in one notebook is
loaded in the next.
"""

import dataclasses
import shutil
from collections.abc import Callable
from functools import cached_property, lru_cache
from pathlib import Path

import pandas as pd
import torch
from transformers import PreTrainedModel, set_seed

from ..data import Split, baseline_predictions, load_lipophilicity, load_table, split, table_hash
from ..errors import StaleRunError
from ..files import write_atomically
from ..molformer import device, load_model, quiet_transformers
from ..peft_methods import apply_method, merged, trainable
from ..profiles import Settings
from ..training import Fit, finetune, pretrain_mlm
from .cost import PeakMemory
from .stages import Kind, Result, run_stage

#: Trains in a folder, and returns the fit with the numbers of parameters: those that trained, and all.
TrainIn = Callable[[Path, Settings], tuple[Fit, tuple[int, int]]]

FINGERPRINTS = Kind("fingerprints", 1, ("data",))
MLM = Kind("mlm", 1, ("data", "training", "mlm"))
REGRESSION = Kind("regression", 1, ("data", "training", "regression"))
AFTER_MLM = dataclasses.replace(REGRESSION, after=(MLM,))
LORA_AFTER_MLM = dataclasses.replace(AFTER_MLM, groups=(*REGRESSION.groups, "lora"))


@dataclasses.dataclass(frozen=True)
class StagedFit:
    """A trained model on disk; the model itself is loaded at first use."""

    result: Result
    task: str
    head: str

    @property
    def folder(self) -> Path:
        """The stage's folder, which ``load_model`` takes as a checkpoint."""
        return self.result.folder

    @property
    def reused(self) -> bool:
        """Whether it was made earlier."""
        return self.result.reused

    @property
    def method(self) -> str:
        """The fine-tuning method: one of :mod:`molft_utils.peft_methods`."""
        return self.result.record["inputs"]["key"].get("method", "full")

    @property
    def n_train(self) -> int:
        """Number of molecules that it was trained on."""
        return self.result.record["n_train"]

    @property
    def seconds(self) -> float:
        """Training time."""
        return self.result.record["seconds"]

    @property
    def peak_memory(self) -> float:
        """Peak memory in MB: the GPU's where there is one, else the process's."""
        return self.result.record["peak_memory"]

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row per epoch, as in :class:`~molft_utils.training.Fit`."""
        return pd.read_csv(self.folder / "history.csv")

    @cached_property
    def model(self) -> PreTrainedModel:
        """The trained model, in eval mode, on the GPU where there is one."""
        model = load_model(self.folder, task=self.task, head=self.head)
        return model.to(device())  # type: ignore[arg-type]  # transformers' decorator hides the method's self from mypy

    @property
    def note(self) -> str:
        """One sentence for the notebook: made now or earlier, how many epochs, how long."""
        when = "made earlier, loaded now" if self.reused else "made now"
        return f"{when}: {len(self.history)} epochs in {self.seconds:.0f} s"


def tables(settings: Settings) -> Split:
    """The split that the settings name; ``limit`` cuts each part to its first molecules."""
    data = settings.data
    parts = _full_split(data.split_method, data.split_seed, data.table, data.target)
    return Split(*(part.head(settings.data.limit).copy() for part in (parts.train, parts.validation, parts.test)))


@lru_cache(maxsize=1)
def whole_table() -> pd.DataFrame:
    """All of Lipophilicity, loaded once, as checking the data takes three seconds; do not change it."""
    return load_lipophilicity()


@lru_cache(maxsize=4)
def _full_split(method: str, seed: int, path: str | None, target: str | None) -> Split:
    return split(whole_table() if path is None else load_table(path, target), method, seed)


def baseline(settings: Settings, train: pd.DataFrame | None = None) -> StagedFit:
    """Regression fine-tuning straight from the checkpoint, on a table or on the training split."""
    train = tables(settings).train if train is None else train

    def fit(folder: Path, given: Settings) -> tuple[Fit, tuple[int, int]]:
        return finetuned(given, given.training.checkpoint, train, folder)

    return _staged(REGRESSION, settings, {"train": table_hash(train)}, fit, len(train))


def mlm(settings: Settings) -> StagedFit:
    """Masked-language-model fine-tuning on the SMILES of the training and validation splits, as the report does.

    It sees no labels and no test molecules. No epoch is chosen: the model after the last one is kept.
    """
    parts = tables(settings)
    smiles = [*parts.train["smiles"], *parts.validation["smiles"]]

    def fit(folder: Path, given: Settings) -> tuple[Fit, tuple[int, int]]:
        set_seed(given.training.seed)
        model = load_model(given.training.checkpoint, task="mlm")
        return pretrain_mlm(model, smiles, given, output_dir=folder), trainable(model)

    return _staged(MLM, settings, {}, fit, len(smiles), task="mlm")


def after_mlm(
    settings: Settings, train: pd.DataFrame | None = None, method: str = "full", early_stopping: bool = True
) -> StagedFit:
    """Regression fine-tuning that starts from the encoder of :func:`mlm`.

    Parameters
    ----------
    settings
        The learning rate is the one that they give the method.
    train
        The training table, ``smiles`` and ``label`` (logD); None takes the training split.
    method
        One of :mod:`molft_utils.peft_methods`. LoRA and (IA)^3 are merged into the model that is kept.
    early_stopping
        Whether the validation split chooses the epoch that is kept. Without it the last one is, and the validation
        split has no part in the model.
    """
    start = mlm(settings)
    table = tables(settings).train if train is None else train

    def fit(folder: Path, given: Settings) -> tuple[Fit, tuple[int, int]]:
        return finetuned(given, start.folder, table, folder, method, early_stopping)

    key = {"train": table_hash(table), "method": method} | ({} if early_stopping else {"early_stopping": False})
    return _staged(fit_kind(method), settings.of_method(method), key, fit, len(table))


def fit_kind(method: str) -> Kind:
    """The kind of stage that :func:`after_mlm` runs for a method."""
    return LORA_AFTER_MLM if method.startswith("lora") else AFTER_MLM


def fingerprint_predictions(settings: Settings) -> pd.DataFrame:
    """Test predictions (logD) of the fingerprint models (:mod:`molft_utils.data.fingerprints`), a column per model."""

    def compute(folder: Path, given: Settings) -> dict:
        predictions = pd.DataFrame(baseline_predictions(tables(given)))
        write_atomically(folder / "predictions.csv", predictions.to_csv(index=False))
        return {}

    return pd.read_csv(run_stage(FINGERPRINTS, settings, {}, compute).folder / "predictions.csv")


@torch.no_grad()
def largest_movement(settings: Settings, model: PreTrainedModel) -> float:
    """The largest absolute change of any weight from the start of :func:`baseline` to ``model``."""
    set_seed(settings.training.seed)
    start = dict(load_model(settings.training.checkpoint, head=settings.regression.head).named_parameters())
    return max(float((after.cpu() - start[name]).abs().max()) for name, after in model.named_parameters())


def finetuned(
    settings: Settings,
    start: str | Path,
    train: pd.DataFrame,
    folder: Path | None = None,
    method: str = "full",
    early_stopping: bool = True,
) -> tuple[Fit, tuple[int, int]]:
    """What the stages of regression run: a fit from a checkpoint on, and how many parameters trained, of how many.

    ``folder`` keeps checkpoints of the Trainer; None takes a temporary one. Otherwise as :func:`after_mlm`.
    """
    set_seed(settings.training.seed)  # the head starts with random weights
    model = apply_method(load_model(start, head=settings.regression.head), method, settings)
    counts = trainable(model)
    validation = tables(settings).validation if early_stopping else None
    fit = finetune(model, train, validation, settings, folder)
    return dataclasses.replace(fit, model=merged(fit.model)), counts


def _staged(
    kind: Kind,
    settings: Settings,
    key: dict,
    fit: TrainIn,
    n_train: int,
    task: str = "regression",
) -> StagedFit:
    """Train as a stage: what is kept is the model, its history and what the training cost."""

    def compute(folder: Path, given: Settings) -> dict:
        with PeakMemory() as memory:
            trained, (n_trained, n_total) = _resumed(fit, folder / "training", given)
        with quiet_transformers():
            trained.model.save_pretrained(str(folder))
        write_atomically(folder / "history.csv", trained.history.to_csv(index=False))
        costs = {"seconds": trained.seconds, "peak_memory": memory.megabytes}
        return {**costs, "n_train": n_train, "trained": n_trained, "total": n_total}

    result = run_stage(kind, settings, key, compute)
    # The Trainer's checkpoints are no longer needed. They are removed only now: if the process is killed meanwhile, the
    # result is whole, and the next load removes the rest.
    shutil.rmtree(result.folder / "training", ignore_errors=True)
    return StagedFit(result, task, settings.regression.head)


def _resumed(fit: TrainIn, folder: Path, settings: Settings) -> tuple[Fit, tuple[int, int]]:
    """Resume an interrupted run. One that does not fit is removed: the user did not choose this folder."""
    try:
        return fit(folder, settings)
    except StaleRunError as error:
        print(f"an interrupted run does not fit and starts again: {error}")
        shutil.rmtree(folder)
        return fit(folder, settings)
