"""The groups of settings: frozen, and checked whenever one is made; :mod:`molft_utils.profiles` fills them.

A field's flat name starts with the ``prefix`` of its group: ``chains`` of :class:`Shapley` is ``shapley_chains``.
"""

import dataclasses
from typing import Any, ClassVar, Protocol

from .errors import SettingsError

#: For a field that was added later: results that were made without it stay as they are.
UNSET_IS_NO_INPUT = {"unset_is_no_input": True}


@dataclasses.dataclass(frozen=True)
class Data:
    """Which molecules, and how their SMILES are written.

    Parameters
    ----------
    table : str or None
        A CSV of one's own in place of Lipophilicity.
    target : str or None
        The column that is to be predicted; None finds it by its usual names.
    split_method : {"random", "scaffold"}
    split_seed : int
    limit : int or None
        Keep only this many molecules, the first of each part of the split (for tests).
    canonical : bool
        Rewrite SMILES in RDKit's canonical form, in which the checkpoints were pretrained.
    max_tokens : int
        Longer molecules are cut (3 of 4,200 molecules at 128 tokens).
    """

    prefix: ClassVar[str] = ""
    table: str | None = dataclasses.field(default=None, metadata=UNSET_IS_NO_INPUT)
    target: str | None = dataclasses.field(default=None, metadata=UNSET_IS_NO_INPUT)
    split_method: str = "random"
    split_seed: int = 42
    limit: int | None = None
    canonical: bool = True
    max_tokens: int = 128

    def __post_init__(self) -> None:
        if self.table is not None:
            object.__setattr__(self, "table", str(self.table))  # a Path is no JSON
        _choose(self, split_method=("random", "scaffold"))
        _require_positive(self, "max_tokens")
        if self.limit is not None:
            _require_positive(self, "limit")


@dataclasses.dataclass(frozen=True)
class Training:
    """What regression and masked-language modelling share: AdamW with linear decay, and early stopping.

    Parameters
    ----------
    checkpoint : str
        "mini", "mini-descriptors", "xl" or a folder.
    precision : {"auto", "fp32", "fp16", "bf16"}
        "auto" is bf16 on GPUs of compute capability 8 and above and on CPUs that have instructions for it, fp16 on
        older GPUs, and fp32 elsewhere.
    seed : int
        Fixes the initial weights of the head, the order of the molecules, dropout, masking, and the samplers that
        choose data.
    weight_decay : float
    warmup : float
        Share of the steps in which the learning rate rises.
    patience, min_delta : int, float
        Training stops after ``patience`` epochs in which the validation loss did not improve by ``min_delta``.
    """

    prefix: ClassVar[str] = ""
    checkpoint: str = "mini"
    precision: str = "auto"
    seed: int = 0
    weight_decay: float = 0.01
    warmup: float = 0.1
    patience: int = 5
    min_delta: float = 0.001

    def __post_init__(self) -> None:
        object.__setattr__(self, "checkpoint", str(self.checkpoint))  # a Path is no JSON
        _choose(self, precision=("auto", "fp32", "fp16", "bf16"))
        _require_positive(self, "patience")


@dataclasses.dataclass(frozen=True)
class Regression:
    """Fine-tuning on labels. Losses are in squared standard deviations of the labels (raw: in squared logD).

    Parameters
    ----------
    head : {"linear", "published"}
    standardise : bool
        Train on labels with the training split's mean and standard deviation taken out.
    learning_rate, batch_size, epochs : float, int, int
    dropout : float or None
        None keeps the checkpoint's own.
    randomise : float
        Share of the molecules that appear in an epoch as a random SMILES instead of the canonical one.
    n_random : int
        Number of random SMILES that a prediction averages over, in addition to the canonical one.
    """

    prefix: ClassVar[str] = ""
    head: str = "linear"
    standardise: bool = True
    learning_rate: float = 1e-3
    batch_size: int = 32
    epochs: int = 4
    dropout: float | None = None
    randomise: float = 0.0
    n_random: int = 0

    def __post_init__(self) -> None:
        _choose(self, head=("linear", "published"))
        _require_positive(self, "learning_rate", "batch_size", "epochs")
        _require_share(self, "randomise")


@dataclasses.dataclass(frozen=True)
class Mlm:
    """Fine-tuning by masked-language modelling."""

    prefix: ClassVar[str] = "mlm_"
    learning_rate: float = 5e-4
    batch_size: int = 32
    epochs: int = 2

    def __post_init__(self) -> None:
        _require_positive(self, "learning_rate", "batch_size", "epochs")


