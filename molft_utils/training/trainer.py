"""One run of the transformers Trainer: resumable, with early stopping, a progress bar, and a history of its epochs."""

import dataclasses
import hashlib
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing import current_process
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import torch
from peft import PeftModel
from torch.utils.data import Dataset, Sampler
from tqdm.auto import tqdm
from transformers import EarlyStoppingCallback, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from ..errors import CheckpointError, DivergenceError
from ..files import naming_unwritable
from ..groups import Training
from ..molformer import load_tokenizer, quiet_transformers
from .batches import LengthBatches
from .run_folder import Checksums, alone_in, early_stop, resume_point


@dataclasses.dataclass
class Fit:
    """A trained model (best epoch restored, eval mode), its history and its wall-clock time.

    ``history`` has one row per epoch: ``epoch``, ``train_loss`` and ``validation_loss``. For a regression both are mean
    squared errors in logD²; for masked-language modelling they are cross entropies in nats per masked token.
    ``seconds`` is the time of the process that finished the run.
    """

    model: PreTrainedModel | PeftModel
    history: pd.DataFrame
    seconds: float


class Progress(TrainerCallback):
    """One tqdm bar for the run, with the latest validation loss; for Jupyter, Colab and a terminal."""

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
    """The Trainer with batches of similar lengths, in training and in evaluation."""

    def _get_train_sampler(self, *args) -> Sampler:
        batch_size = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LengthBatches(_lengths(self.train_dataset), batch_size)

    def _get_eval_sampler(self, eval_dataset) -> Sampler:
        return cast(Sampler, np.argsort(_lengths(eval_dataset), kind="stable").tolist())

    def floating_point_ops(self, inputs) -> int:
        """Not counted: walking through all modules would cost two per cent of each step."""
        return 0


def _lengths(molecules: object) -> list[int]:
    return [len(item["input_ids"]) for item in cast(Sequence[dict], molecules)]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run does: a ``title`` for the progress bar, its own numbers, and what both kinds of training share."""

    title: str
    learning_rate: float
    batch_size: int
    epochs: int
    shared: Training

    def stamp(self) -> dict:
        """The plan as JSON. The checkpoint's name is left out: a run is identified by the weights it starts from."""
        values = dataclasses.asdict(self)
        del values["shared"]["checkpoint"]
        return values


class OneDevice(TrainingArguments):
    """Training on one device, however many are visible: several would multiply the batch size without a warning."""

    @property
    def n_gpu(self) -> int:
        return min(1, super().n_gpu)


def run_trainer(
    model: PreTrainedModel | PeftModel,
    train_set: Dataset | list,
    validation_set: Dataset | list | None,
    collator: Callable,
    plan: Plan,
    stamp: dict,
    output_dir: str | Path | None,
) -> Fit:
    """Train in ``output_dir`` or a temporary folder, with early stopping if there is a validation set.

    Parameters
    ----------
    model
        Changed in place.
    train_set, validation_set, collator
        Molecules as dictionaries with ``input_ids`` and, unless the collator masks them, ``labels``.
    plan, stamp
        What to do; and what must agree, as JSON, before a run resumes from a checkpoint (:func:`resume_point`).
    output_dir
        Keeps a checkpoint of each epoch; None takes a temporary folder.

    Raises
    ------
    StaleRunError
        If ``output_dir`` holds a run with another stamp.
    CheckpointError
        If another process trains there, or a checkpoint there holds what is no tensor.
    StorageError
        If it cannot be written.
    DivergenceError
        If a loss is not finite.
    """
    if output_dir is None:
        with tempfile.TemporaryDirectory() as temporary:
            return run_trainer(model, train_set, validation_set, collator, plan, stamp, temporary)
    with naming_unwritable(Path(output_dir)), alone_in(Path(output_dir)):
        return _train(model, train_set, validation_set, collator, plan, stamp, Path(output_dir))


