"""Fingerprints and the models that set the bar."""

import numpy as np
import pytest

from molft_utils.data import Split, baseline_predictions, ecfp4_counts, nearest_similarity


@pytest.fixture(scope="module")
def few(parts):
    return Split(parts.train.head(300), parts.validation.head(20), parts.test.head(100))


def test_counts_do_not_depend_on_the_order_of_the_atoms():
    counts = ecfp4_counts(["OCC", "CCO", "c1ccccc1"])
    assert counts.shape == (3, 2048) and counts.dtype == np.float32
    assert (counts[0] == counts[1]).all() and (counts[0] != counts[2]).any()
    assert ecfp4_counts(["CCCCCCCC"]).max() > 1, "counts, not bits"


def test_nearest_similarity():
    found = nearest_similarity(["CCO", "c1ccccc1"], ["OCC", "CCN"])
    assert found[0] == 1.0 and found[1] < 0.5


def test_fingerprint_models_beat_the_mean_and_repeat(few):
    labels = few.test["label"].to_numpy()
    first, second = baseline_predictions(few, seed=1), baseline_predictions(few, seed=1)
    error = {name: np.sqrt(((values - labels) ** 2).mean()) for name, values in first.items()}
    assert list(error) == ["predict zero", "predict the mean", "random forest on ECFP4", "SVR on ECFP4"]
    assert error["SVR on ECFP4"] < error["predict the mean"] < error["predict zero"]
    assert error["random forest on ECFP4"] < error["predict the mean"]
    assert all(np.allclose(first[name], second[name], atol=1e-9) for name in first)
