"""One run of the transformers Trainer: resumable, with early stopping, a progress bar, and a history of its epochs."""

import dataclasses
import hashlib
import json
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing import current_process
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from peft import PeftModel
from safetensors.torch import load_file, save
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from tqdm.auto import tqdm
from transformers import EarlyStoppingCallback, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import get_last_checkpoint

from ..errors import DivergenceError, StaleRunError
from ..files import write_atomically
from ..molformer import load_tokenizer, quiet_transformers
from ..settings import Settings
from .batches import LengthBatches

#: Settings that both kinds of training read.
SHARED = ("precision", "seed", "weight_decay", "warmup", "clip", "patience", "min_delta")

#: The file of a checkpoint that the Trainer writes last.
STATE = "trainer_state.json"


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


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is a run's own: the progress bar's title, three numbers, and from which settings and data it is made."""

    title: str
    learning_rate: float
    batch_size: int
    epochs: int
    made_from: dict[str, Any]
    moments: Path | None = None  # a folder that gets some of its moments


def run_trainer(
    model: PreTrainedModel | PeftModel,
    train_set: Dataset | list | None,
    validation_set: Dataset | list | None,
    collate: Callable,
    plan: Plan,
    settings: Settings,
    output_dir: str | Path | None,
) -> Fit:
    """Train ``model`` in place; with a validation set, stop early and restore the best epoch.

    Molecules are dictionaries with ``input_ids`` and, unless ``collate`` masks them, ``labels``. ``output_dir`` keeps a
    checkpoint of each epoch, from which an interrupted run resumes; None takes a temporary folder.
    """
    if output_dir is None:
        with tempfile.TemporaryDirectory() as scratch:
            return run_trainer(model, train_set, validation_set, collate, plan, settings, scratch)
    folder = Path(output_dir).resolve()
    own = {"learning_rate": plan.learning_rate, "batch_size": plan.batch_size, "epochs": plan.epochs}
    shared = {name: getattr(settings, name) for name in SHARED}
    # The folder as well: the Trainer keeps the path of the best checkpoint, and would not find it in a renamed folder.
    run = {**shared, **own, **plan.made_from, "start": start_hash(model), "folder": str(folder)}
    start = resume_point(folder, run)
    stops_early = validation_set is not None
    if start and stops_early and (stopped := early_stop(start, settings.patience)):
        plan = dataclasses.replace(plan, epochs=stopped)  # nothing is left to train; the best epoch is restored
    callbacks: list[TrainerCallback] = [Progress(plan.title)]
    if plan.moments is not None:
        callbacks.append(KeepMoments(plan.moments))
    if stops_early:
        callbacks.append(EarlyStoppingCallback(settings.patience, settings.min_delta))
    arguments = _arguments(plan, settings, folder, stops_early)
    trainer = LengthTrainer(
        model, arguments, collate, train_set, validation_set, processing_class=load_tokenizer(), callbacks=callbacks
    )
    trainer.remove_callback(PrinterCallback)
    began = time.perf_counter()
    with quiet_transformers():  # saving has progress bars of its own
        trainer.train(resume_from_checkpoint=start)
    history = _history(trainer.state.log_history)
    if not np.isfinite(history.drop(columns="epoch").to_numpy()).all():
        raise DivergenceError("the loss is not finite; lower the learning rate, or set precision='fp32'")
    trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)  # predictions are made in full precision
    return Fit(model.eval(), history, time.perf_counter() - began)


def _arguments(plan: Plan, settings: Settings, folder: Path, stops_early: bool) -> TrainingArguments:
    precision = resolved_precision(settings.precision)
    return OneDevice(
        output_dir=str(folder),
        learning_rate=plan.learning_rate,
        per_device_train_batch_size=plan.batch_size,
        per_device_eval_batch_size=64,
        num_train_epochs=plan.epochs,
        weight_decay=settings.weight_decay,
        warmup_steps=settings.warmup,
        max_grad_norm=settings.clip or 0.0,  # the Trainer's word for no limit
        seed=settings.seed,
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
        fp16=precision == "fp16",
        bf16=precision == "bf16",
        use_cpu=not torch.cuda.is_available(),  # else bf16 would be refused, and Apple's GPU taken unannounced
    )


class LengthTrainer(Trainer):
    """The Trainer with batches of similar lengths, in training and in evaluation."""

    def _get_train_sampler(self, *args) -> Sampler:
        return LengthBatches(_lengths(self.train_dataset), self.args.train_batch_size)

    def _get_eval_sampler(self, eval_dataset) -> Sampler:
        return cast(Sampler, np.argsort(_lengths(eval_dataset), kind="stable").tolist())

    def floating_point_ops(self, inputs) -> int:
        """Not counted: walking through all modules would cost two per cent of each step."""
        return 0


def _lengths(molecules: object) -> list[int]:
    return [len(item["input_ids"]) for item in cast(Sequence[dict], molecules)]


class OneDevice(TrainingArguments):
    """Training on one device, however many are visible: several would multiply the batch size without a warning."""

    @property
    def n_gpu(self) -> int:
        return min(1, super().n_gpu)


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


@dataclasses.dataclass(frozen=True)
class Moment:
    """A moment of a training, by name of each parameter that trains: its value, and Adam's second moment.

    The second moment v / (1 - beta2^t) is a running mean of the squared gradient (Kingma & Ba 2015).
    """

    parameters: dict[str, Tensor]
    second_moments: dict[str, Tensor]


#: Moments that are kept of a training: after each epoch where there are no more.
N_MOMENTS = 4


class KeepMoments(TrainerCallback):
    """Writes a :class:`Moment` after some epochs, which stays; the Trainer's checkpoints go, and hold a pickle."""

    def __init__(self, folder: Path):
        self.folder = folder

    def on_epoch_end(self, args, state, control, model, optimizer, **kwargs):
        between, tensors = math.ceil(args.num_train_epochs / N_MOMENTS), {}
        if (args.num_train_epochs - round(state.epoch)) % between:
            return
        for name, p in model.named_parameters():
            if p.requires_grad:
                adam = optimizer.state[p]
                # Half precision moves no score by more than a hundredth; v needs the exponents of bfloat16.
                tensors[f"parameters/{name}"] = p.detach().half().cpu()
                unbiased = adam["exp_avg_sq"] / (1 - args.adam_beta2 ** float(adam["step"]))
                tensors[f"second_moments/{name}"] = unbiased.bfloat16().cpu()
        write_atomically(self.folder / f"epoch-{round(state.epoch)}.safetensors", save(tensors))


