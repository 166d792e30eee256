"""Fine-tuning: regression on labels."""

import hashlib
from pathlib import Path

import pandas as pd
import torch
from transformers import DataCollatorWithPadding, PreTrainedModel

from ..data import canonicalise, table_hash
from ..errors import DataError
from ..molformer import load_tokenizer
from ..profiles import REGRESSION, Settings
from .batches import RandomisedSmiles
from .trainer import Fit, run_trainer


def finetune(
    model: PreTrainedModel,
    train: pd.DataFrame,
    validation: pd.DataFrame,
    settings: Settings,
    output_dir: str | Path | None = None,
) -> Fit:
    """Fine-tune a regression model by mean squared error, with early stopping on the validation split.

    The label mean and standard deviation are taken from ``train`` alone and kept in the model's configuration, so
    that the model predicts logD itself.

    Parameters
    ----------
    model
        A regression model, plain or wrapped by peft; it is changed in place.
    train, validation
        Tables with ``smiles`` and ``label`` (logD).
    output_dir
        Keeps a checkpoint an epoch; a run that was interrupted goes on from the last one. None: a temporary folder.

    Raises
    ------
    DataError
        If a split is empty.
    CheckpointError
        If ``output_dir`` holds a run with other settings, data or initial weights.
    DivergenceError
        If the validation loss is not finite.
    """
    _require_rows(train, validation)
    config = model.config
    config.canonical_smiles, config.max_tokens, config.n_random = (
        settings.canonical,
        settings.max_tokens,
        settings.n_random,
    )
    config.label_mean = float(train["label"].mean()) if settings.standardise else 0.0
    config.label_std = float(train["label"].std(ddof=0)) or 1.0 if settings.standardise else 1.0
    train, validation = (_prepared(table, settings) for table in (train, validation))
    if settings.dropout is not None:
        set_dropout(model, settings.dropout)
    plan = _plan(settings, settings.learning_rate, settings.batch_size, settings.epochs)
    collator = DataCollatorWithPadding(load_tokenizer())
    sets = RandomisedSmiles(train, settings), RandomisedSmiles(validation, settings.replace(randomise=0.0))
    stamp = _stamp(model, settings.pick(*REGRESSION), train, validation)
    fit = run_trainer(model, *sets, collator, plan, settings, output_dir, stamp, "fine-tuning")
    fit.history[["train_loss", "validation_loss"]] *= config.label_std**2
    return fit


def set_dropout(model: PreTrainedModel, p: float) -> None:
    """Set the probability of every dropout layer of the model; LoRA's has a setting of its own."""
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Dropout) and "lora_dropout" not in name:
            module.p = p


def _plan(settings: Settings, learning_rate: float, batch_size: int, epochs: int) -> dict:
    """What the two kinds of training tell the Trainer in the same way."""
    return dict(
        learning_rate=learning_rate,
        per_device_train_batch_size=batch_size,
        num_train_epochs=epochs,
        weight_decay=settings.weight_decay,
        warmup_steps=settings.warmup,
    )


def _stamp(model: PreTrainedModel, values: dict, *tables: pd.DataFrame) -> dict:
    """What a run must share with the checkpoints that it goes on from: settings, data, what trains and from where."""
    weights = hashlib.sha256()
    for name, p in model.named_parameters():
        weights.update(f"{name} {p.requires_grad}".encode())
        if not any(part in name for part in ("classifier", "lora_")):  # these start at random
            weights.update(p.detach().cpu().float().numpy().tobytes())
    return {"settings": values, "data": [table_hash(table) for table in tables], "start": weights.hexdigest()}


def _prepared(table: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    if not settings.canonical:
        return table
    return table.assign(smiles=[canonicalise(s) for s in table["smiles"]])


def _require_rows(train: pd.DataFrame, validation: pd.DataFrame) -> None:
    for name, table in (("training", train), ("validation", validation)):
        if not len(table):
            raise DataError(f"the {name} table has no rows")
