"""Make the bank of drops: ``python data/scripts/drops.py``; ``--check`` repeats its first training on this machine.

The same training (:class:`molft_utils.influence.Recipe`: same start, order and label scale) is repeated with 1, 5 or
10 % of the training split at weight 0, with CHEMBL1089224 alone at weight 0 (the twin of a test molecule, notebook 04),
and with nothing dropped. What these models predict for the validation and test molecules is kept in
``data/retraining/drops.safetensors``, which :func:`molft_utils.evaluation.load_bank` reads: in float32, since a step of
float16 is as large as an effect. A training takes 20 s of one core, and each is written when it ends: an interrupted
run resumes.
"""

import argparse
import dataclasses
import json
import tempfile
import zlib
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from safetensors.numpy import save

from molft_utils.data import Split, load_lipophilicity, split
from molft_utils.evaluation import DROPS, data_hashes, load_bank
from molft_utils.files import DATA_FOLDER, RUNS_FOLDER, file_hash, write_atomically
from molft_utils.influence.unrolled import Recipe, Training

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


def retrain(folder: Path, kept: np.ndarray, first: int, every: int) -> None:
    """Do each ``every``-th training from ``first`` on that the folder lacks.

    A file has the predictions for the validation and then the test molecules, float32.
    """
    torch.set_num_threads(1)
    parts = split(load_lipophilicity())
    training = Training(Recipe(), parts.train)
    for number in range(first, len(kept), every):
        path = folder / f"{number:03d}.npy"
        if path.exists():
            continue
        weights = torch.tensor(kept[number], dtype=torch.float32)
        theta = training.run(weights, every=len(training.batches))[-1].theta
        predictions = [training.predict(theta, table) for table in (parts.validation, parts.test)]
        with path.with_suffix(".partial").open("wb") as file:
            np.save(file, np.concatenate(predictions).astype(np.float32))
        path.with_suffix(".partial").rename(path)
        print(path.name, flush=True)


def write_bank(parts: Split, kept: np.ndarray, predictions: np.ndarray) -> None:
    """Write the bank from predictions [n_subsets, n_validation + n_test]."""
    tensors = {"members": kept}
    ends = {"validation": parts.validation, "test": parts.test}
    both = np.split(predictions[:, None], [len(parts.validation)], axis=2)
    for (name, table), values in zip(ends.items(), both, strict=True):
        tensors[f"{name}_predictions"] = np.ascontiguousarray(values)
        tensors[f"{name}_labels"] = table["label"].to_numpy(dtype=np.float32)
    about = {
        "recipe": dataclasses.asdict(Recipe()),
        "data": data_hashes(),
        "checkpoint": file_hash(DATA_FOLDER / f"molformer-{Recipe().checkpoint}/model.safetensors"),
        "parts": [[0, len(parts.train)]],
    }
    write_atomically(DATA_FOLDER / DROPS, save(tensors, {name: json.dumps(value) for name, value in about.items()}))


def main() -> None:
    """Make the bank, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, one thread each")
    parser.add_argument("--check", action="store_true", help="repeat the training with nothing dropped, and compare")
    args, parts = parser.parse_args(), split(load_lipophilicity())
    kept, folder = members(parts), RUNS_FOLDER / f"drops-{zlib.crc32(repr(Recipe()).encode()):08x}"
    if args.check:
        with tempfile.TemporaryDirectory() as scratch:
            retrain(Path(scratch), kept[:1], 0, 1)
            here = np.load(Path(scratch) / "000.npy")
        banked = [load_bank(name, DROPS).predictions[0, 0] for name in ("validation", "test")]
        difference = np.abs(here - np.concatenate(banked)).max()
        print(f"largest difference {difference:.1e} logD (1e-3 is small enough)")
        return
    folder.mkdir(parents=True, exist_ok=True)
    Parallel(n_jobs=args.jobs)(delayed(retrain)(folder, kept, first, args.jobs) for first in range(args.jobs))
    write_bank(parts, kept, np.stack([np.load(folder / f"{number:03d}.npy") for number in range(len(kept))]))


if __name__ == "__main__":
    main()
