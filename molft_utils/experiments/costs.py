"""What training costs: seconds per step, memory, and bytes on disk."""

import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import psutil
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from ..molformer import device, load_model, quiet_transformers
from ..peft_methods import apply_method, hold_omega, save_adapter, trainable
from ..settings import Settings
from ..training import molecule_batches


class PeakMemory:
    """Context manager that measures peak memory, in ``megabytes``: the GPU's allocation where there is a GPU, else the
    resident memory of the process, which a thread reads every ``interval`` seconds."""

    def __init__(self, interval: float = 0.1):
        self.interval, self.megabytes = interval, 0.0
        self._done = threading.Event()

    def __enter__(self) -> "PeakMemory":
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()
        if torch.cuda.is_available():
            self.megabytes = torch.cuda.max_memory_allocated() / 2**20

    def _watch(self) -> None:
        process = psutil.Process()
        while True:
            self.megabytes = max(self.megabytes, process.memory_info().rss / 2**20)
            if self._done.wait(self.interval):
                return


def seconds_per_step(cases: Mapping[str, tuple[str, Settings]], table: pd.DataFrame, repeats: int = 11) -> pd.Series:
    """Seconds per training step in full precision, by fine-tuning method, all in one run.

    The cases take turns on the same batches of ``table``, so that a slow moment of the machine hits all of them. The
    result is the median over rounds; the first round, which warms up, is left out. No method redraws Omega: full
    fine-tuning of the published model would, LoRA would not, and the difference says nothing about either.

    ``cases`` has a fine-tuning method and settings by name; ``repeats`` counts the rounds, the first included.
    """
    models: dict[str, torch.nn.Module] = {}
    optimizers: dict[str, torch.optim.Optimizer] = {}
    for name, (method, settings) in cases.items():
        plain = load_model(settings.checkpoint, head=settings.head)
        plain.to(device())  # type: ignore[arg-type]  # transformers' decorator hides the method's self from mypy
        hold_omega(plain)
        models[name] = apply_method(plain, method, settings).train()
        trained = [p for p in models[name].parameters() if p.requires_grad]
        optimizers[name] = torch.optim.AdamW(trained, fused=True)
    batches = molecule_batches(plain, table, settings.batch_size)[0]
    rounds = [{name: _seconds(models[name], optimizers[name], batches) for name in cases} for _ in range(repeats)]
    return pd.DataFrame(rounds[1:]).median() / len(batches)


def _seconds(model: torch.nn.Module, optimizer: torch.optim.Optimizer, batches: list[dict]) -> float:
    """Seconds of one training step on each batch."""
    began = time.perf_counter()
    for batch in batches:
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def optimiser_bytes(model: torch.nn.Module) -> int:
    """Bytes of the gradients and of AdamW's two moments after one step on a molecule of ten atoms: 12 per parameter.

    The step has the learning rate 0 and changes nothing.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.0, weight_decay=0.0)
    tokens = torch.full((1, 12), 4, device=trained[0].device)
    model(input_ids=tokens, attention_mask=torch.ones_like(tokens), labels=trained[0].new_ones(1)).loss.backward()
    optimizer.step()
    moments = [value for state in optimizer.state.values() for name, value in state.items() if name != "step"]
    counted = sum(t.nbytes for t in (*moments, *(p.grad for p in trained if p.grad is not None)))
    optimizer.zero_grad()
    return counted


def saved_bytes(model: PreTrainedModel | PeftModel) -> int:
    """Bytes of the weights on disk: of what a method trained and its Omega, or of a whole model."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trained, total = trainable(model)
        if trained < total:
            save_adapter(model, folder)
        else:
            with quiet_transformers():
                model.save_pretrained(name)
        return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
