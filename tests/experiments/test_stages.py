"""Stages: run once, whole or absent, safe for two processes, and told apart by all that they depend on."""

import json
import multiprocessing
import time

import pytest

from molft_utils import settings
from molft_utils.experiments import pipeline, selection, stages
from molft_utils.experiments.stages import Kind, in_folder, inputs_of, run_stage
from molft_utils.groups import GROUPS

ANSWER = Kind("answer", 1)


def count_and_write(folder, given):
    time.sleep(0.3)
    with open(folder.parent / "calls", "a") as file:
        file.write("x")
    (folder / "value.txt").write_text("42")
    return {"value": 42}


def answer(folder, a=1, compute=count_and_write):
    with in_folder(folder):
        return run_stage(ANSWER, None, {"a": a}, compute)


def test_a_second_run_is_free(tmp_path):
    first, second = answer(tmp_path), answer(tmp_path)
    assert not first.reused and second.reused and second.record["value"] == 42
    assert (tmp_path / "calls").read_text() == "x"
    assert second.record["inputs"]["key"] == {"a": 1} and second.record["commit"] == stages.commit()


def test_another_key_is_another_result(tmp_path):
    assert len({answer(tmp_path, i).folder for i in (1, 2)}) == 2


def test_an_interrupted_stage_leaves_no_result_and_finds_its_files_again(tmp_path):
    def interrupted(folder, given):
        (folder / "half").write_text("so far")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answer(tmp_path, compute=interrupted)
    assert not list(tmp_path.glob("answer-*/record.json"))
    result = answer(tmp_path, compute=lambda folder, given: {"half": (folder / "half").read_text()})
    assert result.record["half"] == "so far"


def test_two_processes_run_a_stage_once(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=answer, args=(tmp_path,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert (tmp_path / "calls").read_text() == "x"


# What a result depends on


@pytest.mark.parametrize(
    "change",
    [dict(epochs=9), dict(seed=9), dict(canonical=False), dict(patience=9), dict(randomise=0.5), dict(split_seed=9)],
    ids=str,
)
def test_every_setting_of_its_groups_is_an_input(change):
    cfg = settings("smoke")
    assert inputs_of(cfg, pipeline.REGRESSION) != inputs_of(cfg.replace(**change), pipeline.REGRESSION)


@pytest.mark.parametrize("change", [dict(mlm_epochs=9), dict(lora_rank=9), dict(shapley_alpha=9.0)], ids=str)
def test_a_setting_of_another_group_is_none(change):
    cfg = settings("smoke")
    assert inputs_of(cfg, pipeline.REGRESSION) == inputs_of(cfg.replace(**change), pipeline.REGRESSION)


def test_a_stage_depends_on_what_the_stages_before_it_depend_on():
    cfg = settings("smoke")
    for kind in (pipeline.AFTER_MLM, selection.INFLUENCE, selection.SHAPLEY):
        assert inputs_of(cfg, kind)["stages"]["mlm"] == pipeline.MLM.version
        assert inputs_of(cfg, kind) != inputs_of(cfg.replace(mlm_epochs=9), kind)


def test_a_version_libraries_device_and_precision_are_inputs(monkeypatch):
    cfg = settings("smoke", precision="auto")
    before = inputs_of(cfg, pipeline.REGRESSION)
    assert before["training"]["precision"] in ("fp32", "bf16") and before["device"] == "cpu"
    assert set(before["libraries"]) == {"torch", "transformers", "peft", "rdkit"}
    newer = Kind("regression", pipeline.REGRESSION.version + 1, pipeline.REGRESSION.groups)
    assert inputs_of(cfg, newer) != before
    monkeypatch.setattr(stages, "_release", lambda name: "9.9")
    assert inputs_of(cfg, pipeline.REGRESSION) != before


def test_a_checkpoints_weights_and_configuration_are_inputs_and_its_place_is_none(tmp_path):
    from molft_utils import load_model

    for name, p in (("here", 0.1), ("there", 0.1), ("other", 0.3)):
        load_model("mini", task="mlm", hidden_dropout_prob=p).save_pretrained(tmp_path / name)
    here, there, other = (
        inputs_of(settings("smoke", checkpoint=tmp_path / name), pipeline.REGRESSION)
        for name in ("here", "there", "other")
    )
    assert here == there and here != other
    json.dumps(here)  # a Path would fail


@pytest.mark.parametrize("group", list(GROUPS))
def test_what_is_not_fingerprinted_cannot_be_read(tmp_path, group):
    def reading(folder, given):
        field = next(iter(GROUPS[group].__dataclass_fields__))
        return {"read": str(getattr(getattr(given, group), field))}

    with in_folder(tmp_path):
        run_stage(Kind("reader", 1, (group,)), settings("smoke"), {}, reading)
        with pytest.raises(AttributeError, match=f"but {group} is not among its groups"):
            run_stage(Kind("reader", 2, ()), settings("smoke"), {}, reading)


def test_a_stage_that_is_made_again_says_why(tmp_path, capsys):
    kind = Kind("chosen", 1, ("training", "mlm"))
    with in_folder(tmp_path):
        for cfg in (settings("smoke"), settings("smoke", seed=1), settings("smoke", mlm_epochs=7, patience=6)):
            run_stage(kind, cfg, {}, lambda folder, given: {})
            said = capsys.readouterr().err
    assert said == "chosen: made again, as this changed: mlm.epochs: 1 -> 7; training.patience: 5 -> 6\n"
