"""Make the bank of drops: ``python data/scripts/drops.py``; ``--check`` repeats its first training on this machine.

The same training (:class:`molft_utils.influence.Recipe`: same start, order and label scale) is repeated with 1, 5 or
10 % of the training split at weight 0, with CHEMBL1089224 alone at weight 0 (the twin of a test molecule, notebook 04),
and with nothing dropped. What these models predict for the validation and test molecules is kept in
``data/retraining/drops.safetensors``, which :func:`molft_utils.evaluation.load_bank` reads: in float32, since a step of
float16 is as large as an effect. A training takes 20 s of one core, and an interrupted run resumes.
"""

import dataclasses
import sys
from functools import partial

import numpy as np
import torch

from bank import empty_bank, make_bank, queries
from molft_utils.data import Split, load_lipophilicity, split
from molft_utils.evaluation import DROPS, load_bank
from molft_utils.files import CARRIED, DATA_FOLDER, file_hash
from molft_utils.influence import Recipe, Training
from sizes import trained

TWIN = "CHEMBL1089224"
SHARES, N_SUBSETS, SEED = (0.01, 0.05, 0.1), 40, 2026


def members(parts: Split) -> np.ndarray:
    """Which training molecules keep their weight, bool [2 + 3 N_SUBSETS, n]: all; all but the twin; random subsets."""
    n, rng = len(parts.train), np.random.default_rng(SEED)
    kept = np.ones((2 + len(SHARES) * N_SUBSETS, n), dtype=bool)
    kept[1] = parts.train["chembl_id"] != TWIN
    for subset, row in enumerate(kept[2:]):  # the shares take turns, so that some of each are there early
        row[rng.permutation(n)[: round(SHARES[subset % len(SHARES)] * n)]] = False
    return kept


def retrained(training: Training, parts: Split, kept: np.ndarray, subset: int, k: int) -> dict[str, np.ndarray]:
    """Predictions for the validation and test molecules [n] if only ``kept[subset]`` have a weight; k is always 0."""
    torch.set_num_threads(1)
    theta = trained(training, torch.tensor(kept[subset], dtype=torch.float32))
    return {name: training.predict(theta, table) for name, table in queries(parts).items()}


def main() -> None:
    """Make the bank, or check it."""
    parts = split(load_lipophilicity())
    kept = members(parts)
    retrain = partial(retrained, Training(Recipe(), parts.train), parts, kept)
    if "--check" in sys.argv:
        here = retrain(0, 0)
        difference = max(np.abs(here[name] - load_bank(name, DROPS).predictions[0, 0]).max() for name in here)
        print(f"largest difference {difference:.1e} logD (1e-3 is small enough)")
        return
    checkpoint = file_hash(CARRIED[Recipe().checkpoint] / "model.safetensors")
    about = {"recipe": dataclasses.asdict(Recipe()), "checkpoint": checkpoint, "parts": [[0, len(parts.train)]]}
    make_bank(DATA_FOLDER / DROPS, empty_bank(kept, 1, parts, np.float32), about, retrain)


if __name__ == "__main__":
    main()
