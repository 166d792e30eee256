"""molft: how a chemical language model is fine-tuned, how its data are chosen, what parameter-efficient methods cost.

The functions that the notebooks use most can be imported from here, the others from the folders, each of which holds
one idea.
"""

from .data import Split, length_study, load_lipophilicity, load_logp, load_secondary, load_table, overlap, split
from .errors import (
    CheckpointError,
    DataError,
    DataWarning,
    DivergenceError,
    MolftError,
    SettingsError,
    StaleRunError,
)
from .evaluation import Scores, beside_report, evaluate, grade, paired_difference, scores
from .experiments import grid
from .molformer import load_model, load_tokenizer, token_lengths
from .settings import Settings, settings
from .course import check, own_version, start, versions
from .training import Fit, finetune, predict, pretrain_mlm

__version__ = own_version()

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
    "load_table",
    "load_tokenizer",
    "overlap",
    "paired_difference",
    "predict",
    "pretrain_mlm",
    "scores",
    "settings",
    "split",
    "start",
    "token_lengths",
    "versions",
]
