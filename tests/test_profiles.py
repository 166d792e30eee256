"""Profiles, overrides, and clear words about unknown ones."""

import dataclasses

import pytest

from molft_utils import SettingsError, settings


def test_report_profile_holds_the_settings_of_the_report():
    cfg = settings("report")
    assert (cfg.checkpoint, cfg.learning_rate, cfg.batch_size, cfg.epochs, cfg.mlm_epochs) == ("xl", 1e-7, 16, 20, 10)
    assert (cfg.patience, cfg.min_delta, cfg.weight_decay, cfg.warmup) == (5, 0.001, 0.0, 0.0)
    assert (cfg.standardise, cfg.canonical, cfg.head, cfg.max_tokens) == (False, False, "linear", 128)


def test_profile_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("MOLFT_PROFILE", "report")
    assert settings().profile == "report"
    monkeypatch.delenv("MOLFT_PROFILE")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert settings().profile == "class"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert settings().profile == "best"


def test_overrides_and_best_settings_for_the_mini():
    assert settings("class", epochs=3).epochs == 3
    assert settings("best").checkpoint == "xl"
    mini = settings("best", checkpoint="mini", seed=4)
    assert mini.seed == 4 and mini.learning_rate > settings("best").learning_rate


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings("class").epochs = 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: settings("fast"), "unknown profile 'fast'; choose one of smoke, class, report, best"),
        (lambda: settings("class", lr=1), "unknown setting lr; known are .*learning_rate"),
        (lambda: settings("class").replace(epoch=1), "unknown setting epoch"),
        (lambda: settings("class", epochs=0), "epochs is 0; it must be above zero"),
        (lambda: settings("class", precision="half"), "choose auto, fp32, fp16 or bf16"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(SettingsError, match=message):
        call()
