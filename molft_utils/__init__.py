"""molft: how a chemical language model is fine-tuned, how its data are chosen, what parameter-efficient methods cost.

The functions that the notebooks use most can be imported from here, the others from the folders, each of which holds
one idea.
"""

from importlib.metadata import PackageNotFoundError, version

from .data import Split, length_study, load_lipophilicity, load_logp, load_secondary, overlap, split
from .errors import CheckpointError, DataError, DataWarning, DivergenceError, MolftError, SettingsError, StaleRunError
from .evaluation import Scores, beside_report, evaluate, grade, paired_difference, scores
from .experiments import grid
from .molformer import load_model, load_tokenizer, token_lengths
from .profiles import Settings, settings
from .show import check
from .training import Fit, finetune, predict, pretrain_mlm

try:
    __version__ = version("molft")
except PackageNotFoundError:  # a checkout that was not installed
    __version__ = "0+unknown"

__all__ = [
    "CheckpointError",
    "DataError",
    "DataWarning",
    "DivergenceError",
    "Fit",
    "MolftError",
    "Scores",
    "Settings",
    "SettingsError",
    "Split",
    "StaleRunError",
    "beside_report",
    "check",
    "evaluate",
    "finetune",
    "grade",
    "grid",
    "length_study",
    "load_lipophilicity",
    "load_logp",
    "load_model",
    "load_secondary",
    "load_tokenizer",
    "overlap",
    "paired_difference",
    "predict",
    "pretrain_mlm",
    "scores",
    "settings",
    "split",
    "token_lengths",
    "versions",
]


def versions(cfg: Settings) -> str:
    """One line for the top of a notebook: profile, versions of the libraries, device."""
    import platform

    import torch

    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft", "rdkit"))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return f"profile {cfg.profile} · molft {__version__}, Python {platform.python_version()}, {packages} · {device}"
