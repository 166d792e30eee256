"""Make the retraining banks: ``python data/scripts/bank.py``.

The model of notebook 04 (``class`` profile, from the encoder after masked-language modelling, no early stopping) is
trained again and again: on random halves of the training split and the secondary set; and on all of these with a group
of 100 other molecules added, whose labels are measured logP. What each of these models predicts for the validation and
test molecules is kept in ``data/retraining/``. A file is written after every model, and an interrupted run resumes.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from safetensors import safe_open
from safetensors.numpy import save

from molft_utils.cache import digits
from molft_utils.data import Split, load_logp, table_hash
from molft_utils.errors import StaleRunError
from molft_utils.evaluation import BANK, GROUPS, data_hashes
from molft_utils.experiments import pipeline, selection
from molft_utils.files import DATA_FOLDER, write_atomically
from molft_utils.settings import Settings, settings
from molft_utils.training import predict

SUBSETS_SEED = 2026  # fixes the subsets and the groups
GROUP_SIZE = 100


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which models a bank holds: each is trained on ``base`` and on its ``members`` of ``pool``."""

    base: pd.DataFrame
    pool: pd.DataFrame
    members: np.ndarray  # [n_models, len(pool)]
    n_seeds: int  # trainings of each; no two of any bank share a seed
    first_seed: int
    parts: tuple[tuple[int, int], ...]  # the pool's tables: first row and number of rows

    def train(self, subset: int) -> pd.DataFrame:
        return pd.concat([self.base, self.pool[self.members[subset]]], ignore_index=True)

    def seed(self, subset: int, k: int) -> int:
        return self.first_seed + 10 * subset + k

    def digits(self, cfg: Settings) -> str:
        """What stands for all that the bank depends on."""
        members = hashlib.sha256(np.packbits(self.members).tobytes()).hexdigest()
        base = table_hash(self.base) if len(self.base) else None
        key = {"base": base, "pool": table_hash(self.pool), "members": members, "first_seed": self.first_seed}
        return digits(cfg, pipeline.AFTER_MLM, **key)


def halves(cfg: Settings, n_pairs: int = 50, n_seeds: int = 3) -> Plan:
    """Random halves of the training split and the secondary set, in complementary pairs."""
    secondary = selection.secondary_table(cfg)
    pool = selection.with_secondary(cfg, secondary)
    rng = np.random.default_rng(SUBSETS_SEED)
    members = np.zeros((2 * n_pairs, len(pool)), dtype=bool)
    for pair in range(n_pairs):
        members[2 * pair, rng.permutation(len(pool))[: len(pool) // 2]] = True
        members[2 * pair + 1] = ~members[2 * pair]
    n = len(pool) - len(secondary)
    return Plan(pool.iloc[:0], pool, members, n_seeds, 1000, ((0, n), (n, len(secondary))))


def groups(cfg: Settings, n_groups: int = 30, n_without: int = 5, n_seeds: int = 3) -> Plan:
    """Everything and a group more, whose share of ionisable molecules rises; the first ``n_without`` add nothing."""
    secondary = selection.secondary_table(cfg)
    others = load_logp()
    pool = others[~others["smiles"].isin(secondary["smiles"])].reset_index(drop=True)
    members = np.zeros((n_without + n_groups, len(pool)), dtype=bool)
    rng = np.random.default_rng(SUBSETS_SEED)
    for row, share in zip(members[n_without:], np.linspace(0, 1, n_groups), strict=True):
        n_ionisable = round(share * GROUP_SIZE)
        for wanted, ionisable in ((n_ionisable, True), (GROUP_SIZE - n_ionisable, False)):
            row[rng.permutation(np.flatnonzero(pool["ionisable"] == ionisable))[:wanted]] = True
    base = selection.with_secondary(cfg, secondary)
    return Plan(base, pool[["smiles", "label"]], members, n_seeds, 5000, ((0, len(pool)),))


def retrained(cfg: Settings, plan: Plan, start: Path, subset: int, k: int) -> dict[str, np.ndarray]:
    """Train from a checkpoint on, all epochs, and predict the validation and test molecules [n]."""
    torch.set_num_threads(1)
    cfg, train = cfg.replace(seed=plan.seed(subset, k)), plan.train(subset)
    fit = pipeline.finetuned(cfg, start, train, early_stopping=False)
    return {name: predict(fit.model, part["smiles"]) for name, part in queries(pipeline.tables(cfg)).items()}


def queries(parts: Split) -> dict[str, pd.DataFrame]:
    """What every model predicts."""
    return {"validation": parts.validation, "test": parts.test}


def empty_bank(members: np.ndarray, n_seeds: int, parts: Split, dtype: type = np.float16) -> dict[str, np.ndarray]:
    """The tensors of a bank, nan for every prediction."""
    bank = {"members": members}
    for name, table in queries(parts).items():
        bank[f"{name}_labels"] = table["label"].to_numpy(dtype=np.float32)
        bank[f"{name}_predictions"] = np.full((len(members), n_seeds, len(table)), np.nan, dtype)
    return bank


def make_bank(
    path: Path,
    bank: dict[str, np.ndarray],
    about: dict,
    retrain: Callable[[int, int], dict[str, np.ndarray]],
    n_jobs: int = 2,
) -> None:
    """Train what the bank at ``path`` lacks, every subset's first seed first, and write it after every model.

    Where there is no such file, all of the empty ``bank`` is trained: ``retrain(subset, k)`` has the predictions of its
    k-th model. What the bank depends on stands in the file's header: ``about``, and the data.
    """
    metadata = {name: json.dumps(value) for name, value in {"data": data_hashes(), **about}.items()}
    if path.exists():
        with safe_open(path, framework="numpy") as file:
            if file.metadata() != metadata or not np.array_equal(file.get_tensor("members"), bank["members"]):
                raise StaleRunError(f"{path} was made with other settings or data; delete it to make another")
            bank = {name: file.get_tensor(name).copy() for name in bank}
    missing = [(int(subset), int(k)) for k, subset in np.argwhere(np.isnan(bank["test_predictions"][:, :, 0]).T)]
    models = Parallel(n_jobs=n_jobs, return_as="generator")(delayed(retrain)(*model) for model in missing)
    for (subset, k), predictions in zip(missing, models, strict=True):
        for name, values in predictions.items():
            bank[f"{name}_predictions"][subset, k] = values
        write_atomically(path, save(bank, metadata))
        print(f"{path.stem}: subset {subset}, seed {k}", flush=True)


if __name__ == "__main__":
    cfg = settings("class")
    for file, draw in ((BANK, halves), (GROUPS, groups)):
        plan = draw(cfg)
        bank, about = empty_bank(plan.members, plan.n_seeds, pipeline.tables(cfg)), dict(parts=plan.parts)
        retrain = partial(retrained, cfg, plan, pipeline.mlm(cfg).folder)
        make_bank(DATA_FOLDER / file, bank, about | {"settings": plan.digits(cfg)}, retrain)
