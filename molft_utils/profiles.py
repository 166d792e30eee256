"""One frozen dataclass holds every setting; four named profiles fill it.

======== ========== ======================================================================================
profile  checkpoint for
======== ========== ======================================================================================
smoke    mini       tests: the same code on few molecules, a minute for each notebook
class    mini       a lecture without a GPU or a network: the full data in a few minutes
report   xl         the report's settings to the letter: learning rate 1e-7, raw labels, SMILES as they stand
best     xl         the best known settings, on a T4; with ``checkpoint="mini"`` the mini's best known ones
======== ========== ======================================================================================
"""

import dataclasses
import os

import torch

from .errors import SettingsError


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of one run. Units: learning rates per step, losses in squared standard deviations of the labels
    (in squared logD where ``standardise`` is off), lengths in tokens.

    Parameters
    ----------
    profile : str
        Name of the profile the settings started from.
    checkpoint : str
        "mini", "xl" or a folder.
    head : {"linear", "published"}
    split_method : {"random", "scaffold"}
    split_seed : int
    limit : int or None
        Use only the first so many molecules of each part of the split (tests).
    canonical : bool
        Rewrite SMILES in RDKit's canonical form, in which the checkpoints were pretrained.
    standardise : bool
        Train on labels with the training split's mean and standard deviation taken out.
    learning_rate, batch_size, epochs, weight_decay, warmup, dropout
        Regression fine-tuning: AdamW with linear decay; ``warmup`` is a share of the steps. ``dropout`` None keeps
        the checkpoint's own.
    patience, min_delta
        Early stopping: epochs without an improvement of the validation loss by ``min_delta``.
    randomise : float
        Share of the molecules that an epoch shows as a random SMILES instead of the canonical one.
    n_random : int
        Random SMILES averaged, with the canonical one, at prediction.
    mlm_learning_rate, mlm_batch_size, mlm_epochs
        Masked-language-model fine-tuning.
    bitfit_learning_rate, lora_learning_rate, ia3_learning_rate
        Of the parameter-efficient methods; full fine-tuning uses ``learning_rate``.
    lora_rank, lora_alpha, lora_dropout
        LoRA: r, the scale alpha / r of the update, and the dropout before it.
    influence_solver : {"lissa", "cg"}
    influence_damping, influence_depth, influence_batch_size
        Inverse Hessian product: the ridge on the Hessian (of the loss in squared standard deviations), the number of
        Hessian products (conjugate gradients: of steps over all batches), molecules a batch.
    shapley_chains, shapley_subset, shapley_permutations
        TS-DShapley: the budget of chains, molecules a chain, orders a chain.
    shapley_alpha, shapley_skip, shapley_target
        The source model's ridge penalty; the share of each order that is not counted; the split-half rank correlation
        at which sampling stops.
    shapley_drop
        Share of the molecules that is dropped at least, even where the source model would keep all: without it there
        would be nothing to compare.
    max_tokens : int
        Longer molecules are cut (3 of 4,200 at 128).
    precision : {"auto", "fp32", "fp16", "bf16"}
        "auto": on CUDA fp16 below compute capability 8 and bf16 from there; bf16 on CPUs with the instructions for it.
    seed : int
        Of the head's initial weights, the order of the molecules, dropout and masking.
    """

    profile: str
    checkpoint: str = "mini"
    head: str = "linear"
    split_method: str = "random"
    split_seed: int = 42
    limit: int | None = None
    canonical: bool = True
    standardise: bool = True
    learning_rate: float = 1e-3
    batch_size: int = 32
    epochs: int = 4
    weight_decay: float = 0.01
    warmup: float = 0.1
    dropout: float | None = None
    patience: int = 5
    min_delta: float = 0.001
    randomise: float = 0.0
    n_random: int = 0
    mlm_learning_rate: float = 5e-4
    mlm_batch_size: int = 32
    mlm_epochs: int = 2
    bitfit_learning_rate: float = 1e-2
    lora_learning_rate: float = 1e-2
    ia3_learning_rate: float = 3e-2
    lora_rank: int = 4
    lora_alpha: int = 8
    lora_dropout: float = 0.1
    influence_solver: str = "lissa"
    influence_damping: float = 20.0
    influence_depth: int = 100
    influence_batch_size: int = 32
    shapley_chains: int = 240
    shapley_subset: int = 300
    shapley_permutations: int = 20
    shapley_alpha: float = 100.0
    shapley_skip: float = 0.05
    shapley_target: float = 0.92
    shapley_drop: float = 0.1
    max_tokens: int = 128
    precision: str = "auto"
    seed: int = 0

    def replace(self, **changes) -> "Settings":
        """A copy with some settings changed; unknown names raise."""
        return _checked(self, changes)

    def pick(self, *names: str) -> dict:
        """Some settings by name, as a dictionary that JSON can hold."""
        return {name: getattr(self, name) for name in names}


#: Fine-tuning methods (:mod:`molft_utils.peft_methods`).
METHODS = ("full", "bitfit", "lora", "ia3")


#: Which settings each kind of stage reads: a stage is made again when one of these changes, and for no other reason.
DATA = ("split_method", "split_seed", "limit")


TRAINING = (
    "checkpoint",
    "canonical",
    "max_tokens",
    "precision",
    "seed",
    "weight_decay",
    "warmup",
    "patience",
    "min_delta",
)


MLM = (*TRAINING, "mlm_learning_rate", "mlm_batch_size", "mlm_epochs")


REGRESSION = (
    *TRAINING, "head", "standardise", "learning_rate", "batch_size", "epochs", "dropout", "randomise", "n_random"
)  # fmt: skip


ADAPTERS = ("lora_rank", "lora_alpha", "lora_dropout")


INFLUENCE = ("influence_solver", "influence_damping", "influence_depth", "influence_batch_size", "seed")


SHAPLEY = (
    "shapley_chains", "shapley_subset", "shapley_permutations",
    "shapley_alpha", "shapley_skip", "shapley_target", "shapley_drop", "seed",
)  # fmt: skip


PROFILES = {
    "smoke": dict(
        limit=48,
        epochs=2,
        mlm_epochs=1,
        batch_size=16,
        mlm_batch_size=16,
        influence_depth=10,
        influence_batch_size=16,
        shapley_chains=8,
        shapley_subset=30,
        shapley_permutations=4,
        precision="fp32",
    ),
    "class": dict(precision="fp32"),
    "report": dict(
        checkpoint="xl",
        canonical=False,
        standardise=False,
        learning_rate=1e-7,
        bitfit_learning_rate=1e-7,
        lora_learning_rate=1e-7,
        ia3_learning_rate=1e-7,
        batch_size=16,
        epochs=20,
        weight_decay=0.0,
        warmup=0.0,
        mlm_learning_rate=1e-7,
        mlm_batch_size=16,
        mlm_epochs=10,
    ),
    "best": dict(
        checkpoint="xl",
        learning_rate=3e-5,
        bitfit_learning_rate=4e-4,
        lora_learning_rate=3e-4,
        ia3_learning_rate=1e-3,
        epochs=20,
        mlm_learning_rate=3e-5,
        mlm_epochs=5,
    ),
}


#: What `settings("best", checkpoint="mini")` changes: chosen on the validation split, where averaging over random
#: SMILES at prediction (``n_random``) made it worse.
BEST_MINI = dict(
    learning_rate=1e-3,
    bitfit_learning_rate=1e-2,
    lora_learning_rate=1e-2,
    ia3_learning_rate=3e-2,
    epochs=20,
    patience=8,
    randomise=0.5,
    precision="fp32",
)


def settings(profile: str | None = None, **overrides) -> Settings:
    """Settings of a profile, with single ones overridden.

    Parameters
    ----------
    profile
        "smoke", "class", "report" or "best". None takes the environment variable ``MOLFT_PROFILE``; without it,
        "best" where there is a CUDA device and "class" elsewhere.

    Raises
    ------
    SettingsError
        For an unknown profile or setting, naming the known ones, and for values that make no sense.
    """
    if profile is None:
        profile = os.environ.get("MOLFT_PROFILE") or ("best" if torch.cuda.is_available() else "class")
    if profile not in PROFILES:
        raise SettingsError(f"unknown profile {profile!r}; choose one of {', '.join(PROFILES)}")
    values = dict(PROFILES[profile])
    if profile == "best" and overrides.get("checkpoint") == "mini":
        values.update(BEST_MINI)
    return _checked(Settings(profile, **values), overrides)


def _checked(base: Settings, changes: dict) -> Settings:
    known = [field.name for field in dataclasses.fields(Settings)]
    unknown = sorted(set(changes) - set(known))
    if unknown:
        raise SettingsError(f"unknown setting {', '.join(unknown)}; known are {', '.join(known)}")
    made = dataclasses.replace(base, **changes)
    for name in (
        "learning_rate",
        "bitfit_learning_rate",
        "lora_learning_rate",
        "ia3_learning_rate",
        "batch_size",
        "epochs",
        "mlm_learning_rate",
        "mlm_batch_size",
        "mlm_epochs",
        "influence_depth",
        "influence_batch_size",
        "max_tokens",
    ):
        if not getattr(made, name) > 0:
            raise SettingsError(f"{name} is {getattr(made, name)!r}; it must be above zero")
    if made.influence_solver not in ("lissa", "cg"):
        raise SettingsError(f"influence_solver is {made.influence_solver!r}; choose lissa or cg")
    if made.precision not in ("auto", "fp32", "fp16", "bf16"):
        raise SettingsError(f"precision is {made.precision!r}; choose auto, fp32, fp16 or bf16")
    return made
