"""Runs of the Trainer: they stop early, resume to the same end wherever their folder lies, and refuse another's."""

import numpy as np
import pandas as pd
import pytest
import torch

from molft_utils import StaleRunError, finetune, predict
from molft_utils.training import OneDevice, load_moments, molecule_batches, resolved_precision
from molft_utils.training.regression import set_dropout
from molft_utils.training.trainer import Progress


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


def test_an_interrupted_run_resumes_to_the_same_result(fit, interrupt, cfg, smiles, tmp_path):
    cfg = cfg.replace(learning_rate=0.1, epochs=4)
    whole = fit(cfg)
    assert whole.history["validation_loss"].idxmin() < 3, "the best epoch lies before the last"
    for half_written in (False, True):
        folder = tmp_path / str(half_written)
        interrupt(lambda run=folder: fit(cfg, run), epoch=3)
        if half_written:  # the Trainer writes this file last
            newest = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
            (newest / "trainer_state.json").unlink()
        resumed = fit(cfg, folder)
        pd.testing.assert_frame_equal(resumed.history, whole.history)
        np.testing.assert_allclose(predict(resumed.model, smiles), predict(whole.model, smiles), atol=1e-6)


def test_the_moments_of_each_epoch_survive_an_interruption(fresh, train, validation, interrupt, cfg, tmp_path):
    def moments(name, folder=None):
        finetune(fresh(), train, validation, cfg, folder, tmp_path / name)
        return load_moments(tmp_path / name)

    whole = moments("whole")
    interrupt(lambda: moments("parts", tmp_path / "run"), epoch=2)
    assert len(load_moments(tmp_path / "parts")) == 2
    for moment, same in zip(whole, moments("parts", tmp_path / "run"), strict=True):
        torch.testing.assert_close(same.parameters, moment.parameters)
        torch.testing.assert_close(same.second_moments, moment.second_moments)
    assert not torch.equal(*(moment.parameters["classifier.out_proj.weight"] for moment in whole[:2]))


def test_the_second_moment_after_one_step_is_the_squared_gradient(fresh, train, cfg, tmp_path):
    start = fresh()
    model = finetune(
        start, train, None, cfg.replace(epochs=1, batch_size=len(train), dropout=0.0), None, tmp_path
    ).model
    (moment,), again = load_moments(tmp_path), fresh().train()
    set_dropout(again, 0.0)
    again.config = model.config
    batch = molecule_batches(again, train, len(train))[0][0]
    again(**batch).loss.backward()
    torch.nn.utils.clip_grad_norm_(again.parameters(), 1.0)
    for name, p in again.named_parameters():
        torch.testing.assert_close(moment.parameters[name], model.get_parameter(name).detach(), rtol=1e-3, atol=1e-7)
        torch.testing.assert_close(moment.second_moments[name].sqrt(), p.grad.abs(), rtol=1e-2, atol=1e-6)


def test_patience_is_not_renewed_by_an_interruption_and_a_stopped_run_stays_stopped(fit, interrupt, cfg, tmp_path):
    stuck = cfg.replace(learning_rate=1e-9, epochs=9, patience=2)
    whole = fit(stuck)
    assert len(whole.history) == 3
    for epoch in (2, None):
        interrupt(lambda: fit(stuck, tmp_path / "run"), epoch=epoch)
    pd.testing.assert_frame_equal(fit(stuck, tmp_path / "run").history, whole.history)


def test_another_run_in_the_folder_is_refused_with_what_differs(fit, cfg, fresh, train, tmp_path):
    cfg = cfg.replace(epochs=1)
    model = fit(cfg, tmp_path).model
    fit(cfg.replace(checkpoint="/elsewhere"), tmp_path)  # the weights count, not where they lie
    with pytest.raises(StaleRunError, match=r"choose another output_dir.*\(learning_rate: 0\.03 -> 1e-05\)"):
        fit(cfg.replace(learning_rate=1e-5), tmp_path)
    with pytest.raises(StaleRunError, match="training: "):
        finetune(fresh(), train.head(20), train, cfg, tmp_path)
    for start in (model, fresh().requires_grad_(False)):
        with pytest.raises(StaleRunError, match="start: "):
            finetune(start, train, train, cfg, tmp_path)
    tmp_path.rename(tmp_path.with_name("renamed"))
    with pytest.raises(StaleRunError, match="folder: "):
        fit(cfg, tmp_path.with_name("renamed"))


def test_gradients_are_clipped_or_not(fit, cfg):
    """AdamW divides by the gradient's size, so only a limit far below its eps of 1e-8 stops the model."""
    stuck, free, loose = (fit(cfg.replace(clip=clip)).history["validation_loss"] for clip in (1e-20, None, 1e9))
    assert np.ptp(stuck) < 0.01 < np.ptp(free) and free.equals(loose)


def test_a_second_gpu_does_not_double_the_batch(tmp_path):
    arguments = OneDevice(output_dir=str(tmp_path), per_device_train_batch_size=8, use_cpu=True)
    arguments._n_gpu = 2  # what transformers finds on a machine with two
    assert arguments.train_batch_size == 8


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
