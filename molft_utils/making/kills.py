"""Kill -9 at random moments: ``python -m molft_utils.making.kills``, or ``make faults``.

Every kind of long work runs on a few molecules in a process of its own, which is killed at a random moment and started
again, until it has been killed often enough; then it runs to its end. From outside, this process watches what has been
finished: stages, epochs of a training, models of a bank. *Lost* counts what was finished and is gone after a kill, or
differs at the end from what an undisturbed run gives; *twice* counts what was finished and computed once more. Both
should be 0. The counts go to ``data/results/faults.csv``.
"""

import argparse
import contextlib
import dataclasses
import json
import multiprocessing
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from joblib.externals.loky import get_reusable_executor
from safetensors.numpy import load_file

from ..data import canonicalise
from ..evaluation import records
from ..experiments import commit, grid, in_folder, inputs_of, pipeline, selection
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


class Ledger:
    """What was seen finished in a folder: each thing with the times at which it was written."""

    def __init__(self, folder: Path):
        self.folder, self.written = folder, {}  # type: tuple[Path, dict[str, set[int]]]

    def look(self) -> None:
        """Write down what is finished now."""
        for path in self._finished():
            unfinished = path.name == "record.json" and path.parent.suffix == ".partial"
            with contextlib.suppress(OSError, ValueError):  # half written, or removed meanwhile
                json.loads(path.read_text(encoding="utf-8"))
                if not unfinished:
                    name = str(path.relative_to(self.folder)).replace(".partial", "")
                    self.written.setdefault(name, set()).add(path.stat().st_mtime_ns)

    def _finished(self) -> list[Path]:
        """Records of results and of epochs; none if a folder vanishes while this is looked for."""
        try:
            return [*self.folder.glob("*/record.json"), *self.folder.glob("**/checkpoint-*/trainer_state.json")]
        except OSError:
            return []

    def twice(self) -> int:
        """How often something finished was computed once more."""
        lines = re.findall(r"subset \d+, seed \d+", self._log())
        return sum(len(times) - 1 for times in self.written.values()) + len(lines) - len(set(lines))

    def lost(self) -> int:
        """How many finished things are gone: results, the last epoch of an unfinished training, models of a bank."""
        results = [name for name in self.written if name.endswith("record.json")]
        gone = sum(not (self.folder / name).exists() for name in results)
        models = len(set(re.findall(r"subset \d+, seed \d+", self._log())))
        return gone + self._epochs_lost() + max(0, models - self._models())

    def __len__(self) -> int:
        return len(self.written) + self._models()

    def _epochs_lost(self) -> int:
        newest: dict[Path, int] = {}
        for name in self.written:
            if name.endswith("trainer_state.json"):
                place, number = Path(name).parent.parent, int(Path(name).parent.name.split("-")[1])
                newest[place] = max(number, newest.get(place, 0))
        return sum(not self._is_kept(place, number) for place, number in newest.items())

    def _is_kept(self, training: Path, number: int) -> bool:
        """Whether the checkpoint is there, or a later one, or the result that it has become a part of."""
        stage = self.folder / training.parent
        if training.name == "training" and (stage / "record.json").exists():
            return True
        places = self.folder / training, stage.with_name(f"{stage.name}.partial") / training.name
        found = [path for place in places for path in place.glob("checkpoint-*/trainer_state.json")]
        return any(int(path.parent.name.split("-")[1]) >= number for path in found)

    def _models(self) -> int:
        path = self.folder / "bank.safetensors"
        return int(np.isfinite(load_file(path)["test_predictions"]).all(axis=2).sum()) if path.exists() else 0

    def _log(self) -> str:
        path = self.folder / "log.txt"
        return path.read_text(encoding="utf-8") if path.exists() else ""


def in_process(name: str | None, folder: Path) -> None:
    """Run one kind of work in this process, or nothing; what it prints goes into the folder's log."""
    if name is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    with in_folder(folder):
        WORKS[name].run(folder)


