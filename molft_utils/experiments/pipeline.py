"""What several notebooks share: the split, the baseline, continued pretraining (MLM), the model after it, test errors.

Each is a cached result (:mod:`molft_utils.cache`), so a model that one notebook trains is loaded in the next.
"""

import dataclasses
import shutil
from collections.abc import Callable
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from transformers import PreTrainedModel, set_seed

from ..cache import Kind, cached, scratch
from ..data import Split, baseline_predictions, load_lipophilicity, load_table, split, table_hash
from ..evaluation import scores
from ..files import file_hash, readers_file, write_atomically
from ..molformer import device, load_model, quiet_transformers
from ..peft_methods import LORA_LAYERS, apply_method, merged, trainable
from ..settings import Settings
from ..training import Fit, Moment, finetune, load_moments, predict, pretrain_mlm
from .costs import PeakMemory

FINGERPRINTS = Kind("fingerprints", 1, ("data",))
MLM = Kind("mlm", 1, ("data", "training", "mlm"))
REGRESSION = Kind("regression", 1, ("data", "training", "regression"))
AFTER_MLM = dataclasses.replace(REGRESSION, after=(MLM,))
LORA_AFTER_MLM = dataclasses.replace(AFTER_MLM, groups=(*REGRESSION.groups, "lora"))
GRADED = Kind("graded", 1, ("data",))

#: What a trained model's record says of its costs.
COSTS = ("n_train", "trained", "total", "learning_rate", "seconds", "peak_memory")


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A trained model on disk, and what its training cost; ``.model`` and ``.history`` are loaded at first use.

    ``folder`` is a checkpoint for ``load_model``; ``reused`` says whether it was trained earlier. ``costs`` are
    ``n_train`` molecules, ``trained`` parameters and all of them (``total``), ``learning_rate``, ``seconds`` of
    training, and ``peak_memory`` in megabytes: the GPU's where there is one, else the process's.
    """

    folder: Path
    reused: bool
    task: str
    head: str
    costs: dict[str, float]

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row per epoch, as in :class:`~molft_utils.training.Fit`."""
        return pd.read_csv(self.folder / "history.csv")

    @cached_property
    def model(self) -> PreTrainedModel:
        """The model, in eval mode, on the GPU where there is one."""
        model = load_model(self.folder, task=self.task, head=self.head)
        return model.to(device())  # type: ignore[arg-type]  # transformers' decorator hides the method's self from mypy

    @property
    def moments(self) -> list[Moment]:
        """The training after each of its epochs, or after four of them, if :func:`after_mlm` was to keep them."""
        return load_moments(self.folder)

    @property
    def note(self) -> str:
        """One sentence for the notebook: trained now or earlier, how many epochs, how long."""
        when = "trained earlier, loaded now" if self.reused else "trained now"
        return f"{when}: {len(self.history)} epochs in {self.costs['seconds']:.0f} s"


def tables(settings: Settings) -> Split:
    """The split that the settings name; ``limit`` cuts each part to its first molecules."""
    table = None if settings.table is None else (settings.table, file_hash(readers_file(Path(settings.table))))
    parts = _full_split(settings.split_method, settings.split_seed, table, settings.target)
    return Split(*(part.head(settings.limit).copy() for part in (parts.train, parts.validation, parts.test)))


@lru_cache(maxsize=4)
def _full_split(method: str, seed: int, table: tuple[str, str] | None, target: str | None) -> Split:
    """Kept while the *content* of the reader's table, whose hash is given, stays the same."""
    return split(whole_table() if table is None else load_table(table[0], target), method, seed)


@lru_cache(maxsize=1)
def whole_table() -> pd.DataFrame:
    """All of Lipophilicity, loaded once, as checking the data takes three seconds; do not change it."""
    return load_lipophilicity()


def baseline(settings: Settings, train: pd.DataFrame | None = None) -> TrainedModel:
    """Regression fine-tuning straight from the checkpoint, on a table or on the training split."""
    train = tables(settings).train if train is None else train

    def fit(folder: Path) -> Fit:
        return finetuned(settings, settings.checkpoint, train, scratch(folder))

    return _trained(REGRESSION, settings, {"train": table_hash(train)}, fit, len(train))


def mlm(settings: Settings) -> TrainedModel:
    """Masked-language-model fine-tuning on the SMILES of the training and validation splits, as the report does.

    It sees no labels and no test molecules. No epoch is chosen: the model after the last one is kept.
    """
    parts = tables(settings)
    smiles = [*parts.train["smiles"], *parts.validation["smiles"]]

    def fit(folder: Path) -> Fit:
        set_seed(settings.seed)
        model = load_model(settings.checkpoint, task="mlm")
        return pretrain_mlm(model, smiles, settings, output_dir=scratch(folder))

    return _trained(MLM, settings, {}, fit, len(smiles), task="mlm")


