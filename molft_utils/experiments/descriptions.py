"""Descriptors of many molecules, computed once: they cost 13 ms each."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from ..data import DESCRIPTORS, describe
from ..profiles import Settings
from .stages import Kind, run_stage

DESCRIBED = Kind("described", 1)


def described(smiles: Sequence[str], n_jobs: int = 2, chunk: int = 2000) -> np.ndarray:
    """The values of :func:`~molft_utils.data.describe` [n, d], kept as a stage.

    Parameters
    ----------
    smiles
        The molecules, which identify the result together with their order.
    n_jobs
        Number of processes.
    chunk
        Number of molecules in a file; an interrupted run goes on with the first file that is missing.
    """

    def compute(folder: Path, given: Settings | None) -> dict:
        starts = range(0, len(smiles), chunk)
        Parallel(n_jobs)(delayed(_describe)(folder / f"{s:08d}.npy", smiles[s : s + chunk]) for s in starts)
        return {"names": list(DESCRIPTORS)}

    smiles = list(smiles)
    key = {"smiles": hashlib.sha256("\n".join(smiles).encode()).hexdigest(), "names": list(DESCRIPTORS)}
    folder = run_stage(DESCRIBED, None, key, compute).folder
    return np.concatenate([np.load(path) for path in sorted(folder.glob("*.npy"))])


def _describe(path: Path, smiles: list[str]) -> None:
    if not path.exists():
        temporary = path.with_suffix(".partial")
        with temporary.open("wb") as file:
            np.save(file, describe(smiles), allow_pickle=False)
        temporary.rename(path)
