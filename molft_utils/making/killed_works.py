"""The kinds of long work that ``make faults`` kills, each on a few molecules."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from joblib.externals.loky import get_reusable_executor
from safetensors.numpy import load_file

from ..data import canonicalise
from ..experiments import grid, pipeline, selection
from ..files import data_file, write_atomically
from ..profiles import Settings, settings
from ..training import predict
from . import corpus, pretrain, retraining_bank

#: Molecules of the table on which all this is done.
N_MOLECULES = 60


def few(folder: Path) -> Settings:
    """Settings for a table of a few molecules, so that a process starts to work at once."""
    path = folder.parent / "few.csv"
    if not path.exists():
        few_rows = pd.read_csv(data_file("logp.csv"))[["smiles", "label"]].head(N_MOLECULES)
        write_atomically(path, few_rows.to_csv(index=False))
    small = dict(shapley_subset=12, shapley_chains=16, shapley_permutations=2, batch_size=8, mlm_batch_size=8)
    return settings("smoke", table=path, limit=24, epochs=6, mlm_epochs=6, patience=9, **small)


def fine_tuning(folder: Path) -> np.ndarray:
    """Fine-tune, and predict."""
    fit = pipeline.baseline(few(folder))
    return predict(fit.model, pipeline.tables(few(folder)).test["smiles"])


def masked_tokens(folder: Path) -> np.ndarray:
    """Masked-language modelling: the losses of its epochs."""
    return pipeline.mlm(few(folder)).history.to_numpy().ravel()


def pretraining(folder: Path) -> np.ndarray:
    """Pretrain a tiny model; the number of its steps, and of its tensors that are finite.

    Its weights are not compared: a resumed run draws other masks than one that nobody interrupts.
    """
    smiles = [canonicalise(f"{'C' * i}{tail}") for i in range(1, 30) for tail in ("O", "N", "c1ccccc1")]
    distinct, ids = corpus.encoded(smiles)
    molecules = corpus.Corpus(distinct, ids, np.tile(np.arange(len(distinct)), 8))
    line = ["--run-folder", folder / "run", "--output", folder / "made", "--tokens-per-batch", 256, "--save-steps", 8]
    pretrain.pretrain_on(molecules, pretrain.arguments([str(part) for part in line]))
    tensors = load_file(folder / "made" / "model.safetensors")
    (newest,) = sorted(folder.glob("run/checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))[-1:]
    steps = json.loads((newest / "trainer_state.json").read_text(encoding="utf-8"))["global_step"]
    return np.array([steps, sum(bool(np.isfinite(tensor).all()) for tensor in tensors.values())], dtype=float)


def bank(folder: Path) -> np.ndarray:
    """Retrain on four random halves; what the models predict."""
    cfg, path = few(folder).replace(epochs=2), folder / "bank.safetensors"
    retraining_bank.make_bank(cfg, retraining_bank.halves(cfg, n_pairs=2, n_seeds=1), path, n_jobs=1)
    return load_file(path)["test_predictions"].astype(float).ravel()


def shapley_chains(folder: Path) -> np.ndarray:
    """TS-DShapley, and the stages before it; the values."""
    cfg = few(folder).replace(epochs=2)
    return selection.shapley(cfg, selection.secondary_table(cfg)).table["value"].to_numpy()


def table_3(folder: Path, n_jobs: int = 1) -> np.ndarray:
    """Four cells of the grid; their errors."""
    cfg = few(folder).replace(epochs=2)
    rows = grid.run_grid(cfg, ["none"], ["full", "bitfit", "lora", "ia3"], n_jobs=n_jobs)
    return rows[["rmse", "validation_rmse", "epochs"]].to_numpy(float).ravel()


def table_3_with_workers(folder: Path) -> np.ndarray:
    """The same, in two worker processes."""
    outcome = table_3(folder, n_jobs=2)
    get_reusable_executor().shutdown(kill_workers=True)  # else this process would wait for minutes until they are idle
    return outcome


@dataclasses.dataclass(frozen=True)
class Work:
    """What is killed: ``run``, in a process; ``read`` gives its outcome again once all of it is finished."""

    run: Callable[[Path], np.ndarray]
    read: Callable[[Path], np.ndarray]
    kills_worker: bool = False


WORKS = {
    "fine-tuning": Work(fine_tuning, fine_tuning),
    "masked-language modelling": Work(masked_tokens, masked_tokens),
    "pretraining": Work(pretraining, pretraining),
    "bank": Work(bank, bank),
    "Shapley chains": Work(shapley_chains, shapley_chains),
    "grid": Work(table_3, table_3),
    "grid, a worker": Work(table_3_with_workers, table_3, kills_worker=True),
}
