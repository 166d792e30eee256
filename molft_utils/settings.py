"""All settings, in one frozen class that four named profiles fill: what each is for stands in ``MEANING``.

Where ``report`` departs from the report:

- Early stopping: Table 1 alone has it. In Tables 2 and 3 validation molecules choose the data, so they choose no epoch.
- An improvement of ``min_delta`` is counted from the lowest loss so far, which any smaller improvement lowers, too.
- The learning rate falls at every step, not once per epoch. Batches hold molecules of similar lengths.
- Influence is that on the validation loss, as the test loss would be a leak; two rows of Table 2 take the test loss.
  Its curvature is the Gauss-Newton matrix, as the Hessian has negative eigenvalues and needs a large damping.
"""

import dataclasses
import json
import math
import numbers
import os
import typing
from pathlib import Path
from typing import Any

from .errors import SettingsError
from .files import NAMED

#: The report's fine-tuning methods (:mod:`molft_utils.peft_methods`), and all.
METHODS = ("full", "bitfit", "lora", "ia3")
EVERY_METHOD = (*METHODS, "lora-all")


def _in(group: str, default: Any, **limits: Any) -> Any:
    """A field of a group, with what its values must satisfy: see ``LIMITS``, or ``choices``."""
    return dataclasses.field(default=default, metadata={"group": group, **limits})


