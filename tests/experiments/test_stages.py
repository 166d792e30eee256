"""Stages: run once, whole or absent, safe for two processes."""

import json
import multiprocessing
import time

import pytest

from molft_utils import CheckpointError
from molft_utils.experiments.stages import fingerprint, run_stage
from molft_utils.files import write_atomically


def count_and_write(folder):
    time.sleep(0.3)
    with open(folder.parent / "calls", "a") as file:
        file.write("x")
    (folder / "value.txt").write_text("42")
    return {"value": 42}


def test_a_second_run_is_free(tmp_path):
    first = run_stage("answer", {"a": 1}, count_and_write, tmp_path)
    second = run_stage("answer", {"a": 1}, count_and_write, tmp_path)
    assert not first.reused and second.reused and second.record["value"] == 42
    assert (tmp_path / "calls").read_text() == "x"
    assert second.record["inputs"] == {"a": 1}


def test_other_inputs_are_another_result(tmp_path):
    folders = {run_stage("answer", {"a": i}, count_and_write, tmp_path).folder for i in (1, 2)}
    assert len(folders) == 2
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 3})


def test_an_interrupted_stage_leaves_no_result_and_finds_its_files_again(tmp_path):
    def interrupted(folder):
        (folder / "half").write_text("so far")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage("answer", {}, interrupted, tmp_path)
    assert not list(tmp_path.glob("answer-*/record.json"))
    found = run_stage("answer", {}, lambda folder: {"half": (folder / "half").read_text()}, tmp_path)
    assert found.record["half"] == "so far"


def test_a_damaged_result_is_named(tmp_path):
    folder = run_stage("answer", {}, count_and_write, tmp_path).folder
    (folder / "record.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"damaged.*delete this folder"):
        run_stage("answer", {}, count_and_write, tmp_path)


def test_two_processes_run_a_stage_once(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=run_stage, args=("answer", {}, count_and_write, tmp_path)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert (tmp_path / "calls").read_text() == "x"


def test_files_are_written_whole(tmp_path):
    path = tmp_path / "deep" / "file.json"
    write_atomically(path, json.dumps({"a": 1}))
    write_atomically(path, json.dumps({"a": 2}))
    assert json.loads(path.read_text()) == {"a": 2} and [p.name for p in path.parent.iterdir()] == ["file.json"]
