"""The LDS on a ridge regression, where retraining and influence are known; the bank that the repository carries."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from scipy.stats import spearmanr

from molft_utils import DataError
from molft_utils.evaluation import (
    BANK,
    GROUPS,
    Bank,
    data_hashes,
    grade,
    group_gains,
    lds,
    lds_difference,
    load_bank,
    over_models,
    shift_agreement,
)
from molft_utils.evaluation.retraining import references
from molft_utils.files import data_file

N, P, N_QUERIES, DAMPING = 120, 6, 30, 0.1


def ridge_bank(share_left_out=0.1, noise=0.0, n_seeds=2, n_pairs=40):
    """A bank of refits of a ridge regression, and the exact influence scores of its training molecules."""
    rng = np.random.default_rng(0)
    X, Q, truth = rng.normal(size=(N, P)), rng.normal(size=(N_QUERIES, P)), rng.normal(size=P)
    y = X @ truth + rng.normal(size=N)
    # No query is met exactly: there a loss has its minimum, and any change of the model raises it.
    labels = Q @ truth + rng.choice([-1, 1], N_QUERIES) * rng.uniform(1, 2, N_QUERIES)

    def fit(rows):
        return np.linalg.solve(
            2 * X[rows].T @ X[rows] / len(rows) + DAMPING * np.eye(P), 2 * X[rows].T @ y[rows] / len(rows)
        )

    members = np.ones((2 * n_pairs, N), dtype=bool)
    for row in members:
        row[rng.permutation(N)[: round(share_left_out * N)]] = False
    predictions = np.stack([Q @ fit(np.flatnonzero(row)) for row in members])
    predictions = predictions[:, None] + noise * rng.normal(size=(2 * n_pairs, n_seeds, N_QUERIES))
    w = fit(np.arange(N))
    inverse = np.linalg.inv(2 * X.T @ X / N + DAMPING * np.eye(P))
    scores = 4 * ((Q @ w - labels)[:, None] * Q) @ inverse @ ((X @ w - y)[:, None] * X).T
    return Bank(members, predictions, labels), scores


def test_true_influence_ranks_all_retrainings_and_random_scores_none():
    bank, scores = ridge_bank()
    found = lds(scores, bank)
    assert found.value > 0.97 and found.interval[0] > 0.95 and found.ceiling == pytest.approx(1)
    assert lds(-scores, bank).value == pytest.approx(-found.value)
    by_chance = lds(np.random.default_rng(1).normal(size=scores.shape), bank)
    assert by_chance.interval[0] < 0 < by_chance.interval[1]
    assert lds(np.zeros_like(scores), bank).value == 0


def test_the_score_of_a_query_is_the_rank_correlation_over_the_subsets():
    bank, scores = ridge_bank(share_left_out=0.5)
    found = lds(scores, bank)
    for q in (0, 11):
        expected = spearmanr(bank.members @ -scores[q], bank.losses().mean(axis=1)[:, q])[0]
        assert found.per_query[q] == pytest.approx(expected)
    assert found.value == pytest.approx(found.per_query.mean())
    rows, part = bank.some(5)
    assert rows[0] == 0 and rows[-1] == N_QUERIES - 1 and len(set(rows)) == 5
    assert lds(scores[rows], part).per_query == pytest.approx(found.per_query[rows])


def test_a_difference_is_paired_so_that_a_small_one_is_seen():
    bank, scores = ridge_bank(share_left_out=0.5, noise=0.5)
    worse = scores + 0.5 * scores.std() * np.random.default_rng(2).normal(size=scores.shape)
    value, (low, high) = lds_difference(scores, worse, bank)
    one, other = lds(scores, bank), lds(worse, bank)
    assert value == pytest.approx(one.value - other.value) and low < value < high
    assert high - low < 0.7 * (one.interval[1] - one.interval[0])  # unpaired, it would be 1.4 times as wide
    assert lds_difference(scores, scores, bank) == (0, (0, 0))
    with pytest.raises(DataError, match="scores have shape"):
        lds_difference(scores, scores[1:], bank)


def test_no_score_passes_the_noise_of_the_seeds():
    quiet, scores = ridge_bank()
    noisy, _ = ridge_bank(noise=0.05, n_seeds=4)
    found = lds(scores, noisy)
    assert found.value < lds(scores, quiet).value - 0.1
    assert 0 < found.one_more_seed < found.ceiling < 1
    assert found.value > found.one_more_seed  # the truth has no noise of its own, one more seed has
    one = lds(scores, Bank(noisy.members, noisy.predictions[:, :1], noisy.labels))
    assert np.isnan(one.ceiling) and np.isnan(one.one_more_seed)


@pytest.mark.parametrize("n_seeds", [2, 3, 6])
def test_a_perfect_score_reaches_the_ceiling(n_seeds):
    """The losses without noise, which are known here, have the LDS that the ceiling foretells from the noisy ones."""
    quiet, noisy = (ridge_bank(noise=noise, n_seeds=n_seeds, n_pairs=200)[0].losses() for noise in (0, 0.03))
    truth = np.mean([spearmanr(quiet[:, 0, q], noisy[:, :, q].mean(axis=1))[0] for q in range(N_QUERIES)])
    assert 0.5 < truth < 0.98 and references(noisy)[0] == pytest.approx(truth, abs=0.03)


@pytest.mark.parametrize("n_seeds", [2, 3])
def test_one_more_seed_is_what_a_further_seed_reaches(n_seeds):
    losses = ridge_bank(noise=0.03, n_seeds=n_seeds + 1, n_pairs=200)[0].losses()
    seeds, further = losses[:, :n_seeds], losses[:, n_seeds]
    reached = np.mean([spearmanr(further[:, q], seeds[:, :, q].mean(axis=1))[0] for q in range(N_QUERIES)])
    assert references(seeds)[1] == pytest.approx(reached, abs=0.03)


def test_the_size_of_a_shift_is_compared_with_the_difference_that_the_molecule_makes():
    bank, _ = ridge_bank(share_left_out=0.5)
    had = bank.members.astype(float)
    predictions = bank.predictions.mean(axis=1)
    real = np.stack(
        [predictions[had[:, i] == 1].mean(axis=0) - predictions[had[:, i] == 0].mean(axis=0) for i in range(N)]
    )
    found = shift_agreement(real.T / 2, bank)  # the real shifts, half as large
    assert found.correlation == pytest.approx(1) and found.slope == pytest.approx(2)
    assert np.abs(found.real) == pytest.approx(np.abs(real).max(axis=0))  # of each query the strongest molecule alone
    assert found.predicted == pytest.approx(found.real / 2)
    assert shift_agreement(-real.T, bank).slope == pytest.approx(-1)
    by_chance = shift_agreement(np.random.default_rng(1).normal(size=real.T.shape), bank)
    assert by_chance.correlation_interval[0] < by_chance.correlation < by_chance.correlation_interval[1]
    assert by_chance.correlation_interval[0] < 0 < by_chance.correlation_interval[1]
    with pytest.raises(DataError, match="transpose them"):
        shift_agreement(real, bank)


def test_the_interval_over_models_covers_queries_and_models():
    """Simulated: what all models share (sd 1) and what each has of its own (sd 2), around a true value of 3."""
    rng, included = np.random.default_rng(0), 0
    for _ in range(1000):
        values = 3 + rng.normal() + 2 * rng.normal(size=5)
        low, high = over_models(values, np.stack([values - 1.96, values + 1.96], axis=1))[1]
        included += low < 3 < high
    assert 0.93 < included / 1000 < 0.97
    assert over_models([1.0], [(0.5, 1.2)]) == (1, (0.5, 1.2))


def test_the_interval_covers_what_other_subsets_and_queries_give():
    """Of twenty draws of 30 pairs and 15 queries, nearly all intervals include the score over everything."""
    bank, scores = ridge_bank(noise=0.05, n_seeds=2, n_pairs=300)
    whole, included = lds(scores, bank).value, 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rows, queries = rng.permutation(600)[:60], rng.permutation(N_QUERIES)[:15]
        part = Bank(bank.members[rows], bank.predictions[rows][:, :, queries], bank.labels[queries])
        low, high = lds(scores[queries], part).interval
        included += low <= whole <= high
    assert included >= 17


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda s: s[:, :-1], r"scores have shape \(30, 119\).*\(30, 120\)"),
        (lambda s: s.T, r"scores have shape \(120, 30\).*\(30, 120\).*transpose them"),
        (lambda s: None, r"scores have shape \(\).*\(30, 120\)"),
        (lambda s: [list(s[0]), [1.0]], r"no array of numbers.*\(30, 120\)"),
        (lambda s: torch.tensor(s, requires_grad=True), r"no array of numbers.*\(30, 120\)"),
        (lambda s: s * np.nan, "molecule 0 for query 0"),
    ],
)
def test_scores_that_do_not_fit_are_refused(change, message):
    bank, scores = ridge_bank(n_pairs=2)
    with pytest.raises(DataError, match=message):
        lds(change(scores), bank)


def test_a_grade_has_its_place_among_the_others_or_says_what_it_needs():
    for scores in (None, np.zeros((3324, 840))):  # what a student gives who has not begun, or has transposed them
        with pytest.raises(DataError, match=r"\(840, 3324\): queries, training molecules"):
            grade(scores)
    table = grade(np.random.default_rng(0).normal(size=(840, 3324)), "mine")
    assert table["LDS"].is_monotonic_decreasing and abs(table.loc["mine", "LDS"]) < 0.05
    assert table.loc["Gauss-Newton", "LDS"] > 0.25 and abs(table.loc["random", "LDS"]) < 0.02


# The repository's


def test_the_bank_holds_complementary_halves():
    bank = load_bank()
    n = bank.members.shape[1]
    assert (bank.members[0::2] ^ bank.members[1::2]).all() and (bank.members.sum(axis=1) == n // 2).all()
    assert bank.members.shape[0] >= 100 and bank.predictions.shape[0] == len(bank.members)
    assert bank.predictions.shape[2] == len(bank.labels) == 840
    assert len(load_bank("validation").labels) == 336
    rmse = np.sqrt(bank.losses().mean(axis=2))
    assert rmse.min() > 0.7 and rmse.max() < 1.1


def write_bank(path, data=None):
    """A bank of two subsets, two seeds and three queries; the second seed is not finished."""
    tensors = {
        "members": np.eye(2, dtype=bool),
        "test_labels": np.zeros(3, np.float32),
        "test_predictions": np.ones((2, 2, 3), np.float16),
    }
    tensors["test_predictions"][1, 1] = np.nan
    save_file(tensors, path, {"data": json.dumps(data or data_hashes()), "parts": "[[0, 2]]"})
    return path


def test_only_finished_seeds_are_loaded_and_no_bank_of_other_data(tmp_path):
    bank = load_bank(path=write_bank(tmp_path / "bank.safetensors"))
    assert bank.predictions.shape == (2, 1, 3) and np.array_equal(bank.members, np.eye(2))
    path = write_bank(tmp_path / "bank.safetensors", data={**data_hashes(), "lipophilicity.csv": "0"})
    with pytest.raises(DataError, match=r"lipophilicity.csv is not the file"):
        load_bank(path=path)
    with pytest.raises(DataError, match="choose 'test' or 'validation'"):
        load_bank("train")


def test_what_is_no_bank_is_named(tmp_path):
    save_file({"a": np.ones(1)}, tmp_path / "other.safetensors")
    (tmp_path / "half.safetensors").write_bytes(data_file(BANK).read_bytes()[:100_000])
    for name in ("other", "half"):
        with pytest.raises(DataError, match=rf"{name}\.safetensors is no bank"):
            load_bank(path=tmp_path / f"{name}.safetensors")


def test_gains_are_told_from_the_models_without_a_group():
    members = np.array([[0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 1]], dtype=bool)
    sizes = np.array([[1.0, 3.0], [2.0, 2.0], [1.0, 1.0], [3.0, 3.0]])  # mean loss by subset and seed
    bank = Bank(members, np.sqrt(sizes)[:, :, None] * np.array([1.0, -1.0]), np.zeros(2))
    found, gains, noise = group_gains(bank)
    assert np.array_equal(found, members[2:]) and gains == pytest.approx([1, -1])  # the first group helps
    assert noise == pytest.approx(np.std([1, 3, 2, 2], ddof=1) * np.sqrt(1 / 2 + 1 / 4))
    with pytest.raises(DataError, match="trained without a group"):
        group_gains(Bank(members[2:], bank.predictions[2:], bank.labels))


def test_the_bank_of_groups_is_whole():
    members, gains, noise = group_gains(load_bank("validation", GROUPS))
    assert members.shape == (30, 2078) and (members.sum(axis=1) == 100).all()
    assert len(gains) == 30 and 0 < noise < 0.1 and np.abs(gains).max() < 0.3
