"""Cached results: computed once, whole or absent, safe for two processes, and told apart by all that they depend on."""

import errno
import json
import multiprocessing
import time

import pandas as pd
import pytest
from safetensors import SafetensorError

from molft_utils import cache, load_model, settings
from molft_utils.cache import Kind, cached, digits, inputs_of
from molft_utils.errors import StorageError
from molft_utils.experiments import pipeline, rules, selection
from molft_utils.settings import KNOWN, Settings

ANSWER = Kind("answer", 1)


@pytest.fixture(autouse=True)
def stages(tmp_path, monkeypatch):
    monkeypatch.setenv("MOLFT_STAGES", str(tmp_path / "stages"))
    return tmp_path / "stages"


def count_and_write(folder):
    time.sleep(0.3)
    with open(folder.parent / "calls", "a") as file:
        file.write("x")
    return {"value": 42}


def answer(a=1, compute=count_and_write):
    return cached(ANSWER, None, {"a": a}, compute)


def test_a_second_run_is_free(stages):
    first, second = answer(), answer()
    assert not first.reused and second.reused and second.record["value"] == 42
    assert (stages / "calls").read_text() == "x" and answer(2).folder != first.folder


def test_an_interrupted_result_is_absent_and_finds_its_files_again(stages):
    def interrupted(folder):
        (folder / "half").write_text("so far")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answer(compute=interrupted)
    assert not list(stages.glob("answer-*/record.json"))
    assert answer(compute=lambda folder: {"half": (folder / "half").read_text()}).record["half"] == "so far"


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OSError(errno.EIO, "Input/output error"), "empty its bin"),
        (OSError(errno.ENOTCONN, "Transport endpoint is not connected"), "restart the runtime"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 16000 vs 15892"), "the disk is full"),
    ],
    ids=str,
)
def test_a_disk_that_fails_is_named_with_its_remedy_and_the_result_can_be_had_later(error, remedy):
    def failing(folder):
        raise error

    with pytest.raises(StorageError, match=remedy):
        answer(compute=failing)
    assert answer().record["value"] == 42


def test_another_error_stays_what_it_is():
    def failing(folder):
        raise FileNotFoundError(errno.ENOENT, "mine")

    with pytest.raises(FileNotFoundError, match="mine"):
        answer(compute=failing)


def test_two_processes_compute_a_result_once(stages):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=answer) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert (stages / "calls").read_text() == "x"


def test_stages_may_lie_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MOLFT_STAGES", "~/mine")
    assert answer().folder.parent == tmp_path / "mine"


# What a result depends on


@pytest.mark.parametrize("change", [dict(epochs=9), dict(seed=9), dict(canonical=False), dict(split_seed=9)], ids=str)
def test_every_setting_of_its_groups_is_an_input(change):
    cfg = settings("smoke")
    assert inputs_of(cfg, pipeline.REGRESSION) != inputs_of(cfg.replace(**change), pipeline.REGRESSION)
    assert digits(cfg, pipeline.REGRESSION) != digits(cfg.replace(**change), pipeline.REGRESSION)


@pytest.mark.parametrize("change", [dict(mlm_epochs=9), dict(lora_rank=9), dict(shapley_alpha=9.0)], ids=str)
def test_a_setting_of_another_group_is_none(change):
    cfg = settings("smoke")
    assert inputs_of(cfg, pipeline.REGRESSION) == inputs_of(cfg.replace(**change), pipeline.REGRESSION)
    for kind in (selection.INFLUENCE, selection.SHAPLEY, selection.KERNEL, selection.POOLED):
        depends = "mlm_epochs" in change or ("shapley_alpha" in change and kind is selection.SHAPLEY)
        assert (digits(cfg, kind) != digits(cfg.replace(**change), kind)) == depends


def test_versions_libraries_device_and_precision_are_inputs_but_not_of_the_digits(monkeypatch):
    cfg = settings("smoke", precision="auto")
    before, same = inputs_of(cfg, pipeline.REGRESSION), digits(cfg, pipeline.REGRESSION)
    assert before["settings"]["precision"] in ("fp32", "bf16") and before["device"] == "cpu"
    assert {"torch", "scikit-learn", "scipy", "numpy", "rdkit"} <= set(before["libraries"])
    newer = Kind("regression", pipeline.REGRESSION.version + 1, pipeline.REGRESSION.groups)
    assert inputs_of(cfg, newer) != before and digits(cfg, newer) != same
    monkeypatch.setattr(cache, "version", lambda name: "9.9")
    assert inputs_of(cfg, pipeline.REGRESSION) != before and digits(cfg, pipeline.REGRESSION) == same


