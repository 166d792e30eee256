"""Sizes of predicted changes against real ones: where the answer is known, and on a ridge regression."""

import numpy as np
import pytest
from scipy.stats import linregress, spearmanr

from molft_utils import DataError
from molft_utils.evaluation import Bank, grade_drops

N, N_QUERIES, N_SUBSETS, STD = 200, 12, 30, 1.3
SHARES = [0.01, 0.05, 0.1]


def bank_and_scores(offset=0.0, noise=0.0):
    """A bank whose losses change exactly as the scores say, but for a common offset and noise; row 0 drops none."""
    rng = np.random.default_rng(0)
    members = np.ones((1 + N_SUBSETS * len(SHARES), N), dtype=bool)
    for subset, row in enumerate(members[1:]):
        row[rng.permutation(N)[: round(SHARES[subset % 3] * N)]] = False
    scores = rng.normal(size=(N_QUERIES, N))
    changes = STD**2 / N * (~members) @ scores.T
    changes[1:] += offset + noise * rng.normal(size=changes[1:].shape) * changes[1:].std(axis=0)
    return Bank(members, np.sqrt(5 + changes)[:, None], np.zeros(N_QUERIES)), scores


def figures(table, names=("pearson", "spearman", "slope")):
    return table[list(names)].to_numpy()


@pytest.mark.parametrize("offset", [0.0, 0.3])
def test_scores_that_are_exact_have_ones_whatever_all_subsets_add(offset):
    bank, scores = bank_and_scores(offset)
    table = grade_drops(scores, bank, STD)
    assert table.index.tolist() == SHARES and (table["n_subsets"] == 30).all() and (table["n_queries"] == 12).all()
    assert np.allclose(table.drop(columns=["n_subsets", "n_queries"]), 1)  # and no interval has a width
    mean = grade_drops(scores.mean(axis=0, keepdims=True), bank, STD, mean=True)
    assert np.allclose(figures(mean), 1) and (mean["n_queries"] == 1).all()


def test_the_slope_alone_tells_the_size():
    bank, scores = bank_and_scores()
    assert np.allclose(figures(grade_drops(2 * scores, bank, STD)), [1, 1, 0.5])
    assert np.allclose(figures(grade_drops(scores, bank, STD / 2)), [1, 1, 4])
    assert np.allclose(figures(grade_drops(-scores, bank, STD)), -1)
    assert np.allclose(figures(grade_drops(scores / 1e9, bank, STD)), [1, 1, 1e9])
    for none in (0, np.full(scores.shape, 0.1)):  # a share's subsets are all of one size
        assert (figures(grade_drops(scores * 0 + none, bank, STD)) == 0).all()


def test_random_scores_predict_nothing():
    bank, scores = bank_and_scores()
    table = grade_drops(np.random.default_rng(1).permuted(scores, axis=1), bank, STD)
    for name in ("pearson", "spearman", "slope"):
        assert (table[f"{name}_low"] < 0).all() and (table[f"{name}_high"] > 0).all()
        assert table[name].abs().max() < 0.3


def test_figures_are_medians_over_queries_of_the_textbooks():
    bank, scores = bank_and_scores(noise=1.0)
    chosen = np.append(True, (~bank.members[1:]).sum(axis=1) == 10)
    part = Bank(bank.members[chosen], bank.predictions[chosen], bank.labels)
    real = (part.losses()[1:] - part.losses()[0])[:, 0]
    predicted = STD**2 / N * (~part.members[1:]) @ scores.T
    lines = [linregress(predicted[:, q], real[:, q]) for q in range(N_QUERIES)]
    ranks = [spearmanr(predicted[:, q], real[:, q])[0] for q in range(N_QUERIES)]
    expected = np.median([line.rvalue for line in lines]), np.median(ranks), np.median([line.slope for line in lines])
    table = grade_drops(scores, bank, STD).loc[[0.05]]
    assert np.allclose(figures(table), expected)
    assert (figures(table, ["slope_low"]) < expected[2]).all() and (figures(table, ["slope_high"]) > expected[2]).all()


def test_intervals_cover_other_subsets_and_queries():
    """Each sees half of the queries and of the subsets; nearly all include the figure over everything."""
    bank, scores = bank_and_scores(noise=0.7)
    whole, included = grade_drops(scores, bank, STD), 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        rows, queries = np.append(0, 1 + rng.permutation(90)[:45]), rng.permutation(N_QUERIES)[:6]
        part = Bank(bank.members[rows], bank.predictions[rows][:, :, queries], bank.labels[queries])
        table = grade_drops(scores[queries], part, STD)
        for name in ("pearson", "spearman", "slope"):
            included += (table[f"{name}_low"].le(whole[name]) & table[f"{name}_high"].ge(whole[name])).sum()
    assert included >= 0.9 * 10 * 3 * len(SHARES)


def test_what_does_not_fit_is_refused():
    bank, scores = bank_and_scores()
    for wrong, mean in ((scores[:-1], False), (scores.T, False), (scores, True), (None, False)):
        with pytest.raises(DataError, match=r"\(1, 200\)" if mean else r"\(12, 200\)"):
            grade_drops(wrong, bank, STD, mean)
    with pytest.raises(DataError, match="not finite"):
        grade_drops(scores * np.nan, bank, STD)
    with pytest.raises(DataError, match="trained on all molecules"):
        grade_drops(scores, Bank(bank.members[1:], bank.predictions[1:], bank.labels), STD)
