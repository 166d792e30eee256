"""Kills: few and short ones of real work; and the ledger, which must notice what is lost or computed twice."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from molft_utils.evaluation import records
from molft_utils.making import kills
from molft_utils.making.killed_works import Work
from molft_utils.making.kills import struck
from molft_utils.making.ledger import Ledger


def test_killed_at_a_random_moment_nothing_is_lost_or_computed_twice(tmp_path):
    """Of pretraining alone: the tests of the grid kill the other stages, and `make faults` all of them."""
    found = struck("pretraining", 1, tmp_path, seed=0)
    assert found["kills"] == 1 and found["finished"] > 0 and (found["lost"], found["twice"]) == (0, 0)


@pytest.fixture
def stage(tmp_path):
    """A folder with one result and one interrupted training of two epochs, seen by a ledger."""
    for path in ("a-1/record.json", *(f"b-2.partial/training/checkpoint-{n}/trainer_state.json" for n in (3, 6))):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text("{}")
    ledger = Ledger(tmp_path)
    ledger.look()
    assert (ledger.lost(), ledger.twice(), len(ledger)) == (0, 0, 3)
    return ledger


def test_a_result_that_is_gone_is_lost(stage):
    shutil.rmtree(stage.folder / "a-1")
    assert stage.lost() == 1


def test_a_result_that_is_written_again_was_computed_twice(stage):
    os.utime(stage.folder / "a-1" / "record.json", (1, 1))
    stage.look()
    assert (stage.lost(), stage.twice()) == (0, 1)


def test_an_epoch_is_lost_unless_a_later_one_or_the_result_is_there(stage):
    training = stage.folder / "b-2.partial" / "training"
    shutil.rmtree(training / "checkpoint-3")  # what the Trainer does when there is a later one
    assert stage.lost() == 0
    shutil.rmtree(training / "checkpoint-6")
    assert stage.lost() == 1
    (training / "checkpoint-9").mkdir()
    (training / "checkpoint-9" / "trainer_state.json").write_text("{}")
    assert stage.lost() == 0
    shutil.rmtree(training)
    (stage.folder / "b-2.partial" / "record.json").write_text("{}")
    (stage.folder / "b-2.partial").rename(stage.folder / "b-2")
    assert stage.lost() == 0


def test_an_epoch_that_is_written_again_was_computed_twice(stage):
    os.utime(stage.folder / "b-2.partial/training/checkpoint-6/trainer_state.json", (1, 1))
    stage.look()
    assert stage.twice() == 1


def test_a_half_written_epoch_is_none(stage):
    half = stage.folder / "b-2.partial" / "training" / "checkpoint-9"
    half.mkdir()
    (half / "trainer_state.json").write_text('{"epoch": ')
    stage.look()
    assert len(stage) == 3


def test_a_folder_that_vanishes_while_it_is_looked_at_stops_nobody(stage, monkeypatch):
    def vanishing(self, pattern):
        raise FileNotFoundError(self)

    monkeypatch.setattr(Path, "glob", vanishing)
    stage.look()
    assert len(stage) == 3


def test_a_banks_models_are_counted(stage):
    line = "bank, 1 of 2: subset {}, seed 0\n"
    (stage.folder / "log.txt").write_text(line.format(0) + line.format(1))
    predictions = np.array([[[1.0]], [[np.nan]]], np.float16)
    save_file({"test_predictions": predictions}, stage.folder / "bank.safetensors")
    assert (stage.lost(), stage.twice()) == (1, 0)
    (stage.folder / "log.txt").write_text(line.format(0) * 2)
    assert (stage.lost(), stage.twice()) == (0, 1)


def test_a_run_that_ends_otherwise_than_undisturbed_is_a_loss(tmp_path, monkeypatch):
    monkeypatch.setattr(kills, "undisturbed", lambda name, folder: (np.zeros(2), 1e-3))
    monkeypatch.setattr(kills, "started", lambda name, folder: Ended())
    monkeypatch.setattr(kills, "WORKS", {"work": Work(None, lambda folder: np.array([0.0, 1.0]))})
    assert struck("work", 0, tmp_path, 0)["lost"] == 0  # no round is run
    found = dict.fromkeys(("kills", "finished", "lost", "twice"), 0)
    kills.one_round("work", tmp_path, np.zeros(2), kills.random.Random(0), 0, 1e-3, found)
    assert found["lost"] == 1


class Ended:
    """A process that has done its work."""

    exitcode = 0

    def join(self, seconds=None):
        pass


def test_the_counts_go_on_record(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    monkeypatch.setattr(
        kills, "struck", lambda *given: {"kills": 5, "finished": 9, "lost": 1, "twice": 0, "seconds": 2}
    )
    monkeypatch.setattr("sys.argv", ["kills", "--kills", "10", "--stages", "bank", "grid"])
    with pytest.raises(SystemExit, match="2 results lost or computed twice"):
        kills.main()
    rows = records.read("faults")
    assert rows["stage"].tolist() == ["bank", "grid"] and rows["lost"].tolist() == [1, 1]
    assert json.loads(rows["inputs"][0])["seed"] == 0
