"""Scores, intervals, paired differences."""

import numpy as np
import pytest
import scipy.stats

from molft_utils import DataError, paired_difference, scores
from molft_utils.evaluation import auroc, mean_rmse

RNG = np.random.default_rng(0)
LABELS = RNG.normal(2.0, 1.2, size=400)


def noisy(sd: float, seed: int) -> np.ndarray:
    return LABELS + np.random.default_rng(seed).normal(0, sd, size=len(LABELS))


def test_scores_of_a_known_prediction():
    found = scores([0.0, 0.0, 2.0, 2.0], [1.0, -1.0, 2.0, 2.0])
    assert (
        found.rmse == pytest.approx(np.sqrt(0.5))
        and found.mae == 0.5
        and found.r2 == pytest.approx(0.5)
        and found.n == 4
    )


def test_interval_holds_the_truth_about_as_often_as_it_says():
    inside = sum(low < 0.7 < high for low, high in (scores(LABELS, noisy(0.7, seed)).interval for seed in range(100)))
    assert 88 <= inside <= 100


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


def test_constant_labels_have_no_r2():
    assert np.isnan(scores([1.0, 1.0], [1.0, 2.0]).r2) and np.isnan(scores([1.0], [2.0]).r2)


def test_the_area_under_the_curve_is_the_share_of_pairs_in_order():
    area, low, high = auroc([True, True, False, False], [3.0, 1.0, 2.0, 1.0])
    assert area == (1 + 1 + 0 + 0.5) / 4 and low <= area <= high
    with pytest.raises(DataError, match="positive and negative"):
        auroc([True, True], [1.0, 2.0])


def test_a_clear_difference_is_shown_and_its_sign_is_right():
    good, bad = noisy(0.5, 1), noisy(0.9, 2)
    assert paired_difference(LABELS, good, bad).verdict == "better"
    assert paired_difference(LABELS, bad, good).verdict == "worse"
    assert paired_difference(LABELS, good, bad).value == pytest.approx(
        scores(LABELS, good).rmse - scores(LABELS, bad).rmse
    )


def test_no_difference_is_shown_between_equals():
    found = paired_difference(LABELS, noisy(0.7, 3), noisy(0.7, 4))
    assert found.verdict == "no difference shown" and "no difference shown" in str(found)


def simulated(rng, n_seeds: int, of_seed: float, of_molecule: float, of_both: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels [n] and predictions [n_seeds, n] of a model whose errors come from the molecule, the seed, and both."""
    n = 200
    labels, molecules = rng.normal(size=n), of_molecule * rng.normal(size=n)
    scale = 1 + of_seed * rng.normal(size=(n_seeds, 1))
    return labels, labels + scale * (molecules + of_both * rng.normal(size=(n_seeds, n)))


#: Where the error comes from: how much a seed scales all errors, what is the molecule's own, what both make.
SOURCES = {"seeds": (0.2, 0.1, 0.7), "molecules": (0.005, 0.7, 0.1), "both": (0.04, 0.6, 0.4)}


@pytest.mark.parametrize("n_seeds", [3, 5])
@pytest.mark.parametrize("sources", SOURCES)
def test_ninety_five_intervals_of_a_hundred_hold_the_truth(sources, n_seeds):
    """Simulated: the mean RMSE, and the difference of two models that share the molecules and do not differ."""
    rng = np.random.default_rng(0)
    truth = _true_rmse(*SOURCES[sources])
    held_mean, held_difference, repeats = 0, 0, 1000
    for _ in range(repeats):
        labels, runs = simulated(rng, 2 * n_seeds, *SOURCES[sources])
        low, high = mean_rmse(labels, runs[:n_seeds])[1]
        held_mean += low < truth < high
        held_difference += paired_difference(labels, runs[:n_seeds], runs[n_seeds:]).verdict == "no difference shown"
    assert 0.92 <= held_mean / repeats <= 0.98
    assert 0.92 <= held_difference / repeats <= 0.98


def _true_rmse(of_seed: float, of_molecule: float, of_both: float) -> float:
    """The error that the mean over many seeds and molecules comes to."""
    return (of_molecule**2 + of_both**2) ** 0.5


def test_seeds_widen_the_interval():
    a = np.stack([noisy(sd, i) for i, sd in enumerate((0.5, 0.7, 0.9))])
    b = np.stack([noisy(0.7, 10 + i) for i in range(3)])
    across = paired_difference(LABELS, a, b).interval
    single = paired_difference(LABELS, a[1], b[1]).interval
    assert across[1] - across[0] > single[1] - single[0]


def test_a_higher_level_widens_the_interval_about_the_same_difference():
    a, b = noisy(0.7, 3), noisy(0.75, 4)
    usual, strict = (paired_difference(LABELS, a, b, level=level) for level in (0.95, 0.995))
    assert strict.value == usual.value
    assert strict.interval[0] < usual.interval[0] < usual.interval[1] < strict.interval[1]


def test_the_mean_over_seeds_and_its_interval():
    runs = np.stack([noisy(sd, i) for i, sd in enumerate((0.5, 0.7, 0.9))])
    value, (low, high) = mean_rmse(LABELS, runs)
    assert value == pytest.approx(np.mean([scores(LABELS, run).rmse for run in runs]))
    assert low < value < high
    one, between = mean_rmse(LABELS, runs[1]), scores(LABELS, runs[1]).interval
    assert one[1] == pytest.approx(between), "one seed: the interval over molecules alone"
    assert high - low > one[1][1] - one[1][0]


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
