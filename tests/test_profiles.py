"""Profiles, overrides, and clear words about unknown ones."""

import copy
import dataclasses
import pickle

import pytest

from molft_utils import SettingsError, settings
from molft_utils.groups import Mlm


def test_report_profile_holds_the_settings_of_the_report():
    cfg = settings("report")
    assert (cfg.checkpoint, cfg.learning_rate, cfg.batch_size, cfg.epochs, cfg.mlm_epochs) == ("xl", 1e-7, 16, 20, 10)
    assert (cfg.patience, cfg.min_delta, cfg.weight_decay, cfg.warmup) == (5, 0.001, 0.0, 0.0)
    assert (cfg.standardise, cfg.canonical, cfg.head, cfg.max_tokens) == (False, False, "linear", 128)


def test_profile_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("MOLFT_PROFILE", "report")
    assert settings().profile == "report"
    monkeypatch.delenv("MOLFT_PROFILE")
    for gpu in (False, True):  # one default everywhere: the one that was tested
        monkeypatch.setattr("torch.cuda.is_available", lambda there=gpu: there)
        assert settings().profile == "class"


def test_overrides_and_best_settings_for_the_mini():
    assert settings("class", epochs=3).epochs == 3
    assert settings("best").checkpoint == "xl"
    mini = settings("best", checkpoint="mini", seed=4)
    assert mini.seed == 4 and mini.learning_rate > settings("best").learning_rate


@pytest.mark.parametrize("profile", ["best", "class", "smoke"])
def test_the_checkpoint_decides_on_the_learning_rates_whenever_it_is_given(profile, tmp_path):
    for checkpoint in ("mini", "xl"):
        assert settings(profile).replace(checkpoint=checkpoint) == settings(profile, checkpoint=checkpoint)
    (tmp_path / "config.json").write_text('{"hidden_size": 768}')
    folder, xl = settings(profile, checkpoint=tmp_path), settings(profile, checkpoint="xl")
    assert folder.peft == xl.peft and folder.mlm == xl.mlm and folder.regression == xl.regression
    (tmp_path / "config.json").write_text('{"hidden_size": 128}')
    folder, mini = settings(profile).replace(checkpoint=tmp_path), settings(profile, checkpoint="mini")
    assert folder.peft == mini.peft and folder.mlm == mini.mlm and folder.regression == mini.regression


def test_a_changed_setting_stays_changed_with_another_checkpoint():
    cfg = settings("best", epochs=3).replace(checkpoint="mini")
    assert cfg.regression.epochs == 3 and cfg.regression.learning_rate == 1e-3


def test_flat_names_and_groups_are_the_same_settings():
    cfg = settings("class", shapley_chains=40, lora_rank=2, mlm_epochs=9)
    assert (cfg.shapley.chains, cfg.lora.rank, cfg.mlm.epochs) == (40, 2, 9)
    assert (cfg.shapley_chains, cfg.lora_rank, cfg.mlm_epochs) == (40, 2, 9)
    with pytest.raises(AttributeError, match="Settings has no 'shapley_links'; known are"):
        cfg.shapley_links  # noqa: B018
    assert pickle.loads(pickle.dumps(cfg)) == cfg == copy.deepcopy(cfg), "workers get them so"


def test_a_method_trains_at_its_own_rate():
    cfg = settings("class", bitfit_learning_rate=0.5)
    assert cfg.of_method("bitfit").regression.learning_rate == 0.5 and cfg.of_method("full") == cfg


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings("class").epochs = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings("class").regression.epochs = 1


def test_groups_are_checked_however_they_are_made():
    with pytest.raises(SettingsError, match="mlm_epochs is 0; it must be above zero"):
        Mlm(epochs=0)
    with pytest.raises(SettingsError, match="epochs is -1"):
        dataclasses.replace(settings("class").regression, epochs=-1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: settings("fast"), "unknown profile 'fast'; choose one of smoke, class, report, best"),
        (lambda: settings("class", lr=1), "unknown setting lr; known are .*learning_rate"),
        (lambda: settings("class").replace(epoch=1), "unknown setting epoch"),
        (lambda: settings("class", epochs=0), "epochs is 0; it must be above zero"),
        (lambda: settings("class", precision="half"), "choose auto, fp32, fp16 or bf16"),
        (lambda: settings("class", influence_solver="newton"), "choose lissa or cg"),
        (lambda: settings("class", shapley_alpha=0), "shapley_alpha is 0; it must be above zero"),
        (lambda: settings("class", shapley_skip=-0.1), "shapley_skip is -0.1; it is a share"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(SettingsError, match=message):
        call()
