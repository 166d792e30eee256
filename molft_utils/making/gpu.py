"""What a GPU needs for each kind of work, and how far it is from the published vectors: ``make gpu``.

No network is needed. The mini checkpoint, and a model of the published size with random weights, do each kind of work
in a process of its own; seconds and the peak of memory go to ``data/results/gpu.csv`` with the card's name. A row that
is on record with the same libraries is not measured again. Without a GPU there is nothing to measure.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor, nn

from ..evaluation import records
from ..experiments import commit, inputs_of
from ..files import ROOT
from ..molformer import MolformerConfig, MolformerForMaskedLM, MolformerForSequenceClassification
from . import costs, hub

#: Precision -> what autocast computes in; none: full precision.
PRECISIONS: dict[str, torch.dtype | None] = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}

#: Work that the Trainer does, in any precision; the other kinds are in full precision.
MIXED = ("fit", "mlm", "grid")

#: How much of each kind of work is done: enough batches that a GPU is busy, few enough that the largest takes minutes.
AMOUNT: dict[str, Any] = dict(limit=512, epochs=1, mlm_epochs=1)

#: Vectors of the published implementation, for the same weights.
PARITY = ROOT / "tests" / "fixtures" / "parity.safetensors"


class Case(NamedTuple):
    """What is measured once: a size of model, a kind of work, a precision."""

    size: str
    what: str
    precision: str


def cases() -> Iterator[Case]:
    """All that is measured, the small model first."""
    for size in ("mini", "full"):
        for what in costs.UNITS:
            for precision in PRECISIONS if what in MIXED else ("fp32",):
                yield Case(size, what, precision)


def measured(case: Case, device: str, profile: str = "class", **changes: Any) -> dict:
    """The cost of a case in a process of its own.

    Parameters
    ----------
    device : {"cuda", "cpu"}
        On "cpu" the process sees no GPU.
    profile, **changes
        Settings, in which the case's checkpoint and precision are put.

    Raises
    ------
    RuntimeError
        If the process fails, for instance because the card's memory does not do; the message ends with its last line.
    """
    checkpoint = "mini" if case.size == "mini" else str(hub.make_files())
    changes |= {"checkpoint": checkpoint, "precision": case.precision}
    call = f"costs.print_cost({case.what!r}, {profile!r}, {2 if device == 'cuda' else 1}, **{changes!r})"
    variables = {**os.environ, "HF_HUB_OFFLINE": "1", **({"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {})}
    command = [sys.executable, "-c", f"from molft_utils.making import costs; {call}"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["it was killed"])[-1])
    return json.loads(done.stdout.strip().splitlines()[-1])


def parity_errors(device: str, precision: str) -> dict[str, float]:
    """Largest differences from the published implementation's vectors, by name.

    Of logits and loss of the masked-language model and of the regression. ``cls_grads`` is the distance of the
    regression's gradients, all together, as a share of their length.
    """
    with safe_open(PARITY, "pt", device=device) as file:
        expected = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dictionary
        config = MolformerConfig(**json.loads(file.metadata()["config"]))
    masked = _loaded(MolformerForMaskedLM(config), expected, device, "state_dict/")
    regression = _loaded(MolformerForSequenceClassification(config), expected, device, "state_dict/", "cls_state_dict/")
    inputs = {name: expected[name] for name in ("input_ids", "attention_mask")}
    dtype = PRECISIONS[precision]
    with torch.autocast(device, dtype=dtype, enabled=dtype is not None):
        of_mlm = masked(**inputs, labels=expected["labels"])
        of_regression = regression(**inputs, labels=expected["cls_labels"])
    of_regression.loss.backward()
    found = {"mlm_logits": of_mlm.logits, "mlm_loss": of_mlm.loss}
    found |= {"cls_logits": of_regression.logits, "cls_loss": of_regression.loss}
    errors = {name: _distance(value, expected[name]) for name, value in found.items()}
    pairs = [(p.grad, expected[f"cls_grads/{name}"]) for name, p in regression.named_parameters()]
    found_all, wanted_all = (torch.cat([tensor.flatten() for tensor in side]) for side in zip(*pairs, strict=True))
    errors["cls_grads"] = float((found_all - wanted_all).norm() / wanted_all.norm())
    return errors


def _loaded(model: nn.Module, tensors: dict[str, Tensor], device: str, *prefixes: str) -> Any:
    """The model with the weights of these prefixes, on the device, in eval mode; what it lacks is left out."""
    given = {key.removeprefix(p): value for p in prefixes for key, value in tensors.items() if key.startswith(p)}
    model.load_state_dict({name: value for name, value in given.items() if name in model.state_dict()})
    return model.to(device).eval()


def _distance(found: Tensor, expected: Tensor) -> float:
    return float((found.detach().float() - expected.float().reshape(found.shape)).abs().max())


def record_parity(card: str) -> None:
    """A row for each precision: the largest difference of the logits from the published vectors."""
    for precision in PRECISIONS:
        errors = parity_errors("cuda", precision)
        row = {"error": max(errors["mlm_logits"], errors["cls_logits"]), "commit": commit()}
        key = {"card": card, "size": "vectors", "what": "parity", "precision": precision}
        records.add("gpu", key, row, inputs_of(None))


def record_costs(card: str) -> list[str]:
    """Measure what is not on record yet; the cases that failed, with the reason."""
    failed = []
    for case in cases():
        key, inputs = {"card": card, **case._asdict()}, {**inputs_of(None), "amount": AMOUNT}
        if records.is_recorded("gpu", key, inputs):
            continue
        try:
            records.add("gpu", key, {**measured(case, "cuda", **AMOUNT), "commit": commit()}, inputs)
        except RuntimeError as error:
            failed.append(f"{', '.join(case)}: {error}")
    return failed


def main() -> None:
    """Measure everything on this machine's GPU, or say that there is none."""
    if not torch.cuda.is_available():
        print("skipped: torch finds no GPU with CUDA here, so there is nothing to measure")
        return
    card = torch.cuda.get_device_name()
    record_parity(card)
    if failed := record_costs(card):
        raise SystemExit("not measured:\n" + "\n".join(failed))


if __name__ == "__main__":
    main()
