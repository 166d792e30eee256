"""One run of the transformers Trainer: resumable, with early stopping, one progress bar, and a history by epochs."""

import dataclasses
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from multiprocessing import current_process
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset, Sampler
from tqdm.auto import tqdm
from transformers import EarlyStoppingCallback, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from ..errors import CheckpointError, DivergenceError
from ..files import write_atomically
from ..molformer import load_tokenizer, quiet_transformers
from ..profiles import Settings
from .batches import LikeLengths


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
        self.bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc=self.title,
            unit="step",
            leave=False,
            disable=current_process().name != "MainProcess",  # the bars of two workers would overwrite each other
        )

    def on_step_end(self, args, state, control, **kwargs):
        self.bar.update(state.global_step - self.bar.n)

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        self.bar.set_postfix(epoch=round(state.epoch or 0), validation_loss=f"{metrics['eval_loss']:.3f}")

    def on_train_end(self, args, state, control, **kwargs):
        self.bar.close()


class LengthTrainer(Trainer):
    """The Trainer with batches of like lengths."""

    def _get_train_sampler(self, *args) -> Sampler:
        lengths = [len(item["input_ids"]) for item in self.train_dataset]
        return LikeLengths(lengths, self.args.train_batch_size * self.args.gradient_accumulation_steps)


def run_trainer(
    model: PreTrainedModel,
    train_set: Dataset | list,
    validation_set: Dataset | list | None,
    collator: Callable,
    plan: dict,
    settings: Settings,
    output_dir: str | Path | None,
    stamp: dict,
    title: str,
) -> Fit:
    """Train in ``output_dir`` or a temporary folder, with early stopping where there is a validation set.

    Parameters
    ----------
    plan
        Arguments of the Trainer in which the kinds of training differ.
    stamp
        What a run must share with the checkpoints that it goes on from (:func:`resume_point`).
    title
        Of the progress bar.

    Raises
    ------
    CheckpointError
        If ``output_dir`` holds a run with another stamp.
    DivergenceError
        If a loss is not finite.
    """
    if output_dir is None:
        with tempfile.TemporaryDirectory() as folder:
            return run_trainer(model, train_set, validation_set, collator, plan, settings, folder, stamp, title)
    folder = Path(output_dir)
    start = resume_point(folder, stamp)
    stops_early = validation_set is not None
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_eval_batch_size=64,
        eval_strategy="epoch" if stops_early else "no",
        save_strategy="epoch",
        save_total_limit=2,
        restore_callback_states_from_checkpoint=True,  # or early stopping would count from zero after a resume
        logging_strategy="epoch",
        logging_nan_inf_filter=False,  # or a loss that is not finite would be logged as zero
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
    trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)  # predictions are made in full precision
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


def mixed_precision(wanted: str) -> dict[str, bool]:
    """Translate the setting ``precision`` into the Trainer's switches, by what the hardware has."""
    if wanted == "auto":
        if torch.cuda.is_available():
            wanted = "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16"
        else:
            has_bf16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
            wanted = "bf16" if has_bf16 else "fp32"
    on_cpu = not torch.cuda.is_available()
    # The Trainer refuses bf16 without a GPU unless it is told that the CPU is meant.
    return {"fp16": wanted == "fp16", "bf16": wanted == "bf16", "use_cpu": wanted == "bf16" and on_cpu}


def resume_point(folder: Path, stamp: dict) -> str | None:
    """The newest whole checkpoint of the same run; half-written ones, left by a kill, are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "run.json"
    if record.exists() and json.loads(record.read_text()) != stamp:
        raise CheckpointError(
            f"{folder} holds a run with other settings or data; choose another output_dir or delete it"
        )
    if not record.exists():
        write_atomically(record, json.dumps(stamp, indent=1))
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda p: -int(p.name.split("-")[1])):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text())  # the Trainer writes this file last
            return str(checkpoint)
        except (OSError, json.JSONDecodeError):
            shutil.rmtree(checkpoint)
    return None
