"""The retraining banks: ``python -m molft_utils.making.retraining_bank``, or ``make bank``.

The model of notebook 04 (``class`` profile, from the encoder after masked-language modelling, no early stopping) is
trained again and again: on random halves of the training split and the secondary set; and on all of these with a group
of 100 other molecules added, whose labels are measured logP. What each of these models predicts for the validation and
test molecules is kept in ``data/retraining/``. A file is written after every model, and an interrupted run goes on
where it was.
"""

import argparse
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from joblib import Parallel, delayed

from ..data import table_hash
from ..evaluation import BANK, GROUPS, data_hashes, read_bank, write_bank
from ..experiments import commit, inputs_of, pipeline, selection
from ..files import DATA_FOLDER
from ..inputs import changes
from ..profiles import Settings, settings
from ..training import predict

#: Fixes the subsets and the groups.
SUBSETS_SEED = 2026

#: Molecules in a group.
GROUP_SIZE = 100


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which models a bank holds: each is trained on ``base`` and on its ``members`` [n_models, len(pool)] of ``pool``.

    Each is trained ``n_seeds`` times; no two trainings of any bank share a seed, which starts at ``first_seed``.
    ``parts`` are the pool's tables, each with its first row and its number of rows.
    """

    base: pd.DataFrame
    pool: pd.DataFrame
    members: np.ndarray
    n_seeds: int
    first_seed: int
    parts: tuple[tuple[int, int], ...]

    def train(self, subset: int) -> pd.DataFrame:
        """The training table of a subset."""
        return pd.concat([self.base, self.pool[self.members[subset]]], ignore_index=True)

    def seed(self, subset: int, k: int) -> int:
        """The seed of its k-th training."""
        return self.first_seed + 10 * subset + k


def halves(cfg: Settings, n_pairs: int = 50, n_seeds: int = 3) -> Plan:
    """Random halves of the training split and the secondary set, in complementary pairs."""
    secondary = selection.secondary_table(cfg)
    pool = selection.with_secondary(cfg, secondary)
    n = len(pool) - len(secondary)
    members, parts = random_halves(len(pool), n_pairs, SUBSETS_SEED), ((0, n), (n, len(secondary)))
    return Plan(pool.iloc[:0], pool, members, n_seeds, 1000, parts)


def groups(cfg: Settings, n_groups: int = 30, n_without: int = 5, n_seeds: int = 3) -> Plan:
    """Everything and a group more; the first ``n_without`` rows add nothing.

    From group to group the share of ionisable molecules, whose logP is no logD, rises from none to all.
    """
    secondary = selection.secondary_table(cfg)
    pool = selection.further_candidates(cfg.replace(limit=None), secondary)
    members = np.zeros((n_without + n_groups, len(pool)), dtype=bool)
    rng = np.random.default_rng(SUBSETS_SEED)
    for row, share in zip(members[n_without:], np.linspace(0, 1, n_groups), strict=True):
        n_ionisable = round(share * GROUP_SIZE)
        for wanted, ionisable in ((n_ionisable, True), (GROUP_SIZE - n_ionisable, False)):
            row[rng.permutation(np.flatnonzero(pool["ionisable"] == ionisable))[:wanted]] = True
    base = selection.with_secondary(cfg, secondary)
    return Plan(base, pool[["smiles", "label"]], members, n_seeds, 5000, ((0, len(pool)),))


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
    fit, _ = pipeline.finetuned(cfg.replace(seed=seed), start, train, early_stopping=False)
    parts = pipeline.tables(cfg)
    return {
        name: predict(fit.model, table["smiles"]).astype(np.float16)
        for name, table in (("validation", parts.validation), ("test", parts.test))
    }


def make_bank(cfg: Settings, plan: Plan, path: Path, n_jobs: int) -> None:
    """Train what the bank at ``path`` lacks. A bank with other inputs is replaced, and what changed is said."""
    inputs = {
        **inputs_of(cfg, pipeline.AFTER_MLM),
        "base": table_hash(plan.base) if len(plan.base) else None,
        "pool": table_hash(plan.pool),
        "subsets": {"seed": SUBSETS_SEED, "first_seed": plan.first_seed, "shape": [*plan.members.shape, plan.n_seeds]},
    }
    with FileLock(path.with_name(f".{path.name}.lock")):  # two processes would write over each other's models
        _fill_bank(cfg, plan, path, inputs, n_jobs)


def _fill_bank(cfg: Settings, plan: Plan, path: Path, inputs: dict, n_jobs: int) -> None:
    """Train what the bank lacks, and write it after every model."""
    bank = _bank_so_far(path, cfg, plan, inputs)
    start = pipeline.mlm(cfg).folder
    missing = np.argwhere(np.isnan(bank["test_predictions"]).any(axis=2).T)  # every subset's first seed comes first
    jobs = (delayed(_one)(cfg, start, plan, int(subset), int(k)) for k, subset in missing)
    about = {"data": data_hashes(), "inputs": inputs, "parts": plan.parts, "commit": commit()}
    done: Iterator = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(jobs)
    for count, (subset, k, predictions) in enumerate(done, start=1):
        for name, values in predictions.items():
            bank[f"{name}_predictions"][subset, k] = values
        write_bank(path, about, bank)
        print(f"{path.stem}, {count} of {len(missing)}: subset {subset}, seed {k}", flush=True)


def _one(cfg: Settings, start: Path, plan: Plan, subset: int, k: int) -> tuple[int, int, dict]:
    torch.set_num_threads(1)
    return subset, k, retrained(cfg, start, plan.train(subset), plan.seed(subset, k))


def _bank_so_far(path: Path, cfg: Settings, plan: Plan, inputs: dict) -> dict[str, np.ndarray]:
    """The tensors of the file, or with nan for every prediction where there is no such file."""
    if path.exists():
        metadata, tensors = read_bank(path)
        changed = changes(metadata["inputs"], json.loads(json.dumps(inputs)))
        if not changed:
            return {name: values.copy() for name, values in tensors.items()}
        print(f"{path.name}: made again, as this changed: {'; '.join(changed)}")
    parts = pipeline.tables(cfg)
    bank = {"members": plan.members}
    for name, table in (("validation", parts.validation), ("test", parts.test)):
        shape = len(plan.members), plan.n_seeds, len(table)
        bank[f"{name}_labels"] = table["label"].to_numpy(dtype=np.float32)
        bank[f"{name}_predictions"] = np.full(shape, np.nan, dtype=np.float16)
    return bank


def main() -> None:
    """Make the banks from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--banks", nargs="+", default=["halves", "groups"], choices=["halves", "groups"])
    parser.add_argument("--jobs", type=int, default=2, help="models at a time, one thread each")
    args, cfg = parser.parse_args(), settings("class")
    for name, file, plan in (("halves", BANK, halves), ("groups", GROUPS, groups)):
        if name in args.banks:
            make_bank(cfg, plan(cfg), DATA_FOLDER / file, args.jobs)


if __name__ == "__main__":
    main()
