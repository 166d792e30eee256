"""Fine-tuning: molft's trainer, the usual recipe with transformers' Trainer, and the bare loop of molft's steps.

The usual recipe pads every molecule to 128 tokens and draws the attention's random features again at every step. All
start from the mini checkpoint and train as many epochs with AdamW at the same rates, warmed up and decayed alike.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch.utils.data import Dataset
from transformers import DataCollatorWithPadding, Trainer, TrainingArguments, get_linear_schedule_with_warmup, set_seed

from ...data import Split, canonicalise, load_lipophilicity, split
from ...evaluation import evaluate
from ...molformer import load_model, load_tokenizer, quiet_transformers, tokenise
from ...profiles import Settings, settings
from ...training import LengthBatches, finetune, pad
from .rows import Row
from .turns import in_turns, timing_rows

#: Molecules of a timed epoch, and of a fit whose error is measured.
MOLECULES, FITTED, ROUNDS = 480, 1008, 3

#: What is compared -> library.
LIBRARIES = {"fit": "molft", "usual recipe": "transformers", "bare loop": "torch"}


class Tokens(Dataset):
    """Molecules as the Trainer reads them."""

    def __init__(self, table: pd.DataFrame):
        ids = tokenise([canonicalise(s) for s in table["smiles"]])
        self.rows: list[dict[str, Any]] = [
            {"input_ids": i, "labels": float(y)} for i, y in zip(ids, table["label"], strict=True)
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict:
        return self.rows[i]


def fresh(train: pd.DataFrame, redraw: bool = False) -> Any:
    """The mini checkpoint with a new head, which standardises labels in its loss."""
    model = load_model("mini", redraw_in_training=redraw)
    model.config.label_mean, model.config.label_std = float(train["label"].mean()), float(train["label"].std(ddof=0))
    model.config.canonical_smiles = True
    return model


def usual_recipe(train: pd.DataFrame, cfg: Settings) -> Any:
    """transformers' Trainer with the collator and the padding of its examples."""
    set_seed(cfg.training.seed)
    model, plan = fresh(train, redraw=True), cfg.regression
    with tempfile.TemporaryDirectory() as folder, quiet_transformers():
        arguments = TrainingArguments(
            folder, num_train_epochs=plan.epochs, learning_rate=plan.learning_rate, disable_tqdm=True,
            per_device_train_batch_size=plan.batch_size, weight_decay=cfg.training.weight_decay,
            warmup_steps=cfg.training.warmup, save_strategy="no", report_to=[], use_cpu=True, logging_strategy="no",
        )  # fmt: skip
        collate = DataCollatorWithPadding(load_tokenizer(), padding="max_length", max_length=cfg.data.max_tokens)
        Trainer(model, arguments, data_collator=collate, train_dataset=Tokens(train)).train()
    return model.eval()


def bare_loop(train: pd.DataFrame, cfg: Settings) -> Any:
    """The steps alone: batches by length, forward, backward, clip, AdamW; nothing is logged, evaluated or saved."""
    set_seed(cfg.training.seed)
    model, plan = fresh(train).train(), cfg.regression
    rows = Tokens(train).rows
    orders = LengthBatches([len(row["input_ids"]) for row in rows], plan.batch_size)
    decay = cfg.training.weight_decay
    optimizer = torch.optim.AdamW(model.parameters(), plan.learning_rate, weight_decay=decay, fused=True)
    steps = plan.epochs * -(-len(rows) // plan.batch_size)
    schedule = get_linear_schedule_with_warmup(optimizer, round(cfg.training.warmup * steps), steps)
    for _ in range(plan.epochs):
        order = list(orders)
        for start in range(0, len(order), plan.batch_size):
            model(**pad([rows[i] for i in order[start : start + plan.batch_size]])).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    return model.eval()


def molft_fit(train: pd.DataFrame, cfg: Settings) -> Any:
    """``molft.finetune`` with logging and checkpoints, without a validation split as the others have none."""
    set_seed(cfg.training.seed)
    return finetune(load_model("mini"), train, None, cfg).model


def compare() -> list[Row]:
    """Time of an epoch, and the test error of a fit, once each."""
    parts = split(load_lipophilicity())
    some, short = parts.train.head(MOLECULES), settings("class", epochs=1)
    runs = dict(zip(LIBRARIES, (molft_fit, usual_recipe, bare_loop), strict=True))
    seconds = in_turns({name: partial(run, some, short) for name, run in runs.items()}, ROUNDS)
    rows = timing_rows(f"an epoch of {MOLECULES} molecules", seconds, LIBRARIES, "fit")
    return rows + [accuracy(name, run, parts) for name, run in runs.items()]


def accuracy(name: str, run: Callable[[pd.DataFrame, Settings], Any], parts: Split) -> Row:
    """Test RMSE after a fit with one seed: that the recipes learn alike."""
    cfg = settings("class")
    error = evaluate(run(parts.train.head(FITTED), cfg), parts.test).rmse
    note = f"one seed, {FITTED:,} molecules, {cfg.regression.epochs} epochs; no difference can be read from one seed"
    return Row("test RMSE of a fit", LIBRARIES[name], name, error, error, error, "logD", note)
