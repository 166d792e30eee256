"""Checkpoints: the mini one in ``data/molformer-mini``, the published one on the hub, or any folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.utils import logging

from ..errors import CheckpointError
from ..files import CARRIED
from .modeling_molformer import MolformerForMaskedLM, MolformerForSequenceClassification, MolformerModel

#: The published checkpoint. The revision is pinned, so that its weights cannot change.
XL = "ibm-research/MoLFormer-XL-both-10pct"
XL_REVISION = "7b12d946c181a37f6012b9dc3b002275de070314"

#: Task -> the class that does it.
MODEL_CLASSES: dict[str, type[PreTrainedModel]] = {
    "encoder": MolformerModel,
    "mlm": MolformerForMaskedLM,
    "regression": MolformerForSequenceClassification,
}


def device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def quiet_transformers(keep_bars: bool = False) -> Iterator[None]:
    """Keep the reports that transformers prints about weights out of a notebook, and its progress bars, too."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if not keep_bars:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def locate(checkpoint: str | Path) -> tuple[str, dict]:
    """Translate a checkpoint's name or folder into arguments of ``from_pretrained``: a name, and keyword arguments.

    Raises
    ------
    CheckpointError
        If the folder does not exist or holds no ``model.safetensors``.
    """
    if checkpoint == "xl":
        return XL, {"revision": XL_REVISION}
    folder = CARRIED.get(str(checkpoint), Path(checkpoint))
    if not (folder / "model.safetensors").exists():
        raise CheckpointError(
            f"{folder} holds no model.safetensors. Checkpoints are 'mini' and 'mini-descriptors' (`git checkout data` "
            "brings both back), 'xl' (from the hub), or a folder that save_pretrained wrote."
        )
    return str(folder), {}


def load_model(
    checkpoint: str | Path = "mini", task: str = "regression", head: str = "linear", **config
) -> PreTrainedModel:
    """Load a MoLFormer in eval mode.

    Parameters
    ----------
    checkpoint
        "mini", "mini-descriptors", "xl" (the published model, a download of about 190 MB, revision pinned), or a
        folder.
    task : {"regression", "mlm", "encoder"}
        The encoder with a regression head, with a language-model head, or alone.
    head : {"linear", "published"}
        The regression head; see :class:`~molft_utils.molformer.MolformerConfig`.
    **config
        Overrides of the configuration, for instance ``hidden_dropout_prob=0.1``.

    Raises
    ------
    CheckpointError
        If the task is unknown, or the checkpoint is missing, damaged or without some weights of the encoder.
    """
    if task not in MODEL_CLASSES:
        raise CheckpointError(f"unknown task {task!r}; choose one of {', '.join(MODEL_CLASSES)}")
    name, on_hub = locate(checkpoint)
    if task == "regression":
        config = {"classifier_head": head, "num_labels": 1, "problem_type": "regression", **config}
    # The published files say deterministic_eval=False, which would redraw Omega at every prediction.
    config = {"deterministic_eval": True, **config}
    try:
        with quiet_transformers(keep_bars=bool(on_hub)):  # a download's; missing weights are reported below
            # A pair with output_loading_info; the library's type hints know only the model.
            model_and_report: Any = MODEL_CLASSES[task].from_pretrained(
                name, **on_hub, **config, use_safetensors=True, output_loading_info=True
            )
    except Exception as error:
        raise CheckpointError(f"{name} cannot be loaded: {type(error).__name__}: {error}") from error
    model, report = model_and_report
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(("classifier.", "lm_head.")))
    if missing or report["mismatched_keys"]:
        raise CheckpointError(
            f"{name} does not fit the model: missing {missing[:3]}, mismatched {report['mismatched_keys']}"
        )
    return model.eval()