def started(name: str | None, folder: Path) -> BaseProcess:
    """A process that works; it starts with everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["molft_utils.making.kills"])
    process = context.Process(target=in_process, args=(name, folder))
    process.start()
    return process


def wait(process: BaseProcess, seconds: float, ledger: Ledger) -> bool:
    """Watch for so long, or until the process ends; whether it has ended."""
    deadline = time.monotonic() + seconds
    while process.exitcode is None and time.monotonic() < deadline:
        ledger.look()
        time.sleep(0.02)
    return process.exitcode is not None


def strike(process: BaseProcess, worker: bool) -> bool:
    """Kill -9 the process, or one of its workers, whose grid must then end with an error.

    Returns whether something was killed that had still to work.
    """
    if worker:
        children = psutil.Process(process.pid).children(recursive=True)
        workers = [child for child in children if "LokyProcess" in " ".join(child.cmdline())]
        if not workers:
            return False
        random.choice(workers).kill()
    else:
        process.kill()
    process.join(300)
    if process.exitcode is None:
        raise SystemExit("a grid whose worker was killed does not end")
    return process.exitcode != 0  # a worker that was killed after its last cell has left nothing undone


def struck(name: str, kills: int, place: Path, seed: int) -> dict:
    """Kill one kind of work so many times, each round of it until it is whole; what was lost, and computed twice."""
    rng, began = random.Random(f"{name} {seed}"), time.perf_counter()
    started(None, place).join()  # the server of processes imports everything now, and not on the clock
    expected, longest = undisturbed(name, place / "undisturbed")
    found = {"kills": 0, "finished": 0, "lost": 0, "twice": 0}
    for number in range(10 * kills):
        if found["kills"] >= kills:
            break
        longest = min(longest, one_round(name, place / str(number), expected, rng, kills, longest, found))
        print(f"{name}: {found}", flush=True)
    return {**found, "seconds": round(time.perf_counter() - began)}


def undisturbed(name: str, folder: Path) -> tuple[np.ndarray, float]:
    """What a run gives that nobody disturbs, and how long it takes."""
    began, process = time.monotonic(), started(name, folder)
    process.join()
    if process.exitcode:
        raise SystemExit(f"{name} fails undisturbed: {(folder / 'log.txt').read_text(encoding='utf-8')[-2000:]}")
    seconds = time.monotonic() - began
    with in_folder(folder):
        return WORKS[name].read(folder), seconds


def one_round(
    name: str, folder: Path, expected: np.ndarray, rng: random.Random, kills: int, longest: float, found: dict
) -> float:
    """Kill and start again until the work ends by itself, or is killed often enough; then compare.

    Returns the latest moment at which a kill makes sense: the seconds of a whole run, where none came in between.
    """
    ledger, process, began, before = Ledger(folder), started(name, folder), time.monotonic(), found["kills"]
    while not wait(process, rng.uniform(0, longest), ledger) and found["kills"] < kills:
        if strike(process, WORKS[name].kills_worker):
            found["kills"] += 1
            ledger.look()
            found["lost"] += ledger.lost()
            process = started(name, folder)
    wait(process, 600, ledger)
    seconds = time.monotonic() - began
    ledger.look()
    with in_folder(folder), quiet():
        outcome = WORKS[name].read(folder)
    found["lost"] += ledger.lost() + int(process.exitcode != 0)
    found["lost"] += int((~np.isclose(outcome, expected, atol=1e-4, equal_nan=True)).sum())
    found["twice"] += ledger.twice()
    found["finished"] += len(ledger)
    return seconds if found["kills"] == before else longest


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what the work prints off the screen."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield


def main() -> None:
    """Kill, and put the counts on record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stages", nargs="+", choices=list(WORKS), default=list(WORKS))
    args = parser.parse_args()
    wrong = 0
    for position, name in enumerate(args.stages):
        kills = args.kills // len(args.stages) + (position < args.kills % len(args.stages))
        with tempfile.TemporaryDirectory() as place:
            found = struck(name, kills, Path(place), args.seed)
        wrong += found["lost"] + found["twice"]
        inputs = {**inputs_of(None), "seed": args.seed}
        records.add("faults", {"stage": name}, {**found, "commit": commit()}, inputs)
    if wrong:
        sys.exit(f"{wrong} results lost or computed twice")


if __name__ == "__main__":
    main()
