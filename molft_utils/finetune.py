"""Training on the transformers Trainer: regression on labels, and masked-language modelling on SMILES alone."""

import dataclasses
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm
from transformers import (
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_callback import PrinterCallback

from .checkpoints import load_tokenizer, quiet_transformers
from .errors import CheckpointError, DataError, DivergenceError
from .masked import masked_examples, mlm_collator
from .predict import randomised, tokenise
from .settings import MLM, REGRESSION, Settings
from .stages import table_hash
from .tables import canonicalise


@dataclasses.dataclass
class Fit:
    """A trained model (best epoch restored, eval mode), its history and its wall-clock time.

    ``history`` has a row an epoch: ``epoch``, ``train_loss`` and ``validation_loss``; for a regression both are mean
    squared errors in logD², for masked-language modelling cross entropies in nats a masked token. ``seconds`` is the
    time of the process that finished the run.
    """

    model: PreTrainedModel
    history: pd.DataFrame
    seconds: float


class Progress(TrainerCallback):
    """One tqdm bar for the run, with the latest validation loss; it works in Jupyter, Colab and a terminal."""

    def __init__(self, title: str):
        self.title = title

    def on_train_begin(self, args, state, control, **kwargs):
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc=self.title, unit="step", leave=False)

    def on_step_end(self, args, state, control, **kwargs):
        self.bar.update(state.global_step - self.bar.n)

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        self.bar.set_postfix(epoch=round(state.epoch or 0), validation_loss=f"{metrics['eval_loss']:.3f}")

    def on_train_end(self, args, state, control, **kwargs):
        self.bar.close()


class RandomisedSmiles(torch.utils.data.Dataset):
    """Molecules as token ids with their labels; a share of them anew as a random SMILES each time they are read."""

    def __init__(self, table: pd.DataFrame, settings: Settings):
        self.smiles = list(table["smiles"])
        self.labels = [float(y) for y in table["label"]]
        self.ids = tokenise(self.smiles, settings.max_tokens)
        self.share, self.max_tokens = settings.randomise, settings.max_tokens

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> dict:
        ids = self.ids[i]
        if self.share and torch.rand(()) < self.share:  # torch's generator: the Trainer seeds it and restores it
            seed = int(torch.randint(2**31 - 2, ()))
            ids = tokenise([randomised(self.smiles[i], seed)], self.max_tokens)[0]
        return {"input_ids": ids, "labels": self.labels[i]}


class LikeLengths(torch.utils.data.Sampler):
    """An epoch's order: batch by batch molecules of like length, so that little is padded; the batches shuffled.

    transformers' own grouping by length leaves 6.7 % padding on the training split, and walks from long molecules to
    short ones four times an epoch. ``jitter`` stretches each length at random, so that batches differ between epochs.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, jitter: float = 0.05):
        self.lengths = torch.tensor(lengths)
        self.batch_size, self.jitter = batch_size, jitter

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(len(self))
        order, rest = order.tensor_split([len(self) // self.batch_size * self.batch_size])
        stretched = self.lengths[order] * (1 + self.jitter * torch.rand(len(order)))
        batches = order[stretched.argsort()].view(-1, self.batch_size)
        yield from batches[torch.randperm(len(batches))].flatten().tolist()
        yield from rest.tolist()  # what fills no batch comes last, of any length


class LengthTrainer(Trainer):
    """The Trainer with batches of like lengths."""

    def _get_train_sampler(self, *args) -> torch.utils.data.Sampler:
        lengths = [len(item["input_ids"]) for item in self.train_dataset]
        return LikeLengths(lengths, self.args.train_batch_size * self.args.gradient_accumulation_steps)


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
        If ``output_dir`` holds a run with other settings or data.
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
    stamp = _stamp(settings.pick(*REGRESSION), pd.concat([train, validation]))
    fit = _train(model, *sets, collator, plan, settings, output_dir, stamp, "fine-tuning")
    fit.history[["train_loss", "validation_loss"]] *= config.label_std**2
    return fit


def pretrain_mlm(
    model: PreTrainedModel,
    smiles: Sequence[str],
    settings: Settings,
    validation: Sequence[str] | None = None,
    output_dir: str | Path | None = None,
) -> Fit:
    """Masked-language-model fine-tuning on SMILES: 15 % of the tokens, of these 80 % <mask>, 10 % random, 10 % kept.

    ``validation`` (SMILES) is masked once, so that its loss can be compared between epochs; without it the last
    epoch is kept and the history has no validation loss. Otherwise as :func:`finetune`.
    """
    if not len(smiles):
        raise DataError("no SMILES to train on")
    rewrite = canonicalise if settings.canonical else str
    smiles, validation = ([rewrite(s) for s in part] for part in (smiles, () if validation is None else validation))
    train_set = [{"input_ids": ids} for ids in tokenise(smiles, settings.max_tokens)]
    validation_set = masked_examples(validation, settings.max_tokens) if validation else None
    plan = _plan(settings, settings.mlm_learning_rate, settings.mlm_batch_size, settings.mlm_epochs)
    stamp = _stamp(settings.pick(*MLM), pd.DataFrame({"smiles": [*smiles, *validation], "label": 0.0}))
    collator = mlm_collator(load_tokenizer())
    return _train(
        model, train_set, validation_set, collator, plan, settings, output_dir, stamp, "masked-language modelling"
    )


def set_dropout(model: PreTrainedModel, p: float) -> None:
    """Set the probability of every dropout layer of the model."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = p


