"""The mini architecture with random weights: the comparison that shows what pretraining is worth."""

from pathlib import Path

import torch

from ..experiments import Kind, run_stage
from ..files import MINI_FOLDER, file_hash
from ..molformer import MolformerConfig, MolformerForMaskedLM
from ..profiles import Settings

RANDOM_MINI = Kind("random-mini", 1)


def random_mini(seed: int) -> str:
    """A folder with the mini architecture and random weights, drawn by ``seed``."""

    def compute(folder: Path, given: Settings) -> dict:
        torch.manual_seed(seed)
        MolformerForMaskedLM(MolformerConfig.from_pretrained(MINI_FOLDER)).save_pretrained(folder)
        return {}

    key = {"seed": seed, "architecture": file_hash(MINI_FOLDER / "config.json")}
    return str(run_stage(RANDOM_MINI, None, key, compute).folder)
