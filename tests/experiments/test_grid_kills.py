"""The grid under kill -9, of itself and of a worker, with two processes on one folder, and on a Dask cluster."""

import json
import multiprocessing
import os
import random
import time

import joblib
import numpy as np
import psutil
import pytest
from small_grids import NUMBERS, small_grid

from molft_utils.profiles import EVERY_METHOD, METHODS

#: All but influence: its stage takes as long as five cells.
PART = dict(selections=["none", "ts-dshapley", "oracle"], methods=EVERY_METHOD)
TWO = dict(selections=["none"], methods=["full", "lora"])


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What a run that nobody disturbs gives."""
    return small_grid(tmp_path_factory.mktemp("stages"), **PART)


def require_same(table, expected) -> None:
    assert np.allclose(table[NUMBERS].astype(float), expected[NUMBERS].astype(float), atol=1e-4)


def run_part(folder) -> None:
    small_grid(folder, **PART)


def run_two_cells(folder) -> None:
    small_grid(folder, **TWO)


def run_row_with_workers(folder) -> None:
    small_grid(folder, selections=["none"], n_jobs=2)


def processes():
    """Children that start with everything imported, and no thread of this process in them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["molft_utils.experiments"])
    return context


def finished(folder) -> dict:
    return {
        path.parent.name: path.stat().st_mtime_ns
        for path in folder.glob("*-*/record.json")
        if ".partial" not in str(path)
    }


def require_whole_and_once(folder, seen) -> dict:
    now = finished(folder)
    assert all(now.get(name) == written for name, written in seen.items())  # nothing was run twice
    for name in now:
        json.loads((folder / name / "record.json").read_text())  # nothing was half written
    return now


def test_killed_five_times_the_grid_gives_the_same_table(expected, tmp_path):
    context, rng, seen = processes(), random.Random(0), {}
    warm = context.Process(target=os.getpid)  # the fork server imports torch now, not on the clock
    warm.start()
    warm.join()
    for _ in range(5):
        process = context.Process(target=run_part, args=(tmp_path,))
        process.start()
        while process.exitcode is None and len(finished(tmp_path)) <= len(seen):
            time.sleep(0.02)  # let it finish one more stage, and then strike at any moment
        process.join(rng.uniform(0, 0.4))
        assert process.exitcode is None, "the grid was done before the fifth kill"
        process.kill()
        process.join()
        seen = require_whole_and_once(tmp_path, seen)
    table = small_grid(tmp_path, **PART)
    require_whole_and_once(tmp_path, seen)
    require_same(table, expected)


def test_a_killed_worker_loses_nothing_that_was_finished(expected, tmp_path):
    small_grid(tmp_path, selections=["none"], methods=["full"])  # what comes before the workers
    seen = finished(tmp_path)
    process = processes().Process(target=run_row_with_workers, args=(tmp_path,))
    process.start()
    while len(finished(tmp_path)) <= len(seen) and process.exitcode is None:
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    workers = [child for child in children if "LokyProcess" in " ".join(child.cmdline())]
    assert workers, "no worker process to kill"
    workers[0].kill()
    process.join(240)
    assert process.exitcode not in (None, 0), "joblib tells of a killed worker by an error"
    seen = require_whole_and_once(tmp_path, seen)
    table = small_grid(tmp_path, selections=["none"], n_jobs=2)
    require_whole_and_once(tmp_path, seen)
    require_same(table, expected.query(f"selection == 'none' and method in {METHODS}"))


def test_two_processes_on_one_folder(expected, tmp_path):
    context = processes()
    pair = [context.Process(target=run_two_cells, args=(tmp_path,)) for _ in range(2)]
    for process in pair:
        process.start()
    for process in pair:
        process.join(240)
    assert [process.exitcode for process in pair] == [0, 0]
    table = small_grid(tmp_path, **TWO)
    assert table["reused"].all()
    require_same(table, expected.query("selection == 'none' and method in ('full', 'lora')"))


def test_a_dask_cluster_of_processes_gives_the_same_table(expected, tmp_path):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        table = small_grid(tmp_path, selections=["none"], methods=EVERY_METHOD, n_jobs=2)
    cells = {path.parent.name for path in tmp_path.glob("graded-*/record.json")}
    assert len(cells) == len(EVERY_METHOD), "the workers keep their results where the caller told them"
    require_same(table, expected.query("selection == 'none'"))
