"""The retraining bank: ``python -m molft_utils.making.retraining_bank``, or ``make bank``.

The model of notebook 04 (``class`` profile, from the encoder after masked-language modelling, no early stopping) is
trained on random halves of the training split and the secondary set, with several seeds. What each of these models
predicts for the validation and test molecules is kept in ``data/retraining/``. The file is written after every model,
and an interrupted run goes on where it was.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from safetensors import safe_open
from safetensors.numpy import load_file, save
from transformers import set_seed

from ..data import table_hash
from ..evaluation import BANK, data_hashes
from ..experiments import commit, inputs_of, pipeline, selection
from ..files import DATA_FOLDER, write_atomically
from ..inputs import changes
from ..molformer import load_model
from ..profiles import Settings, settings
from ..training import finetune, predict

N_PAIRS, N_SEEDS = 50, 3

#: Fixes the subsets.
SUBSETS_SEED = 2026


def random_halves(n: int, n_pairs: int, seed: int) -> np.ndarray:
    """Membership bool [2 n_pairs, n] of random halves of n molecules; rows 2k and 2k + 1 are complementary."""
    rng = np.random.default_rng(seed)
    members = np.zeros((2 * n_pairs, n), dtype=bool)
    for pair in range(n_pairs):
        members[2 * pair, rng.permutation(n)[: n // 2]] = True
        members[2 * pair + 1] = ~members[2 * pair]
    return members


def retrained(cfg: Settings, start: Path, train: pd.DataFrame, seed: int) -> dict[str, np.ndarray]:
    """Train on a table from a checkpoint on, all epochs, and predict the validation and test molecules: float16 [n]."""
    set_seed(seed)
    model = load_model(start, head=cfg.regression.head)
    fit = finetune(model, train, None, cfg.replace(seed=seed))
    parts = pipeline.tables(cfg)
    return {
        name: predict(fit.model, table["smiles"]).astype(np.float16)
        for name, table in (("validation", parts.validation), ("test", parts.test))
    }


def fit_seed(subset: int, k: int) -> int:
    """The seed of the k-th model of a subset: no two models share one, nor has any the seed of a model in a table."""
    return 1000 + 10 * subset + k


def make_bank(cfg: Settings, path: Path, n_jobs: int, n_pairs: int = N_PAIRS, n_seeds: int = N_SEEDS) -> None:
    """Train what the bank at ``path`` lacks. A bank with other inputs is replaced, and what changed is said."""
    train = selection.with_secondary(cfg, selection.secondary_table(cfg))
    members = random_halves(len(train), n_pairs, SUBSETS_SEED)
    inputs = {
        **inputs_of(cfg, pipeline.AFTER_MLM),
        "train": table_hash(train),
        "subsets": {"seed": SUBSETS_SEED, "pairs": n_pairs, "seeds": n_seeds},
    }
    bank = _bank_so_far(path, cfg, members, inputs, n_seeds)
    start = pipeline.mlm(cfg).folder
    missing = np.argwhere(np.isnan(bank["test_predictions"]).any(axis=2).T)  # all subsets with the first seed first
    jobs = (delayed(_one)(cfg, start, train[members[s]], int(s), int(k)) for k, s in missing)
    metadata = {"data": json.dumps(data_hashes()), "inputs": json.dumps(inputs), "commit": str(commit())}
    done: Iterator = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(jobs)
    for count, (subset, k, predictions) in enumerate(done, start=1):
        for name, values in predictions.items():
            bank[f"{name}_predictions"][subset, k] = values
        write_atomically(path, save(bank, metadata))
        print(f"{count} of {len(missing)}: subset {subset}, seed {k}", flush=True)


def _one(cfg: Settings, start: Path, train: pd.DataFrame, subset: int, k: int) -> tuple[int, int, dict]:
    torch.set_num_threads(1)
    return subset, k, retrained(cfg, start, train, fit_seed(subset, k))


def _bank_so_far(path: Path, cfg: Settings, members: np.ndarray, inputs: dict, n_seeds: int) -> dict[str, np.ndarray]:
    """The tensors of the file, or with nan for every prediction where there is no such file."""
    if path.exists():
        with safe_open(path, framework="numpy") as file:
            changed = changes(json.loads(file.metadata()["inputs"]), json.loads(json.dumps(inputs)))
        if not changed:
            return {name: values.copy() for name, values in load_file(path).items()}
        print(f"{path.name}: made again, as this changed: {'; '.join(changed)}")
    parts = pipeline.tables(cfg)
    bank = {"members": members}
    for name, table in (("validation", parts.validation), ("test", parts.test)):
        bank[f"{name}_labels"] = table["label"].to_numpy(dtype=np.float32)
        bank[f"{name}_predictions"] = np.full((len(members), n_seeds, len(table)), np.nan, dtype=np.float16)
    return bank


def main() -> None:
    """Make the bank from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="models at a time, one thread each")
    make_bank(settings("class"), DATA_FOLDER / BANK, parser.parse_args().jobs)


if __name__ == "__main__":
    main()
