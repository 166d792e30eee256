"""molft: how a chemical language model is fine-tuned, how its data are chosen, what parameter-efficient methods cost.

The names that the notebooks use most, by topic; the others are in the folders, each of which has one subject.
"""

from .course import check, own_version, start, versions
from .data import Split, load_lipophilicity, load_logp, load_secondary, load_table, overlap, split
from .errors import (
    CheckpointError,
    DataError,
    DataWarning,
    DivergenceError,
    MolftError,
    SettingsError,
    StaleRunError,
    StorageError,
)
from .evaluation import Scores, evaluate, grade, paired_difference, scores
from .experiments import grid
from .molformer import load_model, load_tokenizer, token_lengths
from .settings import Settings, settings
from .training import Fit, finetune, predict, pretrain_mlm

__version__ = own_version()