def _train(
    model: PreTrainedModel | PeftModel,
    train_set: Dataset | list,
    validation_set: Dataset | list | None,
    collator: Callable,
    plan: Plan,
    stamp: dict,
    folder: Path,
) -> Fit:
    """Train in a folder that no other process uses; as :func:`run_trainer`."""
    start = resume_point(folder, stamp)
    stops_early = validation_set is not None
    if start and stops_early and (stopped := early_stop(start, plan.shared.patience)):
        plan = dataclasses.replace(plan, epochs=stopped)  # nothing is left to train; the best epoch is restored
    trainer = LengthTrainer(
        model,
        _arguments(plan, folder, stops_early),
        collator,
        train_set,
        validation_set,
        processing_class=load_tokenizer(),
        callbacks=_callbacks(plan, stops_early),
    )
    trainer.remove_callback(PrinterCallback)
    began = time.perf_counter()
    try:
        with quiet_transformers():  # saving has progress bars of its own
            trainer.train(resume_from_checkpoint=start)
    except Exception as error:
        if "Weights only load failed" not in str(error):  # torch's words for a pickle of anything but tensors
            raise
        raise CheckpointError(f"{start} holds a file that is no plain tensor, and is not read; delete it") from error
    history = _history(trainer.state.log_history)
    if not np.isfinite(history.drop(columns="epoch").to_numpy()).all():
        raise DivergenceError("the loss is not finite; lower the learning rate, or set precision='fp32'")
    trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)  # predictions are made in full precision
    return Fit(model.eval(), history, time.perf_counter() - began)


def _callbacks(plan: Plan, stops_early: bool) -> list[TrainerCallback]:
    callbacks: list[TrainerCallback] = [Progress(plan.title), Checksums()]
    if stops_early:
        callbacks.append(EarlyStoppingCallback(plan.shared.patience, plan.shared.min_delta))
    return callbacks


def _arguments(plan: Plan, folder: Path, stops_early: bool) -> TrainingArguments:
    switches = mixed_precision(plan.shared.precision)
    return OneDevice(
        output_dir=str(folder),
        learning_rate=plan.learning_rate,
        per_device_train_batch_size=plan.batch_size,
        per_device_eval_batch_size=64,
        num_train_epochs=plan.epochs,
        weight_decay=plan.shared.weight_decay,
        warmup_steps=plan.shared.warmup,
        seed=plan.shared.seed,
        eval_strategy="epoch" if stops_early else "no",
        save_strategy="epoch",
        save_total_limit=2,
        restore_callback_states_from_checkpoint=True,  # else early stopping would count from zero after a resume
        logging_strategy="epoch",
        logging_nan_inf_filter=False,  # else a loss that is not finite would be logged as zero
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
        fp16=switches["fp16"],
        bf16=switches["bf16"],
        use_cpu=switches["use_cpu"],
    )


def _history(log: list[dict]) -> pd.DataFrame:
    """One row per epoch, from the Trainer's log."""
    rows: dict[int, dict] = {}
    for entry in log:
        row = rows.setdefault(round(entry["epoch"]), {"epoch": round(entry["epoch"])})
        row.update(
            {new: entry[old] for old, new in (("loss", "train_loss"), ("eval_loss", "validation_loss")) if old in entry}
        )
    return pd.DataFrame(list(rows.values()))


def resolved_precision(wanted: str) -> str:
    """What the setting ``precision`` means on this hardware: "fp32", "fp16" or "bf16"."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16"
    return "bf16" if getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)() else "fp32"


def mixed_precision(wanted: str) -> dict[str, bool]:
    """Translate the setting ``precision`` into the Trainer's switches."""
    precision = resolved_precision(wanted)
    on_cpu = not torch.cuda.is_available()
    # The Trainer refuses bf16 without a GPU unless it is told that the CPU is meant.
    return {"fp16": precision == "fp16", "bf16": precision == "bf16", "use_cpu": precision == "bf16" and on_cpu}


def start_hash(model: PreTrainedModel | PeftModel) -> str:
    """A sha256 of what a run starts from: the weights in their order, and which of them train, but not their names."""
    weights = hashlib.sha256()
    for name, p in model.named_parameters():
        weights.update(f"{tuple(p.shape)} {p.requires_grad}".encode())
        if not any(part in name for part in ("classifier", "lora_")):  # these start at random
            weights.update(p.detach().cpu().float().numpy().tobytes())
    return weights.hexdigest()
