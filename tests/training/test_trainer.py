"""Runs of the Trainer: they stop early, resume to the same end wherever their folder lies, and refuse another's."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import TrainingArguments

from molft_utils import CheckpointError, StaleRunError, finetune, predict
from molft_utils.training import OneDevice, resolved_precision
from molft_utils.training.trainer import Progress, start_hash


class Stop(Exception):
    pass


@pytest.fixture
def fit(fresh, train, validation):
    return lambda cfg, folder=None: finetune(fresh(), train, validation, cfg, folder)


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


@pytest.fixture
def interrupted(fit, interrupt, cfg, tmp_path):
    """The folder of a run that was stopped in its third epoch, after the checkpoints of the first two."""
    interrupt(lambda: fit(cfg, tmp_path / "run"), epoch=3)
    return tmp_path / "run"


def assert_same_end(resumed, whole, smiles):
    pd.testing.assert_frame_equal(resumed.history, whole.history)
    np.testing.assert_allclose(predict(resumed.model, smiles), predict(whole.model, smiles), atol=1e-6)


def test_an_interrupted_run_resumes_to_the_same_result(fit, interrupted, cfg, smiles):
    assert_same_end(fit(cfg, interrupted), fit(cfg), smiles)


def test_a_half_written_checkpoint_is_passed_over(fit, interrupted, cfg, smiles):
    newest = max(interrupted.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    (newest / "trainer_state.json").unlink()  # the Trainer writes it last
    assert_same_end(fit(cfg, interrupted), fit(cfg), smiles)


def test_patience_is_not_renewed_by_an_interruption_and_a_stopped_run_stays_stopped(fit, interrupt, cfg, tmp_path):
    stuck = cfg.replace(learning_rate=1e-9, epochs=9, patience=3)
    whole = fit(stuck)
    assert len(whole.history) == 4
    for epoch in (3, None):
        interrupt(lambda: fit(stuck, tmp_path / "run"), epoch=epoch)
    pd.testing.assert_frame_equal(fit(stuck, tmp_path / "run").history, whole.history)


def test_the_best_epoch_is_restored_from_a_folder_that_was_renamed(fit, interrupt, cfg, smiles, tmp_path):
    cfg = cfg.replace(learning_rate=0.1, epochs=4)
    whole = fit(cfg)
    assert whole.history["validation_loss"].idxmin() < 3, "the best epoch lies before the interruption"
    interrupt(lambda: fit(cfg, tmp_path / "here"), epoch=None)
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert_same_end(fit(cfg, tmp_path / "there"), whole, smiles)


def test_another_run_in_the_folder_is_refused_with_what_differs(fit, cfg, fresh, train, tmp_path):
    cfg = cfg.replace(epochs=1)
    model = fit(cfg, tmp_path).model
    fit(cfg.replace(checkpoint="/elsewhere"), tmp_path)  # the weights count, not where they lie
    with pytest.raises(StaleRunError, match=r"choose another output_dir.*\(learning_rate: 0\.03 -> 1e-05\)"):
        fit(cfg.replace(learning_rate=1e-5), tmp_path)
    with pytest.raises(StaleRunError, match="max_tokens"):
        fit(cfg.replace(max_tokens=50), tmp_path)
    with pytest.raises(StaleRunError, match="training: "):
        finetune(fresh(), train.head(20), train, cfg, tmp_path)
    with pytest.raises(StaleRunError, match="start: "):
        finetune(model, train, train, cfg, tmp_path)


def test_a_run_with_other_frozen_weights_starts_elsewhere(model, fresh):
    before = start_hash(model)
    assert start_hash(fresh()) == before
    model.molformer.LayerNorm.bias.requires_grad_(False)
    assert start_hash(model) != before


def test_a_planted_pickle_is_refused_and_not_run(fit, interrupted, cfg, tmp_path):
    class Planted:
        def __reduce__(self):
            return open, (str(tmp_path / "it ran"), "w")

    for checkpoint in interrupted.glob("checkpoint-*"):
        torch.save({"state": Planted()}, checkpoint / "optimizer.pt")
    with pytest.raises(CheckpointError, match="holds a file that is no plain tensor, and is not read; delete it"):
        fit(cfg, interrupted)
    assert not (tmp_path / "it ran").exists()


def test_several_visible_gpus_do_not_multiply_the_batch(tmp_path):
    for kind, size in ((TrainingArguments, 16), (OneDevice, 8)):
        arguments = kind(output_dir=str(tmp_path), per_device_train_batch_size=8, use_cpu=True)
        arguments._n_gpu = 2  # what transformers finds on a machine with two
        assert arguments.train_batch_size == size


def test_precision_follows_the_hardware(monkeypatch):
    assert resolved_precision("fp16") == "fp16"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (7, 5))
    assert resolved_precision("auto") == "fp16", "a T4"
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (8, 0))
    assert resolved_precision("auto") == "bf16"


def test_predictions_are_in_full_precision_after_mixed_training(fit, cfg):
    model = fit(cfg.replace(epochs=1, precision="bf16")).model
    ids = torch.tensor([[0, 5, 6, 1]])
    with torch.inference_mode():
        assert torch.equal(model(ids).logits, type(model).forward(model, ids).logits)