def after_mlm(
    settings: Settings,
    train: pd.DataFrame | None = None,
    method: str = "full",
    early_stopping: bool = True,
    moments: bool = False,
) -> TrainedModel:
    """Regression fine-tuning that starts from the encoder of :func:`mlm`.

    Parameters
    ----------
    settings
        The learning rate is the one that they give the method.
    train
        The training table, ``smiles`` and ``label``; None takes the training split.
    method
        One of :mod:`molft_utils.peft_methods`. LoRA and (IA)^3 are merged into the model that is kept.
    early_stopping
        Whether the validation split chooses the epoch that is kept. Without it the last one is, and the validation
        split has no part in the model.
    moments
        Keep the parameters and Adam's second moments after each epoch (four at most), for influence along the training.
        Each takes as much space as the model.
    """
    settings = settings.of_method(method)
    start, table = mlm(settings), tables(settings).train if train is None else train

    def fit(folder: Path) -> Fit:
        kept = folder if moments else None
        return finetuned(settings, start.folder, table, scratch(folder), method, early_stopping, kept)

    key = {"train": table_hash(table), "method": method, "early_stopping": early_stopping}
    key |= {"moments": True} if moments else {}
    key |= {"layers": LORA_LAYERS[method]} if method in LORA_LAYERS else {}
    return _trained(fit_kind(method), settings, key, fit, len(table))


def fit_kind(method: str) -> Kind:
    """The kind of result that :func:`after_mlm` gives for a method."""
    return LORA_AFTER_MLM if method in LORA_LAYERS else AFTER_MLM


def finetuned(
    settings: Settings,
    start: str | Path,
    train: pd.DataFrame,
    folder: Path | None = None,
    method: str = "full",
    early_stopping: bool = True,
    moments: Path | None = None,
) -> Fit:
    """A fit from a checkpoint on, its model still wrapped by peft where the method wraps it.

    ``folder`` keeps checkpoints of the Trainer; None takes a temporary one. ``moments`` gets those of each epoch.
    Otherwise as :func:`after_mlm`.
    """
    set_seed(settings.seed)  # the head starts with random weights
    model = apply_method(load_model(start, head=settings.head), method, settings)
    validation = tables(settings).validation if early_stopping else None
    return finetune(model, train, validation, settings, folder, moments)


def _trained(
    kind: Kind,
    settings: Settings,
    key: dict,
    fit: Callable[[Path], Fit],
    n_train: int,
    task: str = "regression",
) -> TrainedModel:
    """Train once; what is kept is the model, its history and what the training cost."""

    def compute(folder: Path) -> dict:
        with PeakMemory() as memory:
            found = fit(folder)  # an interrupted run goes on from its last epoch
        trained, total = trainable(found.model)
        with quiet_transformers():
            merged(found.model).save_pretrained(str(folder))
        write_atomically(folder / "history.csv", found.history.to_csv(index=False))
        rate = settings.mlm_learning_rate if task == "mlm" else settings.learning_rate
        costs = {"seconds": found.seconds, "peak_memory": memory.megabytes, "learning_rate": rate}
        return {**costs, "n_train": n_train, "trained": trained, "total": total}

    result = cached(kind, settings, key, compute)
    shutil.rmtree(scratch(result.folder.with_name(f"{result.folder.name}.partial")), ignore_errors=True)
    costs = {name: result.record[name] for name in COSTS}
    return TrainedModel(result.folder, result.reused, task, settings.head, costs)


@dataclasses.dataclass(frozen=True)
class Graded:
    """A model's errors and costs (``row``), its test ``predictions`` [n], and whether they were computed earlier."""

    row: dict
    predictions: np.ndarray
    reused: bool


def graded(fit: TrainedModel, settings: Settings) -> Graded:
    """Errors of a trained model on the test and validation splits: every test error in a table is computed here.

    The row holds ``rmse``, its 95 % interval over test molecules ``rmse_low`` to ``rmse_high``, ``validation_rmse`` (in
    the labels' unit), ``epochs``, and the ``costs`` of :class:`TrainedModel`.
    """

    def compute(folder: Path) -> dict:
        parts = tables(settings)
        predictions = predict(fit.model, parts.test["smiles"])
        write_atomically(folder / "predictions.csv", pd.DataFrame({"prediction": predictions}).to_csv(index=False))
        test = scores(parts.test["label"], predictions)
        validation = scores(parts.validation["label"], predict(fit.model, parts.validation["smiles"]))
        errors = {"rmse": test.rmse, "rmse_low": test.interval[0], "rmse_high": test.interval[1]}
        return {"errors": {**errors, "validation_rmse": validation.rmse}}

    result = cached(GRADED, settings, {"model": fit.folder.name}, compute)
    row = {**result.record["errors"], "epochs": len(fit.history), **fit.costs}
    predictions = pd.read_csv(result.folder / "predictions.csv")["prediction"].to_numpy()
    return Graded(row, predictions, result.reused)


def fingerprint_predictions(settings: Settings) -> pd.DataFrame:
    """Test predictions of the fingerprint models (:mod:`molft_utils.data.fingerprints`), a column per model."""

    def compute(folder: Path) -> dict:
        predictions = pd.DataFrame(baseline_predictions(tables(settings)))
        write_atomically(folder / "predictions.csv", predictions.to_csv(index=False))
        return {}

    return pd.read_csv(cached(FINGERPRINTS, settings, {}, compute).folder / "predictions.csv")
