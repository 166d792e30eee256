"""Every setting, in frozen groups, which four named profiles fill.

======== ========== ======================================================================================
profile  checkpoint for
======== ========== ======================================================================================
smoke    mini       tests: the same code on few molecules, a minute for each notebook
class    mini       a lecture without a GPU or a network: the full data in a few minutes
report   xl         the report's settings to the letter: learning rate 1e-7, raw labels, SMILES not rewritten
best     xl         the best known settings, on a T4; for a small checkpoint, those that suit it best
======== ========== ======================================================================================

A setting has two names. The code reads ``settings.shapley.chains``. The flat name ``shapley_chains``, which starts with
the group's prefix, changes it: ``settings("class", shapley_chains=40)``; ``settings.shapley_chains`` reads it, too.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import SettingsError
from .files import NAMED
from .groups import FLAT, GROUPS, Data, Influence, Lora, Mlm, Peft, Regression, Shapley, Training

#: The report's fine-tuning methods (:mod:`molft_utils.peft_methods`), and all.
METHODS = ("full", "bitfit", "lora", "ia3")
EVERY_METHOD = (*METHODS, "lora-all")


def learning_rate_of(method: str) -> str:
    """The flat name of the setting that is a method's learning rate."""
    return "learning_rate" if method == "full" else f"{method.replace('-', '_')}_learning_rate"


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of one run: a profile, the changes to it, and the groups that follow from both."""

    profile: str
    data: Data
    training: Training
    regression: Regression
    mlm: Mlm
    peft: Peft
    lora: Lora
    influence: Influence
    shapley: Shapley
    changed: Mapping[str, Any] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    def __getattr__(self, name: str) -> Any:
        """Read a setting by its flat name, for notebooks: ``cfg.shapley_chains`` is ``cfg.shapley.chains``."""
        if name not in FLAT:
            raise AttributeError(f"Settings has no {name!r}; known are {', '.join(FLAT)}")
        group, field = FLAT[name]
        return getattr(getattr(self, group), field)

    def replace(self, **changes: Any) -> "Settings":
        """The same profile with further changes, by flat names, as if :func:`settings` had been given all of them."""
        return settings(self.profile, **{**self.changed, **changes})

    def of_method(self, method: str) -> "Settings":
        """The same, but the regression has the learning rate of a fine-tuning method."""
        return self if method == "full" else self.replace(learning_rate=getattr(self.peft, learning_rate_of(method)))

    def only(self, *groups: str) -> "Settings":
        """The settings that a stage gets: the groups that it names. Reading any other group raises an error."""
        hidden: dict[str, Any] = {name: _NotGiven(name) for name in GROUPS if name not in groups}
        return dataclasses.replace(self, **hidden)


class _NotGiven:
    """Takes the place of a group that a stage does not name: a stage cannot read what its fingerprint leaves out."""

    def __init__(self, group: str):
        self._group = group

    def __getattr__(self, field: str) -> Any:
        raise AttributeError(f"this stage reads {self._group}.{field}, but {self._group} is not among its groups")


#: What the profiles change, whatever the checkpoint.
PROFILES: dict[str, dict[str, Any]] = {
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
        lora_all_learning_rate=1e-7,
        ia3_learning_rate=1e-7,
        batch_size=16,
        epochs=20,
        weight_decay=0.0,
        warmup=0.0,
        mlm_learning_rate=1e-7,
        mlm_batch_size=16,
        mlm_epochs=10,
    ),
    "best": dict(checkpoint="xl", epochs=20),
}

#: What a profile means to a reader: shown at the top of each notebook.
MEANING = {
    "smoke": "a few molecules, for tests; its numbers mean nothing",
    "class": "the small checkpoint and all molecules; the six notebooks take ten to fifteen minutes on two cores and "
    "need no GPU. The committed pages and the results of record were made with it",
    "report": "the published checkpoint (a download of 187 MB) with the report's settings to the letter; it wants a T4 "
    "GPU, on which a model takes half an hour: an estimate, it has not been run on one",
    "best": "the published checkpoint (a download of 187 MB) with the best known settings; it wants a T4 GPU, on "
    "which a model takes half an hour: an estimate, it has not been run on one",
}

#: What suits a model of the published size; the defaults of the groups suit the small one. Taken from the literature
#: (Hu et al. 2022, Liu et al. 2022, Schulman et al. 2025), as no sweep was run at this size.
PUBLISHED_SIZE = dict(
    learning_rate=3e-5,
    bitfit_learning_rate=4e-4,
    lora_learning_rate=3e-4,
    lora_all_learning_rate=3e-4,
    ia3_learning_rate=1e-3,
    mlm_learning_rate=3e-5,
    mlm_epochs=5,
)

#: What ``best`` changes for a small checkpoint, chosen on the validation split. There, averaging predictions over
#: random SMILES (``n_random``) increased the error. The adapters' rates are those of the sweep for twenty epochs, where
#: that of LoRA on all layers is another than for four. Full fine-tuning keeps 1e-3, the best with random SMILES, though
#: the sweep, which is without them, has 3e-3.
BEST_SMALL = dict(patience=8, randomise=0.5, precision="fp32", lora_all_learning_rate=3e-3)


def settings(profile: str | None = None, **changes: Any) -> Settings:
    """Settings of a profile, with some of them changed.

    The learning rates depend on the checkpoint's size: a model of the published size, also one in a folder, needs
    others than a small one.

    Parameters
    ----------
    profile
        "smoke", "class", "report" or "best". None takes the environment variable ``MOLFT_PROFILE``, and
        without it "class", with a GPU or without.
    **changes
        New values by flat names.

    Raises
    ------
    SettingsError
        For an unknown profile or setting (the message names the known ones), and for a value outside its range.
    """
    if profile is None:
        profile = os.environ.get("MOLFT_PROFILE") or "class"
    if profile not in PROFILES:
        raise SettingsError(f"unknown profile {profile!r}; choose one of {', '.join(PROFILES)}")
    if unknown := sorted(set(changes) - set(FLAT)):
        raise SettingsError(f"unknown setting {', '.join(unknown)}; known are {', '.join(FLAT)}")
    checkpoint = changes.get("checkpoint", PROFILES[profile].get("checkpoint", "mini"))
    values = {**_values_for_size(profile, _is_published_size(checkpoint)), **PROFILES[profile], **changes}
    fields: dict[str, dict[str, Any]] = {group: {} for group in GROUPS}
    for name, value in values.items():
        group, field = FLAT[name]
        fields[group][field] = value
    return Settings(profile, **{group: GROUPS[group](**fields[group]) for group in GROUPS}, changed=changes)


def _values_for_size(profile: str, published: bool) -> dict[str, Any]:
    if published:
        return dict(PUBLISHED_SIZE)
    return dict(BEST_SMALL) if profile == "best" else {}


def _is_published_size(checkpoint: str | Path) -> bool:
    """Whether a checkpoint has the published hidden size, 768. A folder that cannot be read fails later, on loading."""
    if str(checkpoint) in NAMED:
        return str(checkpoint) == "xl"
    try:
        config = json.loads((Path(checkpoint) / "config.json").read_text(encoding="utf-8"))
        return int(config.get("hidden_size", 0)) >= 768
    except (OSError, ValueError, TypeError, AttributeError):  # no JSON, or not an object of numbers
        return False
