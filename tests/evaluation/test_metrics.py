"""Scores, intervals, paired differences."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from molft_utils import DataError, evaluate, paired_difference, scores
from molft_utils.evaluation import Difference, auroc, mean_rmse
from molft_utils.molformer import MolformerForSequenceClassification

RNG = np.random.default_rng(0)
LABELS = RNG.normal(2.0, 1.2, size=400)


def noisy(sd: float, seed: int) -> np.ndarray:
    return LABELS + np.random.default_rng(seed).normal(0, sd, size=len(LABELS))


def test_scores_of_a_known_prediction():
    found = scores([0.0, 0.0, 2.0, 2.0], [1.0, -1.0, 2.0, 2.0])
    assert (found.rmse, found.mae, found.r2, found.n) == pytest.approx((np.sqrt(0.5), 0.5, 0.5, 4))
    assert np.isnan(scores([1.0, 1.0], [1.0, 2.0]).r2), "constant labels have no R²"


def test_the_unit_is_that_of_the_labels(tiny):
    table = pd.DataFrame({"smiles": ["CCO", "CCN"], "label": [0.0, 1.0]})
    table.attrs["target"] = "pIC50"
    assert "] pIC50, MAE" in str(evaluate(MolformerForSequenceClassification(tiny).eval(), table))
    assert "0.707 [0.000, 1.000] logD, MAE" in str(scores([0.0, 0.0], [1.0, 0.0]))
    assert "] pIC50: " in str(paired_difference(LABELS, noisy(0.5, 1), noisy(0.6, 2), unit="pIC50"))


def test_the_interval_is_that_of_scipys_percentile_bootstrap():
    predictions, others = noisy(0.5, 1), noisy(0.6, 2)

    def rmse(errors, axis=-1):
        return np.sqrt((errors**2).mean(axis=axis))

    def gap(a, b, axis=-1):
        return rmse(a, axis) - rmse(b, axis)

    for data, statistic, found in (
        ((predictions - LABELS,), rmse, scores(LABELS, predictions).interval),
        ((predictions - LABELS, others - LABELS), gap, paired_difference(LABELS, predictions, others).interval),
    ):
        expected = scipy.stats.bootstrap(data, statistic, n_resamples=5_000, paired=True, method="percentile")
        assert found == pytest.approx(tuple(expected.confidence_interval), abs=0.006)


def test_the_area_under_the_curve_is_the_share_of_pairs_in_order():
    area, low, high = auroc([True, True, False, False], [3.0, 1.0, 2.0, 1.0])
    assert area == (1 + 1 + 0 + 0.5) / 4 and low <= area <= high
    with pytest.raises(DataError, match="positive and negative"):
        auroc([True, True], [1.0, 2.0])


def test_a_clear_difference_is_shown_with_the_right_sign_and_none_between_equals():
    good, bad = noisy(0.5, 1), noisy(0.9, 2)
    found = paired_difference(LABELS, good, bad)
    assert found.value == pytest.approx(scores(LABELS, good).rmse - scores(LABELS, bad).rmse)
    assert found.verdict == "better" and paired_difference(LABELS, bad, good).verdict == "worse"
    assert paired_difference(LABELS, noisy(0.7, 3), noisy(0.7, 4)).verdict == "no difference shown"


def simulated(rng, n_seeds: int, of_seed: float, of_molecule: float, of_both: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels [n] and predictions [n_seeds, n] of a model whose errors come from the molecule, the seed, and both."""
    n = 200
    labels, molecules = rng.normal(size=n), of_molecule * rng.normal(size=n)
    scale = 1 + of_seed * rng.normal(size=(n_seeds, 1))
    return labels, labels + scale * (molecules + of_both * rng.normal(size=(n_seeds, n)))


@pytest.mark.parametrize(
    ("n_seeds", "sources"),
    # How much a seed scales all errors, what is the molecule's own, and what both make.
    [(3, (0.2, 0.1, 0.7)), (3, (0.005, 0.7, 0.1)), (3, (0.04, 0.6, 0.4)), (5, (0.04, 0.6, 0.4))],
    ids=["seeds", "molecules", "both", "both, five seeds"],
)
def test_ninety_five_intervals_of_a_hundred_include_the_truth(sources, n_seeds):
    """Simulated: the mean RMSE, and the difference of two models that share the molecules and do not differ."""
    rng = np.random.default_rng(0)
    truth = (sources[1] ** 2 + sources[2] ** 2) ** 0.5  # over many seeds and molecules
    means, differences, repeats = 0, 0, 600
    for _ in range(repeats):
        labels, runs = simulated(rng, 2 * n_seeds, *sources)
        low, high = mean_rmse(labels, runs[:n_seeds])[1]
        means += low < truth < high
        differences += paired_difference(labels, runs[:n_seeds], runs[n_seeds:]).verdict == "no difference shown"
    assert 0.92 <= means / repeats <= 0.98
    assert 0.92 <= differences / repeats <= 0.98


def test_seeds_and_a_higher_level_widen_the_interval():
    a = np.stack([noisy(sd, i) for i, sd in enumerate((0.5, 0.7, 0.9))])
    b = np.stack([noisy(0.7, 10 + i) for i in range(3)])
    one, several = paired_difference(LABELS, a[1], b[1]), paired_difference(LABELS, a, b)
    assert np.ptp(several.interval) > np.ptp(one.interval)
    for usual, strict in (
        (one, paired_difference(LABELS, a[1], b[1], level=0.995)),
        (several, paired_difference(LABELS, a, b, level=0.995)),
    ):
        assert strict.value == usual.value
        assert strict.interval[0] < usual.interval[0] < usual.interval[1] < strict.interval[1]


def test_models_without_a_seed_have_the_interval_over_molecules():
    """A support vector regression, say, is the same for every seed; then each molecule counts once."""
    a, b = noisy(0.5, 1), noisy(0.6, 2)
    alone, repeated = paired_difference(LABELS, a, b), paired_difference(LABELS, np.tile(a, (5, 1)), np.tile(b, (5, 1)))
    assert repeated.value == pytest.approx(alone.value)
    assert repeated.interval == pytest.approx(alone.interval, abs=0.006)  # the bootstrap's, and Student's


def test_two_are_equal_by_a_margin_if_the_whole_interval_lies_within_it():
    found = Difference(0.001, (-0.010, 0.012))
    assert found.is_within(0.02) and not found.is_within(0.011) and not Difference(0.0, (-0.03, 0.01)).is_within(0.02)


def test_the_mean_over_seeds_and_its_interval():
    runs = np.stack([noisy(sd, i) for i, sd in enumerate((0.5, 0.7, 0.9))])
    value, (low, high) = mean_rmse(LABELS, runs)
    assert value == pytest.approx(np.mean([scores(LABELS, run).rmse for run in runs]))
    _, one = mean_rmse(LABELS, runs[1])
    assert one == pytest.approx(scores(LABELS, runs[1]).interval), "one seed: the interval over molecules alone"
    assert high - low > one[1] - one[0]


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([1.0, 2.0], [1.0], "must be"),
        ([], [], "n > 0"),
        ([1.0, 2.0], [1.0, np.nan], "prediction 1 is not finite"),
    ],
)
def test_unusable_predictions_are_refused(labels, predictions, message):
    with pytest.raises(DataError, match=message):
        scores(labels, predictions)


def test_pairs_must_match():
    with pytest.raises(DataError, match="cannot be paired"):
        paired_difference([1.0, 2.0], [[1.0, 2.0]], [[1.0, 2.0], [1.0, 2.0]])
