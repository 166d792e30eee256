"""Fine-tuning: regression on labels by mean squared error."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from ..data import table_hash
from ..errors import DataError
from ..settings import Settings
from .batches import RandomisedSmiles, pad
from .trainer import Fit, Plan, run_trainer

#: Settings that say what a regression learns from; `run.json` keeps them.
REGRESSION = ("canonical", "max_tokens", "standardise", "dropout", "randomise")


def finetune(
    model: PreTrainedModel | PeftModel,
    train: pd.DataFrame,
    validation: pd.DataFrame | None,
    settings: Settings,
    output_dir: str | Path | None = None,
    moments: Path | None = None,
) -> Fit:
    """Fine-tune a regression model, with early stopping on the validation split.

    Parameters
    ----------
    model
        A regression model, plain or wrapped by peft; it is changed in place.
    train, validation
        Tables with ``smiles`` and ``label`` (logD). Without a validation table all epochs are trained and the model
        after the last one is kept.
    output_dir
        Keeps a checkpoint of each epoch, from which an interrupted run resumes; None takes a temporary folder. If it
        holds a run with other settings, data or initial weights, a StaleRunError says what differs.
    moments
        A folder that gets the parameters and Adam's second moments after each epoch, or after four of them at even
        distances (:func:`~molft_utils.training.load_moments`); None keeps none.
    """
    tables = {"training": train} if validation is None else {"training": train, "validation": validation}
    for name, table in tables.items():
        _require_labels(name, table)
    form = settings.canonical, settings.max_tokens
    train_set = RandomisedSmiles(train, *form, settings.randomise)
    validation_set = None if validation is None else RandomisedSmiles(validation, *form)

    # What later predictions need is kept in the configuration, which is saved with the weights.
    config = model.config
    config.canonical_smiles, config.max_tokens = form
    # The head learns labels of mean 0 and standard deviation 1; the model gives them back in their own unit. Both are
    # taken from the training split alone, as those of the validation split would tell of labels not yet seen.
    config.label_mean = float(train["label"].mean()) if settings.standardise else 0.0
    config.label_std = (float(train["label"].std(ddof=0)) or 1.0) if settings.standardise else 1.0
    if settings.dropout is not None:
        set_dropout(model, settings.dropout)

    made_from = {name: getattr(settings, name) for name in REGRESSION}
    made_from |= {name: table_hash(table) for name, table in tables.items()}
    plan = Plan("fine-tuning", settings.learning_rate, settings.batch_size, settings.epochs, made_from, moments)
    fit = run_trainer(model, train_set, validation_set, pad, plan, settings, output_dir)
    # The loss is that of standardised labels: times the variance it is in logD².
    fit.history[fit.history.columns.drop("epoch")] *= config.label_std**2
    return fit


def set_dropout(model: torch.nn.Module, p: float) -> None:
    """Set the probability of every dropout layer of the model, except LoRA's, which has a setting of its own."""
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Dropout) and "lora_dropout" not in name:
            module.p = p


def _require_labels(name: str, table: pd.DataFrame) -> None:
    if not len(table):
        raise DataError(f"the {name} table has no rows")
    bad = table[~np.isfinite(table["label"].to_numpy(dtype=float))]
    if len(bad):
        row, label = bad.index[0], bad["label"].iloc[0]
        raise DataError(f"{name} table, row {row}: the label is {label}; give a number or take the molecule out")
