"""kronfluence's EK-FAC (Grosse et al. 2023, arXiv:2308.03296) on a fine-tuned MoLFormer: scores for all pairs.

Its curvature is that of the linear layers alone, one layer at a time, each as a Kronecker product whose eigenvalues are
corrected. Embeddings and LayerNorm have no part in it.
"""

import copy
import math
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from kronfluence.analyzer import Analyzer, prepare_model
from kronfluence.arguments import FactorArguments, ScoreArguments
from kronfluence.task import Task
from kronfluence.utils.dataset import DataLoaderKwargs
from torch import Tensor, nn
from transformers import PreTrainedModel

from molft_utils.training import model_tokens, pad

#: Molecules at a time: in fitting the factors and among the training molecules; and among the queries.
BATCH, QUERIES = 64, 84

DEFAULT = "1e-8"  # its library's damping


def dampings(largest: float) -> dict[str, float | None]:
    """By name: the default, the library's heuristic, and two shares of the kernel's largest eigenvalue."""
    return {DEFAULT: float(DEFAULT), "heuristic": None, "0.01": 0.01 * largest, "0.001": 0.001 * largest}


class SquaredError(Task):
    """Squared errors in standard deviations of the labels, as molft's influence has them."""

    def __init__(self, std: float):
        self.std = std

    def compute_train_loss(self, batch: dict, model: nn.Module, sample: bool = False) -> Tensor:
        """Sum over the batch; to the measured labels, or to labels drawn from what the model predicts."""
        predicted = model(batch["input_ids"], batch["attention_mask"]).logits.squeeze(-1)
        labels = batch["labels"]
        if sample:  # a squared error is the likelihood of a normal distribution with variance 1/2
            labels = predicted.detach() + self.std * math.sqrt(0.5) * torch.randn_like(predicted)
        return (((predicted - labels) / self.std) ** 2).sum()

    def compute_measurement(self, batch: dict, model: nn.Module) -> Tensor:
        return self.compute_train_loss(batch, model)

    def get_attention_mask(self, batch: dict) -> Tensor:
        return batch["attention_mask"]


class Ekfac:
    """Factors of a model, and scores by them with any damping."""

    def __init__(self, model: PreTrainedModel, train: pd.DataFrame, folder: Path):
        self.model, task = copy.deepcopy(model), SquaredError(model.config.label_std)
        self.train, self.train_rows = _by_length(model, train)
        prepared = prepare_model(copy.deepcopy(model), task)
        self.analyzer = Analyzer("bank", prepared, task, cpu=True, disable_tqdm=True, output_dir=str(folder))
        self.analyzer.set_dataloader_kwargs(DataLoaderKwargs(collate_fn=pad))
        self.analyzer.fit_all_factors(
            "ekfac", self.train, BATCH, factor_args=FactorArguments(strategy="ekfac"), overwrite_output_dir=True
        )

    def scores(self, queries: pd.DataFrame, damping: float | None) -> np.ndarray:
        """Scores [n_queries, n_train], positive where helpful; damping None is kronfluence's heuristic."""
        dataset, rows = _by_length(self.model, queries)
        options = ScoreArguments(damping_factor=damping, query_gradient_accumulation_steps=5)
        self.analyzer.compute_pairwise_scores(
            "scores", "ekfac", dataset, self.train, QUERIES, BATCH, score_args=options, overwrite_output_dir=True
        )
        found = self.analyzer.load_pairwise_scores("scores")
        scores = np.empty(found["all_modules"].shape)
        scores[np.ix_(rows, self.train_rows)] = found["all_modules"].numpy()
        return scores


def _by_length(model: PreTrainedModel, table: pd.DataFrame) -> tuple[list[dict], np.ndarray]:
    """The molecules from the shortest to the longest, so that a batch has little padding, and their row numbers."""
    ids, labels = model_tokens(model, table["smiles"]), table["label"].to_numpy()
    rows = np.argsort([len(i) for i in ids], kind="stable")
    return [{"input_ids": ids[row], "labels": float(labels[row])} for row in rows], rows
