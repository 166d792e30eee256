"""The grid: every cell once, whatever happens to the process."""

import json
import multiprocessing
import os
import random
import time

import numpy as np
import pandas as pd
import pytest

from molft_utils import SettingsError, settings
from molft_utils.experiments import grid, stages
from molft_utils.experiments.grid import Cell, cell_inputs, run_grid

#: A few molecules and two epochs: the same code, a second a cell.
SMALL = dict(
    limit=24, epochs=2, influence_depth=2, influence_batch_size=8, shapley_subset=12, shapley_chains=8,
    shapley_permutations=2,
)  # fmt: skip
NUMBERS = ["rmse", "validation_rmse", "n_train", "trained", "total", "epochs"]


def small_grid(folder, **options) -> pd.DataFrame:
    stages.STAGES = folder
    return run_grid(settings("smoke", **SMALL), **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("stages")


@pytest.fixture(scope="module")
def twelve(folder):
    before = stages.STAGES
    yield small_grid(folder)
    stages.STAGES = before


def test_twelve_cells_with_what_they_cost(twelve):
    assert len(twelve) == 12 and not twelve["reused"].any()
    assert (
        twelve["rmse"].between(0.1, 10).all() and (twelve["seconds"] > 0).all() and (twelve["peak_memory"] > 50).all()
    )
    by_method = twelve.groupby("method")["trained"].agg(["min", "max"])
    assert (by_method["min"] == by_method["max"]).all()
    assert by_method["min"].sort_values().index.tolist() == ["ia3", "bitfit", "lora", "full"]
    assert twelve.groupby("selection")["n_train"].first().to_dict() | {"ts-dshapley": 0} == {
        "none": 48, "influence": 48, "ts-dshapley": 0,
    }  # fmt: skip


def test_a_second_run_is_free_and_the_same(twelve, folder):
    began = time.perf_counter()
    again = small_grid(folder)
    assert again["reused"].all() and time.perf_counter() - began < 20
    pd.testing.assert_frame_equal(again.drop(columns="reused"), twelve.drop(columns="reused"))
    found = grid.predictions_of(settings("smoke", **SMALL), Cell("none", "lora", 0))
    assert len(found) == 24


def test_the_table_by_selection_and_method(twelve):
    table = grid.summary(twelve)
    assert table.shape == (3, 4) and list(table.columns) == ["full", "bitfit", "lora", "ia3"]


def test_a_changed_setting_starts_a_new_row_and_says_why(twelve, folder, capsys):
    changed = run_grid(settings("smoke", **SMALL, bitfit_learning_rate=2e-2), ["none"], ["bitfit"])
    assert not changed["reused"].any()
    assert "none, bitfit, seed 0: a new row, as these changed: learning_rate" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["predictions.csv", "record.json"])
def test_a_damaged_result_is_noticed_and_redone(twelve, folder, damage, capsys):
    (place,) = [
        path.parent
        for path in folder.glob("cell-*/record.json")
        if (record := json.loads(path.read_text()))["method"] == "ia3" and record["selection"] == "influence"
    ]
    text = (place / damage).read_text()
    (place / damage).write_text(text[: len(text) // 2])
    again = small_grid(folder, selections=["influence"], methods=["ia3"])
    assert "damaged" in capsys.readouterr().out and not again["reused"].any()
    expected = twelve.query("selection == 'influence' and method == 'ia3'")
    assert np.allclose(again[NUMBERS].astype(float), expected[NUMBERS].astype(float), atol=1e-6)


def test_two_workers_give_the_same_table(twelve, tmp_path):
    both = small_grid(tmp_path, selections=["none"], methods=["full", "lora"], n_jobs=2)
    expected = twelve.query("selection == 'none' and method in ('full', 'lora')")
    assert np.allclose(both[NUMBERS].astype(float), expected[NUMBERS].astype(float), atol=1e-4)


def test_a_cell_depends_on_how_the_selecting_model_was_trained():
    cfg, faster = settings("smoke"), settings("smoke", learning_rate=5e-3)
    for selection, method in (("influence", "lora"), ("ts-dshapley", "bitfit"), ("none", "full")):
        cell = Cell(selection, method, 0)
        assert cell_inputs(cfg, cell) != cell_inputs(faster, cell)
    cell = Cell("none", "lora", 0)  # has a rate of its own, and no other model before it
    assert cell_inputs(cfg, cell) == cell_inputs(faster, cell)


def test_unknown_names_are_refused():
    with pytest.raises(SettingsError, match="unknown prompt; choose from full"):
        run_grid(settings("smoke"), methods=["prompt"])
    with pytest.raises(SettingsError, match="unknown luck"):
        run_grid(settings("smoke"), selections=["luck"])


# Kill -9


PART = dict(selections=["none", "influence"])  # eighteen stages: enough for five kills on a fast machine


def run_part(folder) -> None:
    small_grid(folder, **PART)


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


def test_killed_five_times_the_grid_gives_the_same_table(twelve, tmp_path):
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
        now = finished(tmp_path)
        assert all(now.get(name) == written for name, written in seen.items())  # nothing was run twice
        for name in now:
            json.loads((tmp_path / name / "record.json").read_text())  # nothing was half written
        seen = now
    table = small_grid(tmp_path, **PART)
    assert all(finished(tmp_path).get(name) == written for name, written in seen.items())
    expected = twelve.query("selection != 'ts-dshapley'")
    assert np.allclose(table[NUMBERS].astype(float), expected[NUMBERS].astype(float), atol=1e-4)


def test_two_processes_on_one_folder(twelve, tmp_path):
    context = processes()
    pair = [context.Process(target=run_part, args=(tmp_path,)) for _ in range(2)]
    for process in pair:
        process.start()
    for process in pair:
        process.join(240)
    assert [process.exitcode for process in pair] == [0, 0]
    table = small_grid(tmp_path, **PART)
    assert table["reused"].all()
    expected = twelve.query("selection != 'ts-dshapley'")
    assert np.allclose(table[NUMBERS].astype(float), expected[NUMBERS].astype(float), atol=1e-4)


def test_processes_of_accelerate_share_the_cells(monkeypatch):
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert grid._share_of_this_process() == (1, 2)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1" and "WORLD_SIZE" not in os.environ