@dataclasses.dataclass(frozen=True)
class Peft:
    """Learning rates of the parameter-efficient methods; full fine-tuning takes ``regression.learning_rate``.

    The best on validation for the small checkpoint and four epochs (``data/results/sweep.csv``).
    """

    prefix: ClassVar[str] = ""
    bitfit_learning_rate: float = 1e-2
    lora_learning_rate: float = 1e-2
    lora_all_learning_rate: float = 1e-2
    ia3_learning_rate: float = 1e-1

    def __post_init__(self) -> None:
        _require_positive(self, *(field.name for field in dataclasses.fields(self)))


@dataclasses.dataclass(frozen=True)
class Lora:
    """LoRA: the rank r, the scale alpha / r of the update, and the dropout before it."""

    prefix: ClassVar[str] = "lora_"
    rank: int = 4
    alpha: int = 8
    dropout: float = 0.1

    def __post_init__(self) -> None:
        _require_positive(self, "rank", "alpha")
        _require_share(self, "dropout")


@dataclasses.dataclass(frozen=True)
class Influence:
    """The inverse product of influence functions.

    Parameters
    ----------
    solver : {"lissa", "cg"}
    curvature : {"gauss-newton", "hessian"}
    damping : float
        Added to the diagonal of the curvature, as a share of its largest eigenvalue: one number does for models of any
        size. The Hessian needs a quarter, or its negative eigenvalues would show.
    depth : int
        LiSSA: number of products, each on one batch. Conjugate gradients: number of steps, each over all batches.
    batch_size : int
        Number of molecules in a batch.
    """

    prefix: ClassVar[str] = "influence_"
    solver: str = "lissa"
    curvature: str = "gauss-newton"
    damping: float = 0.03
    depth: int = 400
    batch_size: int = 32

    def __post_init__(self) -> None:
        _choose(self, solver=("lissa", "cg"), curvature=("gauss-newton", "hessian"))
        _require_positive(self, "damping", "depth", "batch_size")


@dataclasses.dataclass(frozen=True)
class Shapley:
    """TS-DShapley.

    Parameters
    ----------
    chains, subset, permutations : int
        Largest number of chains, molecules in each chain, and orders of these molecules in each chain.
    alpha : float
        The source model's ridge penalty.
    skip : float
        Share of each order, at its start, whose marginal contributions are not counted.
    target : float
        Split-half rank correlation at which sampling stops.
    drop : float
        At least this share of the molecules is dropped, even if the source model would keep all: otherwise there would
        be nothing to compare.
    """

    prefix: ClassVar[str] = "shapley_"
    chains: int = 240
    subset: int = 300
    permutations: int = 20
    alpha: float = 100.0
    skip: float = 0.05
    target: float = 0.92
    drop: float = 0.1

    def __post_init__(self) -> None:
        _require_positive(self, "chains", "subset", "permutations", "alpha")
        _require_share(self, "skip", "drop")


GROUPS: dict[str, type[Any]] = dict(
    data=Data, training=Training, regression=Regression, mlm=Mlm, peft=Peft, lora=Lora, influence=Influence,
    shapley=Shapley,
)  # fmt: skip

#: Flat name -> group and the field's name in it.
FLAT = {
    cls.prefix + field.name: (group, field.name) for group, cls in GROUPS.items() for field in dataclasses.fields(cls)
}


class _Group(Protocol):
    prefix: ClassVar[str]


def _choose(group: _Group, **allowed: tuple[str, ...]) -> None:
    for name, choices in allowed.items():
        if (value := getattr(group, name)) not in choices:
            raise SettingsError(f"{_flat(group, name)} is {value!r}; choose {', '.join(choices[:-1])} or {choices[-1]}")


def _require_positive(group: _Group, *names: str) -> None:
    for name in names:
        if not getattr(group, name) > 0:
            raise SettingsError(f"{_flat(group, name)} is {getattr(group, name)!r}; it must be above zero")


def _require_share(group: _Group, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(group, name) <= 1:
            raise SettingsError(f"{_flat(group, name)} is {getattr(group, name)!r}; it is a share, from 0 to 1")


def _flat(group: _Group, name: str) -> str:
    return f"{group.prefix}{name}"
