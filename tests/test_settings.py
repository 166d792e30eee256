"""Profiles, overrides, and clear words about unknown names, wrong types and values out of range."""

import dataclasses

import numpy as np
import pytest

from molft_utils import SettingsError, settings
from molft_utils.settings import KNOWN


def test_report_profile_holds_the_settings_of_the_report():
    cfg = settings("report")
    assert (cfg.checkpoint, cfg.epochs, cfg.mlm_epochs, cfg.batch_size, cfg.mlm_batch_size) == ("xl", 20, 10, 16, 16)
    assert {getattr(cfg, name) for name in KNOWN if name.endswith("learning_rate")} == {1e-7}
    assert (cfg.patience, cfg.min_delta, cfg.weight_decay, cfg.warmup) == (5, 0.001, 0.0, 0.0)
    assert (cfg.standardise, cfg.canonical, cfg.head, cfg.max_tokens) == (False, False, "linear", 128)
    assert (cfg.lora_rank, cfg.lora_alpha, cfg.lora_dropout) == (4, 8, 0.1)
    assert (cfg.clip, cfg.precision, cfg.dropout, cfg.randomise) == (None, "fp32", None, 0.0), "the report names none"


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
        (tmp_path / "config.json").write_text('{"hidden_size": 768}' if checkpoint == "xl" else '{"hidden_size": 128}')
        by_folder = settings(profile).replace(checkpoint=tmp_path)
        assert dataclasses.replace(by_folder, checkpoint=checkpoint) == settings(profile, checkpoint=checkpoint)


def test_a_changed_setting_stays_changed_with_another_checkpoint():
    cfg = settings("best", epochs=3).replace(checkpoint="mini")
    assert cfg.epochs == 3 and cfg.learning_rate == 1e-3


def test_a_method_trains_at_its_own_rate():
    cfg = settings("class", bitfit_learning_rate=0.5)
    assert cfg.of_method("bitfit").learning_rate == 0.5 and cfg.of_method("full") == cfg


def test_files_keep_their_place_when_the_working_directory_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    cfg = settings("class", table="mine.csv", checkpoint="~/mine")
    assert cfg.table == str(tmp_path / "mine.csv") and cfg.checkpoint == str(tmp_path / "mine")


def test_numbers_without_a_loss_are_converted():
    cfg = settings("class", batch_size=16.0, seed=np.int64(3), learning_rate=1, influence_damping=np.float32(0.5))
    assert (cfg.batch_size, cfg.seed, cfg.learning_rate, cfg.influence_damping) == (16, 3, 1.0, 0.5)
    assert type(cfg.batch_size) is int and type(cfg.seed) is int and type(cfg.learning_rate) is float


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(epochs=0), "epochs is 0; it must be at least 1"),
        (dict(epochs="5"), "epochs is '5'; it must be a whole number"),
        (dict(epochs=True), "epochs is True; it must be a whole number"),
        (dict(batch_size=16.5), "batch_size is 16.5; it must be a whole number"),
        (dict(learning_rate="1e-3"), "learning_rate is '1e-3'; it must be a number"),
        (dict(learning_rate=float("nan")), "learning_rate is nan; it must be a number"),
        (dict(learning_rate=None), "learning_rate is None; it must be a number"),
        (dict(learning_rate=0), "learning_rate is 0; it must be above 0"),
        (dict(seed=-1), "seed is -1; it must be at least 0"),
        (dict(seed=5_012_345_678), "seed is 5012345678; it must be below 4294967296"),
        (dict(standardise="no"), "standardise is 'no'; it must be True or False"),
        (dict(canonical=1), "canonical is 1; it must be True or False"),
        (dict(max_tokens=2), "max_tokens is 2; it must be at least 3"),
        (dict(weight_decay=-1), "weight_decay is -1; it must be at least 0"),
        (dict(warmup=5), "warmup is 5; it must be below 1"),
        (dict(dropout=1.5), "dropout is 1.5; it must be below 1"),
        (dict(lora_rank=2.5), "lora_rank is 2.5; it must be a whole number"),
        (dict(precision="half"), "precision is 'half'; choose auto, fp32, fp16 or bf16"),
        (dict(checkpoint=3), "checkpoint is 3; it must be a text"),
        (dict(shapley_skip=-0.1), "shapley_skip is -0.1; it must be at least 0"),
        (dict(n_random=3), "unknown setting n_random; known are .*learning_rate"),
        (dict(lr=1), "unknown setting lr"),
    ],
    ids=str,
)
def test_mistakes_are_named_at_the_call(change, message):
    with pytest.raises(SettingsError, match=message):
        settings("class", **change)
    with pytest.raises(SettingsError, match=message):
        settings("class").replace(**change)


def test_an_unknown_profile_is_named():
    with pytest.raises(SettingsError, match="unknown profile 'fast'; choose one of smoke, class, report, best"):
        settings("fast")
