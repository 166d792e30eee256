"""Kill -9 at random moments: ``python -m molft_utils.making.kills``, or ``make faults``.

Every kind of long work runs on a few molecules in a process of its own, which is killed at a random moment and started
again, until it has been killed often enough; then it runs to its end. From outside, this process watches what has been
finished: stages, epochs of a training, models of a bank. *Lost* counts what was finished and is gone after a kill, or
differs at the end from what an undisturbed run gives; *twice* counts what was finished and computed once more. Both
should be 0. The counts go to ``data/results/faults.csv``.
"""

import argparse
import contextlib
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import psutil

from ..evaluation import records
from ..experiments import commit, in_folder, inputs_of
from .killed_works import WORKS
from .ledger import Ledger


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