def test_the_digits_are_equal_on_every_machine():
    """Written down once: they depend on committed files and settings, and on no library, processor or path."""
    assert digits(settings("class"), pipeline.AFTER_MLM, rule="all") == "8392085dde5c"
    assert digits(settings("class"), pipeline.AFTER_MLM, rule="none") != "8392085dde5c"


def test_a_checkpoints_weights_and_configuration_are_inputs_and_its_place_is_none(tmp_path):
    for name, p in (("here", 0.1), ("there", 0.1), ("other", 0.3)):
        load_model("mini", task="mlm", hidden_dropout_prob=p).save_pretrained(tmp_path / name)
    here, there, other = (
        inputs_of(settings("smoke", checkpoint=tmp_path / name), pipeline.REGRESSION)
        for name in ("here", "there", "other")
    )
    assert here == there and here != other
    json.dumps(here)  # a Path would fail


def test_a_tables_content_is_an_input_and_its_place_is_none(tmp_path):
    here, there = tmp_path / "here.csv", tmp_path / "there.csv"
    for path in (here, there):
        path.write_text("smiles,value\nCCO,0.0\nCCN,1.0\n")
    before = inputs_of(settings("smoke", table=here), pipeline.REGRESSION)
    assert before == inputs_of(settings("smoke", table=there), pipeline.REGRESSION)
    here.write_text("smiles,value\nCCO,0.0\nCCN,2.0\n")
    assert before != inputs_of(settings("smoke", table=here), pipeline.REGRESSION)


def test_a_corrected_label_is_trained_on_in_the_same_kernel(tmp_path):
    """A result that is stored under a file's hash was made from this content, whatever was loaded before."""
    path, cfg = tmp_path / "mine.csv", settings("smoke", table=tmp_path / "mine.csv", target="value", epochs=1)
    table = pd.read_csv(cache.DATA_FOLDER / "logp.csv").head(60).rename(columns={"label": "value"})
    table[["smiles", "value"]].to_csv(path, index=False)
    before = pipeline.graded(pipeline.baseline(cfg), cfg).row["rmse"]
    table[["smiles", "value"]].assign(value=table["value"] + 100).to_csv(path, index=False)
    assert pipeline.tables(cfg).test["label"].min() > 50
    after = pipeline.graded(pipeline.baseline(cfg), cfg).row["rmse"]
    assert before != after and pipeline.fingerprint_predictions(cfg)["SVR on ECFP4"].min() > 50


def test_a_result_that_is_computed_again_says_why(capsys):
    kind = Kind("chosen", 1, ("training", "mlm"))
    for cfg in (settings("smoke"), settings("smoke", seed=1), settings("smoke", mlm_epochs=7, patience=6)):
        cached(kind, cfg, {}, lambda folder: {})
        said = capsys.readouterr().err
    assert said == "chosen: computed again, as this changed: settings.mlm_epochs: 1 -> 7; settings.patience: 5 -> 6\n"


def test_a_result_reads_only_the_settings_that_it_names(monkeypatch):
    """Every cached result of a small run: what ``compute`` reads is in its fingerprint."""
    computing, read = [], {}
    plain, original = object.__getattribute__, cache.cached

    def watched(self, name):
        if computing and name in KNOWN:
            read.setdefault(computing[-1], set()).add(name)
        return plain(self, name)

    def watching(kind, cfg, key, compute):
        def inside(folder):
            computing.append(kind)
            try:
                return compute(folder)
            finally:
                computing.pop()

        computing.append(None)  # what is read for the fingerprint is no input by itself
        try:
            return original(kind, cfg, key, inside)
        finally:
            computing.pop()

    for module in (pipeline, selection):
        monkeypatch.setattr(module, "cached", watching)
    monkeypatch.setattr(Settings, "__getattribute__", watched)
    cfg = settings("smoke", limit=16, epochs=1, influence_depth=2, influence_batch_size=8, shapley_subset=8)
    for method in ("full", "lora"):
        pipeline.graded(pipeline.after_mlm(cfg, None, method), cfg)
    pipeline.fingerprint_predictions(cfg)
    for name in ("top 100", "ts-dshapley"):
        rules.training_table(cfg, selection.secondary_table(cfg), name)
    seen = {kind.name for kind in read if kind}
    assert seen >= {"regression", "mlm", "graded", "fingerprints", "influence", "shapley"}
    for kind in filter(None, read):
        named = {name for one in kind.all() for part in one.groups for name in cache.group(part)}
        assert read[kind] <= named, kind.name
