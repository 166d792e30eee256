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
from transformers import DataCollatorWithPadding, Trainer, TrainingArguments, get_linear_schedule_with_warmup, set_seed

from molft_utils.data import Split, load_lipophilicity, split
from molft_utils.evaluation import evaluate
from molft_utils.molformer import load_model, load_tokenizer, quiet_transformers
from molft_utils.settings import Settings, settings
from molft_utils.training import LengthBatches, finetune, model_tokens, pad
from rows import Row, in_turns, timing_rows, write

#: Molecules of a timed epoch, and of a fit whose error is measured.
MOLECULES, FITTED, ROUNDS = 480, 1008, 3

#: What is compared -> library.
LIBRARIES = {"fit": "molft", "usual recipe": "transformers", "bare loop": "torch"}


def fresh(train: pd.DataFrame, redraw: bool = False) -> Any:
    """The mini checkpoint with a new head, which standardises labels in its loss."""
    model = load_model("mini", redraw_in_training=redraw)
    model.config.label_mean, model.config.label_std = float(train["label"].mean()), float(train["label"].std(ddof=0))
    model.config.canonical_smiles = True
    return model


def as_rows(model: Any, train: pd.DataFrame) -> list[dict[str, Any]]:
    """Molecules as the Trainer reads them."""
    ids = model_tokens(model, train["smiles"])
    return [{"input_ids": i, "labels": float(y)} for i, y in zip(ids, train["label"], strict=True)]


def usual_recipe(train: pd.DataFrame, cfg: Settings) -> Any:
    """transformers' Trainer with the collator and the padding of its examples."""
    set_seed(cfg.seed)
    model = fresh(train, redraw=True)
    with tempfile.TemporaryDirectory() as folder, quiet_transformers():
        arguments = TrainingArguments(
            folder, num_train_epochs=cfg.epochs, learning_rate=cfg.learning_rate, disable_tqdm=True,
            per_device_train_batch_size=cfg.batch_size, weight_decay=cfg.weight_decay,
            warmup_steps=cfg.warmup, save_strategy="no", report_to=[], use_cpu=True, logging_strategy="no",
        )  # fmt: skip
        collate = DataCollatorWithPadding(load_tokenizer(), padding="max_length", max_length=cfg.max_tokens)
        Trainer(model, arguments, data_collator=collate, train_dataset=as_rows(model, train)).train()
    return model.eval()


def bare_loop(train: pd.DataFrame, cfg: Settings) -> Any:
    """The steps alone: batches by length, forward, backward, clip, AdamW; nothing is logged, evaluated or saved."""
    set_seed(cfg.seed)
    model = fresh(train).train()
    rows = as_rows(model, train)
    orders = LengthBatches([len(row["input_ids"]) for row in rows], cfg.batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), cfg.learning_rate, weight_decay=cfg.weight_decay, fused=True)
    steps = cfg.epochs * -(-len(rows) // cfg.batch_size)
    schedule = get_linear_schedule_with_warmup(optimizer, round(cfg.warmup * steps), steps)
    for _ in range(cfg.epochs):
        order = list(orders)
        for start in range(0, len(order), cfg.batch_size):
            model(**pad([rows[i] for i in order[start : start + cfg.batch_size]])).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    return model.eval()


def molft_fit(train: pd.DataFrame, cfg: Settings) -> Any:
    """``molft.finetune`` with logging and checkpoints, without a validation split as the others have none."""
    set_seed(cfg.seed)
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
    note = f"one seed, {FITTED:,} molecules, {cfg.epochs} epochs; no difference can be read from one seed"
    return Row("test RMSE of a fit", LIBRARIES[name], name, error, error, error, "logD", note)


if __name__ == "__main__":
    write("training", compare())
