"""Training: what it learns, remembers, restores and refuses."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import set_seed

from molft_utils import (
    CheckpointError,
    DataError,
    DivergenceError,
    finetune,
    load_model,
    predict,
    pretrain_mlm,
    settings,
)
from molft_utils.molformer import MolformerForMaskedLM, MolformerForSequenceClassification
from molft_utils.training.mlm import masked_scores
from molft_utils.training.regression import set_dropout
from molft_utils.training.run_folder import resume_point
from molft_utils.training.trainer import Progress, mixed_precision

SMILES = [f"{'C' * i}{tail}" for i in range(1, 13) for tail in ("O", "N", "Cl", "F", "c1ccccc1")]
TABLE = pd.DataFrame({"smiles": SMILES, "label": [10 + 0.5 * s.count("C") - 2 * s.count("O") for s in SMILES]})
TRAIN, VALIDATION = TABLE.iloc[::2], TABLE.iloc[1::2]


@pytest.fixture
def cfg():
    return settings("smoke", learning_rate=3e-3, epochs=3)


@pytest.fixture
def model(tiny):
    set_seed(0)
    tiny.redraw_in_training = False
    tiny.problem_type = "regression"
    return MolformerForSequenceClassification(tiny)


def test_it_learns_and_keeps_the_history(model, cfg):
    fit = finetune(model, TRAIN, VALIDATION, cfg)
    assert list(fit.history.columns) == ["epoch", "train_loss", "validation_loss"] and list(fit.history["epoch"]) == [
        1,
        2,
        3,
    ]
    spread = VALIDATION["label"].var()
    rmse = np.sqrt(((predict(fit.model, VALIDATION["smiles"]) - VALIDATION["label"]) ** 2).mean())
    assert rmse**2 < spread and not fit.model.training and fit.seconds > 0


def test_history_is_in_the_unit_of_the_labels_and_the_best_epoch_is_restored(model, cfg):
    fit = finetune(model, TRAIN, VALIDATION, cfg.replace(learning_rate=0.03, epochs=4))
    mse = ((predict(fit.model, VALIDATION["smiles"]) - VALIDATION["label"]) ** 2).mean()
    assert mse == pytest.approx(fit.history["validation_loss"].min(), rel=1e-3)


def test_standardisation_uses_the_training_split_alone(model, cfg):
    far = VALIDATION.assign(label=VALIDATION["label"] + 1000)
    fit = finetune(model, TRAIN, far, cfg.replace(epochs=1))
    assert fit.model.config.label_mean == pytest.approx(TRAIN["label"].mean())
    assert fit.model.config.label_std == pytest.approx(TRAIN["label"].std(ddof=0))


def test_raw_labels_when_standardisation_is_off(model, cfg):
    fit = finetune(model, TRAIN, VALIDATION, cfg.replace(epochs=1, standardise=False))
    assert (fit.model.config.label_mean, fit.model.config.label_std) == (0.0, 1.0)


def test_same_seed_same_model(tiny, cfg):
    tiny.problem_type = "regression"
    predictions = []
    for _ in range(2):
        set_seed(0)
        fit = finetune(
            MolformerForSequenceClassification(tiny), TRAIN, VALIDATION, cfg.replace(epochs=1, randomise=0.5)
        )
        predictions.append(predict(fit.model, VALIDATION["smiles"]))
    assert np.array_equal(*predictions)


class Stop(Exception):
    pass


def test_an_interrupted_run_resumes_to_the_same_result(tiny, cfg, tmp_path, monkeypatch):
    tiny.problem_type = "regression"

    def fresh():
        set_seed(0)
        return MolformerForSequenceClassification(tiny)

    whole = finetune(fresh(), TRAIN, VALIDATION, cfg, tmp_path / "whole")

    original = Progress.on_evaluate

    def stop_in_the_second_epoch(self, args, state, control, metrics, **kwargs):
        original(self, args, state, control, metrics, **kwargs)
        if state.epoch > 1.5:
            raise Stop

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Progress, "on_evaluate", stop_in_the_second_epoch)
        finetune(fresh(), TRAIN, VALIDATION, cfg, tmp_path / "cut")
    resumed = finetune(fresh(), TRAIN, VALIDATION, cfg, tmp_path / "cut")
    pd.testing.assert_frame_equal(resumed.history, whole.history)
    np.testing.assert_allclose(predict(resumed.model, SMILES), predict(whole.model, SMILES), atol=1e-6)


def test_patience_is_not_renewed_by_an_interruption(tiny, cfg, tmp_path, monkeypatch):
    tiny.problem_type = "regression"
    stuck = cfg.replace(learning_rate=1e-9, epochs=9, patience=3)

    def fit(folder):
        set_seed(0)
        return finetune(MolformerForSequenceClassification(tiny), TRAIN, VALIDATION, stuck, tmp_path / folder)

    def stop_in_the_third_epoch(self, args, state, control, **kwargs):
        if state.epoch > 2.5:
            raise Stop

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Progress, "on_evaluate", stop_in_the_third_epoch)
        fit("cut")
    assert len(fit("cut").history) == len(fit("whole").history) == 4


def test_half_written_checkpoints_are_passed_over(tmp_path):
    stamp = {"settings": 1}
    for step, state in ((10, "{}"), (20, '{"epoch": ')):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    (tmp_path / "checkpoint-30").mkdir()
    assert resume_point(tmp_path, stamp) == str(tmp_path / "checkpoint-10")
    assert sorted(p.name for p in tmp_path.glob("checkpoint-*")) == ["checkpoint-10"]


def test_a_folder_with_another_run_is_refused(model, cfg, tmp_path):
    finetune(model, TRAIN, VALIDATION, cfg.replace(epochs=1), tmp_path)
    with pytest.raises(CheckpointError, match="other settings or data; choose another output_dir"):
        finetune(model, TRAIN, VALIDATION, cfg.replace(epochs=1, learning_rate=1e-5), tmp_path)
    with pytest.raises(CheckpointError, match="other settings or data"):  # the model has been trained since
        finetune(model, TRAIN, VALIDATION, cfg.replace(epochs=1), tmp_path)


def test_early_stopping(model, cfg):
    fit = finetune(model, TRAIN, VALIDATION, cfg.replace(learning_rate=1e-7, epochs=20, patience=2))
    assert len(fit.history) <= 4


def test_empty_tables_and_divergence_are_named(model, cfg):
    with pytest.raises(DataError, match="validation table has no rows"):
        finetune(model, TRAIN, VALIDATION.head(0), cfg)
    with torch.no_grad():
        model.classifier.out_proj.weight.fill_(float("nan"))
    with pytest.raises(DivergenceError, match="not finite; lower the learning rate"):
        finetune(model, TRAIN, VALIDATION, cfg)


@pytest.mark.parametrize("label", [float("inf"), float("nan")])
def test_a_label_that_is_not_finite_is_named_with_its_row(model, cfg, label):
    broken = TRAIN.assign(label=[*TRAIN["label"][:3], label, *TRAIN["label"][4:]])
    with pytest.raises(DataError, match=r"training table, row 6: the label is (inf|nan)"):
        finetune(model, broken, VALIDATION, cfg)


def test_a_language_model_that_diverges_is_named(tiny, cfg):
    with torch.no_grad():
        (lm := MolformerForMaskedLM(tiny)).lm_head.decoder.weight.fill_(float("nan"))
    with pytest.raises(DivergenceError, match="not finite"):
        pretrain_mlm(lm, SMILES, cfg)


def test_masked_language_modelling_lowers_its_loss(tiny, cfg):
    set_seed(0)
    lm = MolformerForMaskedLM(tiny)
    before = masked_scores(lm, SMILES)
    fit = pretrain_mlm(lm, SMILES, cfg.replace(mlm_learning_rate=3e-3, mlm_epochs=4), VALIDATION["smiles"])
    after = masked_scores(fit.model, SMILES)
    assert after.loss < before.loss and after.n == before.n > 0
    assert fit.history["validation_loss"].iloc[-1] < fit.history["validation_loss"].iloc[0]
    without = pretrain_mlm(lm, SMILES, cfg)
    assert list(without.history.columns) == ["epoch", "train_loss"]
    with pytest.raises(DataError, match="no SMILES"):
        pretrain_mlm(lm, [], cfg)


def test_dropout_and_precision_switches(model, monkeypatch):
    set_dropout(model, 0.25)
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {0.25}
    assert mixed_precision("fp16") == {"fp16": True, "bf16": False, "use_cpu": False}
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (7, 5))
    assert mixed_precision("auto") == {"fp16": True, "bf16": False, "use_cpu": False}, "a T4"
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (8, 0))
    assert mixed_precision("auto") == {"fp16": False, "bf16": True, "use_cpu": False}


def test_predictions_are_in_full_precision_after_mixed_training(model, cfg):
    fit = finetune(model, TRAIN, VALIDATION, cfg.replace(epochs=1, precision="bf16"))
    ids = torch.tensor([[0, 5, 6, 1]])
    with torch.inference_mode():
        assert torch.equal(fit.model(ids).logits, type(fit.model).forward(fit.model, ids).logits)


def test_a_model_of_the_report_profile_takes_smiles_as_they_stand(model):
    fit = finetune(model, TRAIN, VALIDATION, settings("report", epochs=1, checkpoint="mini"))
    assert fit.model.config.canonical_smiles is False and fit.model.config.label_std == 1.0


def test_settings_travel_with_the_saved_model(model, cfg, tmp_path):
    fit = finetune(model, TRAIN, VALIDATION, cfg.replace(epochs=1, n_random=2))
    fit.model.save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["canonical_smiles"] is True and stored["n_random"] == 2
    np.testing.assert_allclose(
        predict(load_model(tmp_path, head="published"), SMILES), predict(fit.model, SMILES), atol=1e-6
    )
