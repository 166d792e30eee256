"""Interrupted runs: they go on where they stopped, wherever their folder lies now, and never train too much."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from transformers import TrainingArguments, set_seed

from molft_utils import CheckpointError, StaleRunError, finetune, predict, settings
from molft_utils.experiments import pipeline, stages
from molft_utils.molformer import MolformerForMaskedLM, MolformerForSequenceClassification
from molft_utils.training import OneDevice
from molft_utils.training.trainer import Progress, start_hash

SMILES = [f"{'C' * i}{tail}" for i in range(1, 13) for tail in ("O", "N", "Cl", "F", "c1ccccc1")]
TABLE = pd.DataFrame({"smiles": SMILES, "label": [10 + 0.5 * s.count("C") - 2 * s.count("O") for s in SMILES]})
TRAIN, VALIDATION = TABLE.iloc[::2], TABLE.iloc[1::2]


class Stop(Exception):
    pass


@pytest.fixture
def cfg():
    return settings("smoke", learning_rate=0.03, epochs=4)


@pytest.fixture
def fit(tiny):
    tiny.problem_type = "regression"
    tiny.redraw_in_training = False

    def run(cfg, folder=None):
        set_seed(0)
        return finetune(MolformerForSequenceClassification(tiny), TRAIN, VALIDATION, cfg, folder)

    return run


@pytest.fixture
def interrupt(monkeypatch):
    """Run something that stops, as by a kill, once an epoch has been evaluated, or when training ends (``None``)."""

    def run(action, epoch):
        def stop(self, args, state, control, **kwargs):
            if epoch is None or state.epoch > epoch - 0.5:
                raise Stop

        with monkeypatch.context() as patch, pytest.raises(Stop):
            patch.setattr(Progress, "on_train_end" if epoch is None else "on_evaluate", stop)
            action()

    return run


def test_a_run_that_had_stopped_early_trains_no_epoch_more(fit, interrupt, cfg, tmp_path):
    stuck = cfg.replace(learning_rate=1e-9, epochs=9, patience=2)
    whole = fit(stuck, tmp_path / "whole")
    assert len(whole.history) == 3
    interrupt(lambda: fit(stuck, tmp_path / "cut"), epoch=None)
    resumed = fit(stuck, tmp_path / "cut")
    pd.testing.assert_frame_equal(resumed.history, whole.history)
    np.testing.assert_allclose(predict(resumed.model, SMILES), predict(whole.model, SMILES), atol=1e-6)


def test_a_moved_folder_is_gone_on_with_and_its_best_epoch_restored(fit, interrupt, cfg, tmp_path):
    cfg = cfg.replace(learning_rate=0.1)
    whole = fit(cfg)
    best = int(whole.history["validation_loss"].idxmin()) + 1
    assert best < 4, "the best epoch lies before the interruption"
    interrupt(lambda: fit(cfg, tmp_path / "here"), epoch=None)
    shutil.move(tmp_path / "here", tmp_path / "there")
    moved = fit(cfg, tmp_path / "there")
    pd.testing.assert_frame_equal(moved.history, whole.history)
    np.testing.assert_allclose(predict(moved.model, SMILES), predict(whole.model, SMILES), atol=1e-6)


def test_a_run_does_not_depend_on_where_its_checkpoint_lies_or_what_its_parameters_are_called(fit, cfg, tmp_path, tiny):
    fit(cfg.replace(epochs=1, checkpoint="/a"), tmp_path)
    fit(cfg.replace(epochs=1, checkpoint="/b"), tmp_path)
    model = MolformerForMaskedLM(tiny)
    before = start_hash(model)
    model.renamed = model.lm_head
    del model.lm_head
    assert start_hash(model) == before


def test_another_run_in_the_folder_is_named_with_what_differs(fit, cfg, tmp_path):
    fit(cfg.replace(epochs=1), tmp_path)
    with pytest.raises(CheckpointError, match=r"other settings or data.*learning_rate: 0\.03 -> 1e-05"):
        fit(cfg.replace(epochs=1, learning_rate=1e-5), tmp_path)
    with pytest.raises(StaleRunError):
        fit(cfg.replace(epochs=1, max_tokens=5), tmp_path)


def test_a_stage_whose_interrupted_run_does_not_fit_starts_again(interrupt, tmp_path, capsys):
    cfg = settings("smoke", limit=16, epochs=2)
    with stages.in_folder(tmp_path):
        interrupt(lambda: pipeline.baseline(cfg), epoch=1)
        (record,) = tmp_path.glob("regression-*.partial/training/run.json")
        record.write_text(json.dumps({**json.loads(record.read_text()), "start": "another code's"}))
        assert len(pipeline.baseline(cfg).history) == 2
    assert "starts again" in capsys.readouterr().out


def test_several_visible_gpus_do_not_multiply_the_batch(tmp_path):
    for kind, size in ((TrainingArguments, 16), (OneDevice, 8)):
        arguments = kind(output_dir=str(tmp_path), per_device_train_batch_size=8, use_cpu=True)
        arguments._n_gpu = 2  # what transformers finds on a machine with two
        assert arguments.train_batch_size == size
