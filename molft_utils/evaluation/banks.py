"""Banks of retrained models: what each was trained on, and what it predicts."""

import dataclasses
import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from ..errors import DataError
from ..files import DATA_FOLDER, data_file, file_hash

#: The banks of the repository, made by ``data/scripts/bank.py``, and that of drops, made by ``data/scripts/drops.py``.
BANK, GROUPS = "retraining/halves.safetensors", "retraining/groups.safetensors"
DROPS = "retraining/drops.safetensors"


@dataclasses.dataclass(frozen=True)
class Bank:
    """Retrained models: what each was trained on, and what it predicts.

    Attributes
    ----------
    members : bool [n_subsets, n_train]
        Which molecules each subset includes: of the training split, followed by the secondary set, where rows 2k and
        2k + 1 are complementary. In the bank of groups, which others are added to all of these; in the bank of drops,
        which of the training split are not dropped (all of them in the first row).
    predictions : float [n_subsets, n_seeds, n_queries]
        logD of the query molecules, by the models retrained on each subset with several seeds.
    labels : float [n_queries]
        Their measured logD.
    """

    members: np.ndarray
    predictions: np.ndarray
    labels: np.ndarray

    def losses(self) -> np.ndarray:
        """Squared errors [n_subsets, n_seeds, n_queries] in logD²."""
        return (self.predictions - self.labels) ** 2

    def some(self, n_queries: int) -> tuple[np.ndarray, "Bank"]:
        """Rows [n_queries] of queries at even distances, and the bank of these alone: for scores that cost much."""
        rows = np.linspace(0, len(self.labels) - 1, n_queries).round().astype(int)
        return rows, Bank(self.members, self.predictions[:, :, rows], self.labels[rows])


def load_bank(queries: str = "test", path: str | Path = BANK, limit: int | None = None) -> Bank:
    """The bank of models retrained on random halves, with the predictions for one split.

    The file has the tensors ``members``, ``<queries>_predictions`` (nan where a model is not trained yet) and
    ``<queries>_labels``; its header has, as JSON, ``data`` (the :func:`data_hashes` when it was made) and ``parts``
    (first column and number of columns of each table that the members come from).

    Parameters
    ----------
    queries : {"test", "validation"}
        Settings are chosen on the validation molecules; results are shown on the test molecules.
    path
        Another bank than that of halves: a file of ``data/`` (``GROUPS``, ``DROPS``), or an absolute path.
    limit
        Only the first molecules of each part and of the queries, as the setting of that name has it (for tests).
    """
    if queries not in ("test", "validation"):
        raise DataError(f"queries is {queries!r}; choose 'test' or 'validation'")
    place = Path(path) if Path(path).is_absolute() else data_file(str(path))
    try:
        with safe_open(place, framework="numpy") as file:
            data, parts = (json.loads(file.metadata()[name]) for name in ("data", "parts"))
            members = file.get_tensor("members").astype(bool)
            predictions, labels = (file.get_tensor(f"{queries}_{what}") for what in ("predictions", "labels"))
    except (SafetensorError, TypeError) as error:  # damaged, without one of these tensors, or without a header
        raise DataError(f"{place} is no bank of retrained models ({error}); `git checkout data` restores it") from error
    if changed := [name for name, content in data_hashes().items() if data.get(name) != content]:
        script = "drops.py" if place.name == Path(DROPS).name else "bank.py"
        raise DataError(
            f"data/{changed[0]} is not the file that {place.name} was made from; restore it by `git checkout data`, or "
            f"make another bank by `python data/scripts/{script}`"
        )
    finished = np.isfinite(predictions).all(axis=(0, 2))
    columns = np.concatenate([np.arange(n)[:limit] + start for start, n in parts])
    return Bank(members[:, columns], predictions[:, finished, :limit].astype(float), labels[:limit].astype(float))


def data_hashes() -> dict[str, str]:
    """Sha256 of each table that a bank is made from."""
    return {name: file_hash(DATA_FOLDER / name) for name in ("lipophilicity.csv", "secondary.csv", "logp.csv")}
