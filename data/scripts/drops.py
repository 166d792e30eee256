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
import functools
import json
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from safetensors.numpy import save

from molft_utils.data import Split, load_lipophilicity, split
from molft_utils.files import DATA_FOLDER, RUNS_FOLDER, file_hash, write_atomically
from molft_utils.influence.unrolled import Recipe, Training

DROPS = DATA_FOLDER / "retraining/drops.safetensors"
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


@functools.lru_cache(maxsize=1)
def beginning() -> tuple[Training, Split]:
    """The training and its tables, made once in each process."""
    torch.set_num_threads(1)
    parts = split(load_lipophilicity())
    return Training(Recipe(), parts.train), parts


def retrained(keep: np.ndarray) -> np.ndarray:
    """Predictions for the validation and then the test molecules after a training with weights 1 and 0: float32."""
    training, parts = beginning()
    theta = training.run(torch.tensor(keep, dtype=torch.float32), every=len(training.batches))[-1].theta
    predictions = [training.predict(theta, table) for table in (parts.validation, parts.test)]
    return np.concatenate(predictions).astype(np.float32)


def kept_in(path: Path, keep: np.ndarray) -> None:
    """Train, if that is not done yet."""
    if not path.exists():
        result = retrained(keep)
        with path.with_suffix(".partial").open("wb") as file:
            np.save(file, result)
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
        "data": {name: file_hash(DATA_FOLDER / name) for name in ("lipophilicity.csv", "secondary.csv", "logp.csv")},
        "checkpoint": file_hash(DATA_FOLDER / f"molformer-{Recipe().checkpoint}/model.safetensors"),
        "parts": [[0, len(parts.train)]],
    }
    write_atomically(DROPS, save(tensors, {name: json.dumps(value) for name, value in about.items()}))


def main() -> None:
    """Make the bank, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, one thread each")
    parser.add_argument("--check", action="store_true", help="repeat the training with nothing dropped, and compare")
    args, parts = parser.parse_args(), split(load_lipophilicity())
    kept, folder = members(parts), RUNS_FOLDER / "drops"
    if args.check:
        from molft_utils.evaluation import load_bank

        banked = [load_bank(name, DROPS).predictions[0, 0] for name in ("validation", "test")]
        print(f"largest difference {np.abs(retrained(kept[0]) - np.concatenate(banked)).max():.1e} logD; at most 1e-3")
        return
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03d}.npy" for number in range(len(kept))]
    Parallel(n_jobs=args.jobs)(delayed(kept_in)(path, keep) for path, keep in zip(paths, kept, strict=True))
    write_bank(parts, kept, np.stack([np.load(path) for path in paths]))


if __name__ == "__main__":
    main()
