"""Fine-tuning: regression on labels."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from ..data import canonicalise, table_hash
from ..errors import DataError
from ..profiles import Settings
from .batches import RandomisedSmiles, pad
from .memory import naming_batch
from .trainer import Fit, Plan, run_trainer, start_hash


def finetune(
    model: PreTrainedModel | PeftModel,
    train: pd.DataFrame,
    validation: pd.DataFrame | None,
    settings: Settings,
    output_dir: str | Path | None = None,
) -> Fit:
    """Fine-tune a regression model by mean squared error, with early stopping on the validation split.

    The mean and standard deviation of the labels are taken from ``train`` alone and kept in the model's configuration,
    so that the model predicts logD itself.

    Parameters
    ----------
    model
        A regression model, plain or wrapped by peft; it is changed in place.
    train, validation
        Tables with ``smiles`` and ``label`` (logD). Without a validation table all epochs are trained and the model
        after the last one is kept.
    settings
        The groups data, training and regression are read.
    output_dir
        Keeps a checkpoint of each epoch; an interrupted run resumes from the last one. None takes a temporary folder.

    Raises
    ------
    DataError
        If a split is empty, or a label is not finite.
    StaleRunError
        If ``output_dir`` holds a run with other settings, data or initial weights.
    CheckpointError
        If another process trains in ``output_dir``.
    StorageError
        If ``output_dir`` cannot be written.
    BatchTooLargeError
        If a batch does not fit into memory.
    DivergenceError
        If a loss is not finite.
    """
    tables = [train] if validation is None else [train, validation]
    _require_rows(tables)
    _configure(model, train, settings)
    if settings.data.canonical:
        tables = [_canonical(table) for table in tables]
    group = settings.regression
    plan = Plan("fine-tuning", group.learning_rate, group.batch_size, group.epochs, settings.training)
    stamp = {
        **plan.stamp(),
        "regression": dataclasses.asdict(group),
        "max_tokens": settings.data.max_tokens,
        "data": [table_hash(table) for table in tables],
        "start": start_hash(model),
    }
    train_set, *validation_set = (
        RandomisedSmiles(table, settings.data.max_tokens, share)
        for table, share in zip(tables, (group.randomise, 0.0), strict=False)
    )
    validated = validation_set[0] if validation_set else None
    with naming_batch("batch_size", group.batch_size):
        fit = run_trainer(model, train_set, validated, pad, plan, stamp, output_dir)
    fit.history[fit.history.columns.drop("epoch")] *= model.config.label_std**2
    return fit


def set_dropout(model: torch.nn.Module, p: float) -> None:
    """Set the probability of every dropout layer of the model, except LoRA's, which has a setting of its own."""
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Dropout) and "lora_dropout" not in name:
            module.p = p


def _canonical(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(smiles=[canonicalise(smiles) for smiles in table["smiles"]])


def _configure(model: PreTrainedModel | PeftModel, train: pd.DataFrame, settings: Settings) -> None:
    """Write into the model's configuration what later predictions need."""
    config, standardise = model.config, settings.regression.standardise
    config.canonical_smiles, config.max_tokens = settings.data.canonical, settings.data.max_tokens
    config.n_random = settings.regression.n_random
    config.label_mean = float(train["label"].mean()) if standardise else 0.0
    config.label_std = (float(train["label"].std(ddof=0)) or 1.0) if standardise else 1.0
    if settings.regression.dropout is not None:
        set_dropout(model, settings.regression.dropout)


def _require_rows(tables: list[pd.DataFrame]) -> None:
    for name, table in zip(("training", "validation"), tables, strict=False):
        if not len(table):
            raise DataError(f"the {name} table has no rows")
        bad = table[~np.isfinite(table["label"].to_numpy(dtype=float))]
        if len(bad):
            row, label = bad.index[0], bad["label"].iloc[0]
            raise DataError(f"{name} table, row {row}: the label is {label}; give a number or take the molecule out")