def load_moments(folder: Path) -> list[Moment]:
    """What :class:`KeepMoments` wrote into a folder, in the order of the epochs."""
    files = sorted(folder.glob("epoch-*.safetensors"), key=lambda path: int(path.stem.partition("-")[2]))
    tensors = [load_file(path) for path in files]
    return [Moment(_below("parameters/", found), _below("second_moments/", found)) for found in tensors]


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor.float() for name, tensor in tensors.items() if name.startswith(prefix)}


def resume_point(folder: Path, run: dict[str, Any]) -> str | None:
    """The newest whole checkpoint of the same run, if any; a StaleRunError if the folder holds another run.

    ``run`` has the settings, data and initial weights, as JSON, which ``run.json`` in the folder keeps.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "run.json"
    if record.exists():
        old, new = json.loads(record.read_text(encoding="utf-8")), json.loads(json.dumps(run))
        differing = [name for name in sorted(old | new) if old.get(name) != new.get(name)]
        if differing:
            changes = "; ".join(f"{name}: {old.get(name)} -> {new.get(name)}" for name in differing)
            raise StaleRunError(
                f"{folder} holds a run with other settings or data; choose another output_dir or delete it ({changes})"
            )
    write_atomically(record, json.dumps(run, indent=1))
    while (last := get_last_checkpoint(str(folder))) and not (Path(last) / STATE).exists():
        shutil.rmtree(last)  # half-written: the process was killed while it saved
    return last


def early_stop(checkpoint: str, patience: int) -> int | None:
    """After how many epochs a run stopped early, if it did: the Trainer would resume it with one epoch more."""
    state = json.loads((Path(checkpoint) / STATE).read_text(encoding="utf-8"))
    stopping = state.get("stateful_callbacks", {}).get("EarlyStoppingCallback", {})
    counted = stopping.get("attributes", {}).get("early_stopping_patience_counter", 0)
    return round(state["epoch"]) if counted >= patience else None


def _history(log: list[dict]) -> pd.DataFrame:
    """One row per epoch, from the Trainer's log."""
    names = {"loss": "train_loss", "eval_loss": "validation_loss"}
    rows: dict[int, dict] = {}
    for entry in log:
        row = rows.setdefault(round(entry["epoch"]), {"epoch": round(entry["epoch"])})
        row |= {names[key]: value for key, value in entry.items() if key in names}
    return pd.DataFrame(list(rows.values()))


def resolved_precision(wanted: str) -> str:
    """What the setting ``precision`` means on this hardware: "fp32", "fp16" or "bf16"."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16"
    return "bf16" if getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)() else "fp32"


def start_hash(model: PreTrainedModel | PeftModel) -> str:
    """A sha256 of what a run starts from: every bit of the weights, in their order, and which of them train."""
    weights = hashlib.sha256()
    for name, p in model.named_parameters():
        weights.update(f"{tuple(p.shape)} {p.requires_grad}".encode())
        if not any(part in name for part in ("classifier", "lora_")):  # these start at random
            weights.update(p.detach().cpu().float().numpy().tobytes())
    return weights.hexdigest()
