"""The bank of retrained models: which molecules each was trained on, and what it predicts."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from ..errors import DataError
from ..files import DATA_FOLDER, data_file, file_hash, write_atomically

#: The banks that the repository carries; `make bank` makes them.
BANK, GROUPS = "retraining/halves.safetensors", "retraining/groups.safetensors"


@dataclasses.dataclass(frozen=True)
class Bank:
    """Retrained models: what each was trained on, and what it predicts.

    Attributes
    ----------
    members : bool [n_subsets, n_train]
        Which molecules each subset holds: of the training split, followed by the secondary set, where rows 2k and
        2k + 1 are complementary; or, in the bank of groups, which others are added to all of these.
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

    Parameters
    ----------
    queries : {"test", "validation"}
        Settings are chosen on the validation molecules; results are shown on the test molecules.
    path
        Another bank than that of halves: a file of ``data/`` (``GROUPS``), or an absolute path.
    limit
        Only the first molecules of the training split, of the secondary set and of the queries, as the setting of that
        name has it (for tests).

    Raises
    ------
    DataError
        If the bank was made from other data than the repository now holds, is damaged, or has no finished seed.
    """
    if queries not in ("test", "validation"):
        raise DataError(f"queries is {queries!r}; choose 'test' or 'validation'")
    place = Path(path) if Path(path).is_absolute() else data_file(str(path))
    try:
        metadata, tensors = read_bank(place)
        _require_same_data(metadata["data"])
        members, predictions, labels = (
            tensors[name] for name in ("members", f"{queries}_predictions", f"{queries}_labels")
        )
        _require_shapes(members, predictions, labels, metadata["parts"])
    except (KeyError, TypeError, AttributeError, _Damaged) as error:
        raise _damaged_bank(place, error) from error
    finished = np.isfinite(predictions).all(axis=(0, 2))
    if not finished.any():
        raise DataError("no seed of the bank is finished; `make bank` goes on with it")
    columns = np.concatenate([np.arange(n)[:limit] + start for start, n in metadata["parts"]])
    predictions, labels = predictions[:, finished, :limit].astype(float), labels[:limit].astype(float)
    return Bank(members.astype(bool)[:, columns], predictions, labels)


def write_bank(path: Path, about: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Write a bank: its tensors, what there is to say about them (as JSON), and a checksum of the tensors."""
    metadata = {name: json.dumps(value) for name, value in {**about, "sha256": _checksum(tensors)}.items()}
    write_atomically(path, save(dict(tensors), metadata))


def read_bank(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """A bank's metadata and tensors.

    Raises
    ------
    DataError
        If the file is no bank, or not as it was written.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = {name: json.loads(value) for name, value in file.metadata().items()}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dict
        if metadata["sha256"] != _checksum(tensors):
            raise _Damaged("its content is not as it was written")
    except Exception as error:  # safetensors has an exception of its own
        raise _damaged_bank(path, error) from error
    return metadata, tensors


def _checksum(tensors: Mapping[str, np.ndarray]) -> str:
    parts = (f"{name} {tensors[name].shape}".encode() + tensors[name].tobytes() for name in sorted(tensors))
    return hashlib.sha256(b"".join(parts)).hexdigest()


class _Damaged(Exception):
    """Something about a bank that no bank has."""


def _damaged_bank(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} is damaged, or no bank ({type(error).__name__}: {error}); `git checkout` brings the repository's own "
        "back, or delete it, and `make bank` makes another"
    )


def _require_shapes(members: np.ndarray, predictions: np.ndarray, labels: np.ndarray, parts: list) -> None:
    if members.ndim != 2:
        raise _Damaged(f"members of shape {members.shape}")
    n_subsets, n_train = members.shape
    if predictions.ndim != 3 or (len(predictions), predictions.shape[2]) != (n_subsets, len(labels)):
        raise _Damaged(f"predictions of shape {predictions.shape} for {n_subsets} subsets and {len(labels)} queries")
    if sum(n for _, n in parts) != n_train:
        raise _Damaged(f"{n_train} training molecules in parts of {[n for _, n in parts]}")


def data_hashes() -> dict[str, str]:
    """The data that a bank depends on."""
    return {name: file_hash(DATA_FOLDER / name) for name in ("lipophilicity.csv", "secondary.csv", "logp.csv")}


def _require_same_data(made_with: dict[str, str]) -> None:
    for name, content in data_hashes().items():
        if made_with.get(name) != content:
            raise DataError(f"data/{name} is not the file that the bank was made from; `make bank` makes another bank")