def mixed_precision(wanted: str) -> dict[str, bool]:
    """Translate the setting ``precision`` into the Trainer's switches, by what the hardware has."""
    if wanted == "auto":
        if torch.cuda.is_available():
            wanted = "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16"
        else:
            has_bf16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
            wanted = "bf16" if has_bf16 else "fp32"
    return {"fp16": wanted == "fp16", "bf16": wanted == "bf16"}


def _plan(settings: Settings, learning_rate: float, batch_size: int, epochs: int) -> dict:
    """What the two kinds of training tell the Trainer in the same way."""
    return dict(
        learning_rate=learning_rate,
        per_device_train_batch_size=batch_size,
        num_train_epochs=epochs,
        weight_decay=settings.weight_decay,
        warmup_steps=settings.warmup,
    )


def _train(model, train_set, validation_set, collator, plan, settings, output_dir, stamp, title) -> Fit:
    """Run the Trainer in ``output_dir`` or a temporary folder, and gather the Fit."""
    if output_dir is None:
        with tempfile.TemporaryDirectory() as folder:
            return _train(model, train_set, validation_set, collator, plan, settings, folder, stamp, title)
    folder = Path(output_dir)
    start = resume_point(folder, stamp)
    stops_early = validation_set is not None
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_eval_batch_size=64,
        eval_strategy="epoch" if stops_early else "no",
        save_strategy="epoch",
        save_total_limit=2,
        logging_strategy="epoch",
        load_best_model_at_end=stops_early,
        metric_for_best_model="eval_loss" if stops_early else None,
        greater_is_better=False,
        lr_scheduler_type="linear",
        optim="adamw_torch_fused",
        label_names=["labels"],
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=settings.seed,
        **mixed_precision(settings.precision),
        **plan,
    )
    callbacks: list[TrainerCallback] = [Progress(title)]
    if stops_early:
        callbacks.append(EarlyStoppingCallback(settings.patience, settings.min_delta))
    trainer = LengthTrainer(
        model, arguments, collator, train_set, validation_set, processing_class=load_tokenizer(), callbacks=callbacks
    )
    trainer.remove_callback(PrinterCallback)
    began = time.perf_counter()
    with quiet_transformers():  # saving has bars of its own
        trainer.train(resume_from_checkpoint=start)
    history = _history(trainer.state.log_history)
    if not np.isfinite(history.drop(columns="epoch").to_numpy()).all():
        raise DivergenceError("the loss is not finite; lower the learning rate, or set precision='fp32'")
    return Fit(model.eval(), history, time.perf_counter() - began)


def _history(log: list[dict]) -> pd.DataFrame:
    """A row an epoch from the Trainer's log."""
    rows: dict[int, dict] = {}
    for entry in log:
        row = rows.setdefault(round(entry["epoch"]), {"epoch": round(entry["epoch"])})
        row.update(
            {new: entry[old] for old, new in (("loss", "train_loss"), ("eval_loss", "validation_loss")) if old in entry}
        )
    return pd.DataFrame(list(rows.values()))


def resume_point(folder: Path, stamp: dict) -> str | None:
    """The newest whole checkpoint of the same run; half-written ones, left by a kill, are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "run.json"
    if record.exists() and json.loads(record.read_text()) != stamp:
        raise CheckpointError(
            f"{folder} holds a run with other settings or data; choose another output_dir or delete it"
        )
    record.write_text(json.dumps(stamp, indent=1))
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda p: -int(p.name.split("-")[1])):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text())  # the Trainer writes this file last
            return str(checkpoint)
        except (OSError, json.JSONDecodeError):
            shutil.rmtree(checkpoint)
    return None


def _stamp(values: dict, table: pd.DataFrame) -> dict:
    """What a run must share with the checkpoints that it goes on from."""
    return {"settings": values, "data": table_hash(table)}


def _prepared(table: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    if not settings.canonical:
        return table
    return table.assign(smiles=[canonicalise(s) for s in table["smiles"]])


def _require_rows(train: pd.DataFrame, validation: pd.DataFrame) -> None:
    for name, table in (("training", train), ("validation", validation)):
        if not len(table):
            raise DataError(f"the {name} table has no rows")
