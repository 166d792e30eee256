"""The grid: every cell once, whatever happens to the process."""

import json
import os

import numpy as np
import pandas as pd
import pytest
from small_grids import NUMBERS, SMALL, small_grid

from molft_utils import SettingsError, settings
from molft_utils.experiments import grid, stages
from molft_utils.experiments.grid import Cell, run_grid
from molft_utils.making import variants


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("stages")


@pytest.fixture(scope="module")
def twelve(folder):
    return small_grid(folder)


def test_twelve_cells_with_what_they_cost(twelve):
    assert len(twelve) == 12
    # The 100 best of 24 molecules are all of them: the same training table as with no selection, and no second model.
    assert twelve.set_index("selection")["reused"].groupby(level=0).all().to_dict() == {
        "none": False, "influence": True, "ts-dshapley": False,
    }  # fmt: skip
    assert (
        twelve["rmse"].between(0.1, 10).all() and (twelve["seconds"] > 0).all() and (twelve["peak_memory"] > 50).all()
    )
    by_method = twelve.groupby("method")["trained"].agg(["min", "max"])
    assert (by_method["min"] == by_method["max"]).all()
    assert by_method["min"].sort_values().index.tolist() == ["ia3", "bitfit", "lora", "full"]
    assert twelve.groupby("selection")["n_train"].first().to_dict() | {"ts-dshapley": 0} == {
        "none": 48, "influence": 48, "ts-dshapley": 0,
    }  # fmt: skip


def test_a_second_run_trains_nothing_loads_no_model_and_gives_the_same(twelve, folder, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a finished cell needs no model")

    monkeypatch.setattr("molft_utils.experiments.pipeline.finetune", refuse)
    monkeypatch.setattr("molft_utils.experiments.pipeline.load_model", refuse)
    again = small_grid(folder)
    assert again["reused"].all()
    pd.testing.assert_frame_equal(again.drop(columns="reused"), twelve.drop(columns="reused"))
    with stages.in_folder(folder):
        assert len(grid.predictions_of(settings("smoke", **SMALL), Cell("none", "lora", 0))) == 24


def test_a_selection_is_made_once_for_all_its_cells(folder, twelve, monkeypatch):
    calls, make = [], grid.rules.training_table
    monkeypatch.setattr(grid.rules, "training_table", lambda *given: calls.append(given) or make(*given))
    small_grid(folder, selections=["influence"])
    assert len(calls) == 1


def test_the_table_by_selection_and_method(twelve):
    table = grid.summary(twelve)
    assert table.shape == (3, 4) and list(table.columns) == ["full", "bitfit", "lora", "ia3"]


def test_a_changed_setting_starts_a_new_row_and_says_why(twelve, folder, capsys):
    with stages.in_folder(folder):
        changed = run_grid(settings("smoke", **SMALL, bitfit_learning_rate=2e-2), ["none"], ["bitfit"])
    assert not changed["reused"].any()
    said = "regression: made again, as this changed: regression.learning_rate: 0.01 -> 0.02"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["predictions.csv", "record.json"])
def test_a_damaged_result_is_noticed_and_redone(twelve, folder, damage, capsys):
    expected = twelve.query("selection == 'ts-dshapley' and method == 'ia3'")
    (place,) = [
        path.parent
        for path in folder.glob("graded-*/record.json")
        if json.loads(path.read_text())["row"]["rmse"] == expected["rmse"].item()
    ]
    text = (place / damage).read_text()
    (place / damage).write_text(text[: len(text) // 2])
    again = small_grid(folder, selections=["ts-dshapley"], methods=["ia3"])
    assert "damaged" in capsys.readouterr().out and not again["reused"].any()
    assert np.allclose(again[NUMBERS].astype(float), expected[NUMBERS].astype(float), atol=1e-6)


def test_two_workers_give_the_same_table_and_keep_their_results_where_they_are_told(twelve, tmp_path, monkeypatch):
    monkeypatch.setenv("MOLFT_STAGES", str(tmp_path / "elsewhere"))  # what workers would find for themselves
    both = small_grid(tmp_path / "here", selections=["none"], methods=["full", "lora"], n_jobs=2)
    assert not (tmp_path / "elsewhere").exists()
    assert len(list((tmp_path / "here").glob("graded-*/record.json"))) == 2
    expected = twelve.query("selection == 'none' and method in ('full', 'lora')")
    assert np.allclose(both[NUMBERS].astype(float), expected[NUMBERS].astype(float), atol=1e-4)


def test_a_cell_on_record_depends_on_how_the_selecting_model_was_trained():
    cfg, faster = settings("smoke"), settings("smoke", learning_rate=5e-3)
    for name in ("influence/lora", "ts-dshapley/bitfit", "none/full"):
        assert variants.GRID[name].inputs(cfg) != variants.GRID[name].inputs(faster)
    alone = variants.GRID["none/lora"]  # has a rate of its own, and no other model before it
    assert alone.inputs(cfg) == alone.inputs(faster)
    assert variants.GRID["none/lora"].inputs(cfg) != variants.GRID["none/lora"].inputs(settings("smoke", lora_rank=2))
    assert variants.GRID["none/ia3"].inputs(cfg) == variants.GRID["none/ia3"].inputs(settings("smoke", lora_rank=2))


def test_unknown_names_are_refused():
    with pytest.raises(SettingsError, match="unknown prompt; choose from full"):
        run_grid(settings("smoke"), methods=["prompt"])
    with pytest.raises(SettingsError, match="unknown luck"):
        run_grid(settings("smoke"), selections=["luck"])


def test_processes_of_accelerate_share_the_cells(monkeypatch):
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert grid._share_of_this_process() == (1, 2)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1" and "WORLD_SIZE" not in os.environ
