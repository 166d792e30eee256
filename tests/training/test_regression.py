"""Fine-tuning on labels: what it learns, remembers, restores and refuses."""

import json

import numpy as np
import pytest
import torch

from molft_utils import DataError, DivergenceError, finetune, load_model, predict, settings


def test_it_learns_and_the_history_is_in_the_unit_of_the_labels(model, cfg, train, validation):
    fit = finetune(model, train, validation, cfg.replace(epochs=4))
    assert list(fit.history.columns) == ["epoch", "train_loss", "validation_loss"]
    assert list(fit.history["epoch"]) == [1, 2, 3, 4] and not fit.model.training and fit.seconds > 0
    mse = ((predict(fit.model, validation["smiles"]) - validation["label"]) ** 2).mean()
    assert mse < validation["label"].var()
    assert mse == pytest.approx(fit.history["validation_loss"].min(), rel=1e-3), "the best epoch is restored"


def test_labels_are_standardised_by_the_training_split_alone_or_stay_raw(fresh, cfg, train, validation):
    far = validation.assign(label=validation["label"] + 1000)
    config = finetune(fresh(), train, far, cfg.replace(epochs=1)).model.config
    found = config.label_mean, config.label_std
    assert found == pytest.approx((train["label"].mean(), train["label"].std(ddof=0))) and config.canonical_smiles
    raw = finetune(fresh(), train, None, settings("report", epochs=1, checkpoint="mini")).model.config
    assert (raw.label_mean, raw.label_std) == (0.0, 1.0) and not raw.canonical_smiles


def test_same_seed_same_model(fresh, cfg, train):
    cfg = cfg.replace(epochs=1, randomise=0.5)
    first, second = (predict(finetune(fresh(), train, None, cfg).model, train["smiles"]) for _ in range(2))
    assert np.array_equal(first, second)


def test_what_cannot_be_learnt_is_named(model, cfg, train, validation):
    with pytest.raises(DataError, match="validation table has no rows"):
        finetune(model, train, validation.head(0), cfg)
    for label in (float("inf"), float("nan")):
        broken = train.assign(label=[*train["label"][:3], label, *train["label"][4:]])
        with pytest.raises(DataError, match=r"training table, row 6: the label is (inf|nan)"):
            finetune(model, broken, validation, cfg)
    assert model.config.label_mean == 0, "a model is not changed by what is refused"


def test_divergence_is_named(model, cfg, train, validation):
    with torch.no_grad():
        model.classifier.out_proj.weight.fill_(float("nan"))
    with pytest.raises(DivergenceError, match="not finite; lower the learning rate"):
        finetune(model, train, validation, cfg)


def test_dropout_is_set_everywhere(model, cfg, train):
    finetune(model, train, None, cfg.replace(epochs=1, dropout=0.25))
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {0.25}


def test_what_predictions_need_travels_with_the_saved_model(model, cfg, train, smiles, tmp_path):
    fit = finetune(model, train, None, cfg.replace(epochs=1))
    fit.model.save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["canonical_smiles"] is True and stored["label_mean"] == pytest.approx(train["label"].mean())
    again = load_model(tmp_path, head="published")
    np.testing.assert_allclose(predict(again, smiles), predict(fit.model, smiles), atol=1e-6)