#: Name of a limit -> how its message goes on, and when a value keeps to it.
LIMITS: dict[str, tuple[str, typing.Callable[[Any, Any], bool]]] = {
    "above": ("above", lambda value, limit: value > limit),
    "below": ("below", lambda value, limit: value < limit),
    "least": ("at least", lambda value, limit: value >= limit),
    "most": ("at most", lambda value, limit: value <= limit),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of one run.

    A cached result (:mod:`molft_utils.cache`) names the groups of settings that it reads. Losses of a regression are in
    squared standard deviations of the labels; with ``standardise=False`` in the labels' own unit, squared.
    """

    profile: str = "class"

    # data: which molecules, and how their SMILES are written
    table: str | None = _in("data", None)  # the reader's own CSV in place of Lipophilicity
    target: str | None = _in("data", None)  # the column to predict; None finds it by its usual names
    split_method: str = _in("data", "random", choices=("random", "scaffold"))
    split_seed: int = _in("data", 42, least=0, below=2**32)
    limit: int | None = _in("data", None, least=1)  # keep the first so many molecules of each part (for tests)
    canonical: bool = _in("data", True)  # rewrite SMILES in RDKit's form, in which the checkpoints were pretrained
    max_tokens: int = _in("data", 128, least=3)  # longer molecules are cut (3 of 4,200)

    # training: what regression and masked-language modelling share (AdamW, linear decay, early stopping)
    checkpoint: str = _in("training", "mini")  # "mini", "mini-descriptors", "xl" or a folder
    precision: str = _in("training", "auto", choices=("auto", "fp32", "fp16", "bf16"))  # auto: what the hardware has
    seed: int = _in("training", 0, least=0, below=2**32)  # head, order, dropout, masking, samplers that choose data
    weight_decay: float = _in("training", 0.01, least=0)
    warmup: float = _in("training", 0.1, least=0, below=1)  # share of the steps in which the learning rate rises
    clip: float | None = _in("training", 1.0, above=0)  # largest norm of a step's gradient; None: no limit
    patience: int = _in("training", 5, least=1)  # epochs without an improvement of min_delta, then training stops
    min_delta: float = _in("training", 0.001, least=0)

    # regression
    head: str = _in("regression", "linear", choices=("linear", "published"))
    standardise: bool = _in("regression", True)  # labels minus the training split's mean, divided by its deviation
    learning_rate: float = _in("regression", 1e-3, above=0)
    batch_size: int = _in("regression", 32, least=1)
    epochs: int = _in("regression", 4, least=1)
    dropout: float | None = _in("regression", None, least=0, below=1)  # None keeps the checkpoint's own
    randomise: float = _in("regression", 0.0, least=0, most=1)  # share of molecules written as a random SMILES

    # mlm: masked-language modelling
    mlm_learning_rate: float = _in("mlm", 5e-4, above=0)
    mlm_batch_size: int = _in("mlm", 32, least=1)
    mlm_epochs: int = _in("mlm", 2, least=1)

    # peft: learning rates, the best on validation for the small checkpoint and four epochs (data/results/sweep.csv)
    bitfit_learning_rate: float = _in("peft", 1e-2, above=0)
    lora_learning_rate: float = _in("peft", 1e-2, above=0)
    lora_all_learning_rate: float = _in("peft", 1e-2, above=0)
    ia3_learning_rate: float = _in("peft", 1e-1, above=0)

    # lora
    lora_rank: int = _in("lora", 4, least=1)
    lora_alpha: int = _in("lora", 8, least=1)  # the update is scaled by alpha / rank
    lora_dropout: float = _in("lora", 0.1, least=0, below=1)

    # influence
    influence_curvature: str = _in("influence", "gauss-newton", choices=("gauss-newton", "hessian"))
    influence_damping: float = _in("influence", 0.03, above=0)  # share of the largest eigenvalue; Hessian: a quarter
    influence_depth: int = _in("influence", 400, least=1)  # LiSSA's products, each on one batch
    influence_batch_size: int = _in("influence", 32, least=1)

    # shapley: TS-DShapley
    shapley_chains: int = _in("shapley", 240, least=1)  # at most
    shapley_subset: int = _in("shapley", 300, least=2)  # molecules per chain
    shapley_permutations: int = _in("shapley", 20, least=1)  # permutations per chain
    shapley_alpha: float = _in("shapley", 100.0, above=0)  # the source model's ridge penalty
    shapley_skip: float = _in("shapley", 0.05, least=0, below=1)  # share at a permutation's start that is not counted
    shapley_target: float = _in("shapley", 0.92, above=0, most=1)  # split-half rank correlation that ends the sampling
    shapley_drop: float = _in("shapley", 0.1, least=0, below=1)  # at least this share of the molecules is dropped

    changed: dict[str, Any] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.name in KNOWN:
                object.__setattr__(self, field.name, _checked(field, getattr(self, field.name)))
        for name in ("table", "checkpoint"):  # files keep their place when the working directory changes
            if (value := getattr(self, name)) is not None and value not in NAMED:
                object.__setattr__(self, name, str(Path(value).expanduser().resolve()))

    def replace(self, **changes: Any) -> "Settings":
        """The same profile with further changes, as if :func:`settings` had been given all of them."""
        return settings(self.profile, **{**self.changed, **changes})

    def of_method(self, method: str) -> "Settings":
        """The same, with the learning rate of a fine-tuning method."""
        return self if method == "full" else self.replace(learning_rate=getattr(self, learning_rate_of(method)))


KNOWN = tuple(field.name for field in dataclasses.fields(Settings) if "group" in field.metadata)
TYPES = typing.get_type_hints(Settings)


def group(name: str) -> tuple[str, ...]:
    """Names of the settings of a group."""
    return tuple(field.name for field in dataclasses.fields(Settings) if field.metadata.get("group") == name)


def _checked(field: dataclasses.Field, value: Any) -> Any:
    """A value in its field's type, without loss (16.0 is the whole number 16), and within its limits."""
    kinds = typing.get_args(TYPES[field.name]) or (TYPES[field.name],)
    if value is None and type(None) in kinds:
        return None
    if (converted := _converted(value, kinds[0])) is None:
        names = {int: "a whole number", float: "a number", bool: "True or False", str: "a text"}
        raise SettingsError(f"{field.name} is {value!r}; it must be {names[kinds[0]]}")
    for limit, (words, keeps) in LIMITS.items():
        if limit in field.metadata and not keeps(converted, field.metadata[limit]):
            raise SettingsError(f"{field.name} is {value!r}; it must be {words} {field.metadata[limit]}")
    choices = field.metadata.get("choices", (converted,))
    if converted not in choices:
        raise SettingsError(f"{field.name} is {value!r}; choose {', '.join(choices[:-1])} or {choices[-1]}")
    return converted


def _converted(value: Any, kind: type) -> Any:
    """The value as a bool, str, int or float; None where something would be lost."""
    if kind is bool or isinstance(value, bool):
        return value if kind is bool and isinstance(value, bool) else None
    if kind is str:
        return str(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(value, numbers.Real) or not math.isfinite(number := float(value)):
        return None
    if kind is int:
        return int(number) if number.is_integer() else None
    return number


#: What the profiles change, whatever the checkpoint.
PROFILES: dict[str, dict[str, Any]] = {
    "smoke": dict(
        limit=48, epochs=2, mlm_epochs=1, batch_size=16, mlm_batch_size=16, influence_depth=10, influence_batch_size=16,
        shapley_chains=8, shapley_subset=30, shapley_permutations=4, precision="fp32",
    ),
    "class": dict(precision="fp32"),
    "report": dict(
        checkpoint="xl", canonical=False, standardise=False, batch_size=16, epochs=20, weight_decay=0.0, warmup=0.0,
        clip=None, precision="fp32", mlm_batch_size=16, mlm_epochs=10,
        **{name: 1e-7 for name in KNOWN if name.endswith("learning_rate")},
    ),
    "best": dict(checkpoint="xl", epochs=20),
}  # fmt: skip

#: What a profile means to a reader: shown at the top of each notebook.
MEANING = {
    "smoke": "a few molecules, for tests; its numbers mean nothing",
    "class": "the small checkpoint and all molecules; the six notebooks take about ten minutes on two cores and "
    "need no GPU. The committed pages and the reported results were made with it",
    "report": "the published checkpoint (a download of 187 MB) with the report's settings (departures: see "
    "molft_utils/settings.py); it wants a T4 GPU and has not been run on one",
    "best": "the published checkpoint (a download of 187 MB) with the best known settings; it wants a T4 GPU and has "
    "not been run on one",
}

#: What suits a model of the published size; the defaults suit the small one. From the literature (Hu et al. 2022, Liu
#: et al. 2022, Schulman et al. 2025), as no sweep was run at this size.
PUBLISHED_SIZE = dict(
    learning_rate=3e-5, bitfit_learning_rate=4e-4, lora_learning_rate=3e-4, lora_all_learning_rate=3e-4,
    ia3_learning_rate=1e-3, mlm_learning_rate=3e-5, mlm_epochs=5,
)  # fmt: skip

#: What ``best`` changes for a small checkpoint, chosen on the validation split. The adapters' rates are those of the
#: sweep for twenty epochs, where that of LoRA on all layers differs from the one for four. Full fine-tuning keeps 1e-3,
#: the best with random SMILES, though the sweep, which is without them, has 3e-3.
BEST_SMALL = dict(patience=8, randomise=0.5, precision="fp32", lora_all_learning_rate=3e-3)


def learning_rate_of(method: str) -> str:
    """The name of the setting that is a method's learning rate; a kind of LoRA without one of its own has LoRA's."""
    own = "learning_rate" if method == "full" else f"{method.replace('-', '_')}_learning_rate"
    return "lora_learning_rate" if method.startswith("lora") and own not in KNOWN else own


def settings(profile: str | None = None, **changes: Any) -> Settings:
    """Settings of a profile, with some of them changed.

    The learning rates depend on the checkpoint's size: a model of the published size, also one in a folder, needs
    others than a small one.

    Parameters
    ----------
    profile
        "smoke", "class", "report" or "best". None takes the environment variable ``MOLFT_PROFILE``, else "class".
    **changes
        New values by name.

    Raises
    ------
    SettingsError
        For an unknown profile or setting (the message names the known ones), a wrong type or a value out of range.
    """
    profile = profile or os.environ.get("MOLFT_PROFILE") or "class"
    if profile not in PROFILES:
        raise SettingsError(f"unknown profile {profile!r}; choose one of {', '.join(PROFILES)}")
    if unknown := sorted(set(changes) - set(KNOWN)):
        raise SettingsError(f"unknown setting {', '.join(unknown)}; known are {', '.join(KNOWN)}")
    checkpoint = changes.get("checkpoint", PROFILES[profile].get("checkpoint", "mini"))
    by_size = PUBLISHED_SIZE if _is_published_size(checkpoint) else BEST_SMALL if profile == "best" else {}
    return Settings(profile, changed=changes, **{**by_size, **PROFILES[profile], **changes})


def _is_published_size(checkpoint: Any) -> bool:
    """Whether a checkpoint has the published hidden size, 768. A folder that cannot be read fails later, on loading."""
    if str(checkpoint) in NAMED:
        return str(checkpoint) == "xl"
    try:
        config = json.loads((Path(checkpoint) / "config.json").read_text(encoding="utf-8"))
        return int(config.get("hidden_size", 0)) >= 768
    except (OSError, ValueError, TypeError, AttributeError):  # no JSON, or not an object of numbers
        return False
