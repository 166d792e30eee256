"""Pretrain the small checkpoints of ``data/``: ``python data/scripts/pretraining.py mini-first``, then ``mini``.

Masked-language modelling on molecules of ChEMBL and MOSES, without any molecule of Lipophilicity: 15 % of the tokens
are predicted; 80 % of these become ``<mask>``, 10 % another token, and 10 % stay. ``mini-descriptors-first`` and then
``mini-descriptors`` start from ``mini``, and the model also predicts what RDKit computes from the molecule's graph.
Both were run in two processes, which share each step (faster on two cores than one process of two threads)::

    OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 data/scripts/pretraining.py mini-descriptors-first

The learning rate warms up, stays constant, and decays over the last part of the run. A run takes hours. The Trainer's
own checkpoints make it resumable: it continues from the last one with the same batches, though their first masks are
drawn otherwise than in an uninterrupted run, as the loader reads one batch ahead.
"""

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Trainer

import tables
from corpus import Corpus, TokenBatches, draw_corpus, first_secondary_pool, standardised, usable
from descriptors import DESCRIPTORS, described
from molft_utils.data import flat_key, load_logp
from molft_utils.files import CARRIED, RUNS_FOLDER, write_atomically
from molft_utils.molformer import MolformerConfig, MolformerForMaskedLM, load_tokenizer, quiet_transformers
from molft_utils.training import OneDevice, mlm_collator, resolved_precision

#: The mini architecture: hidden size 128, and a constant Omega (``redraw_in_training=False``), so that training
#: and evaluation see the same function.
MINI: dict[str, Any] = dict(
    hidden_size=128, num_hidden_layers=4, num_attention_heads=4, intermediate_size=256, hidden_dropout_prob=0.0,
    embedding_dropout_prob=0.0, redraw_in_training=False,
)  # fmt: skip

#: Share of the tokens from ChEMBL, and share of the steps in which the learning rate falls.
CHEMBL_SHARE, DECAY = 0.6, 0.25

FOLDER = RUNS_FOLDER / "pretraining"


@dataclasses.dataclass(frozen=True)
class Plan:
    """One run: its result's folder, the checkpoint whose weights it starts from, and what it reads."""

    output: Path
    start: Path | None = None
    tokens: int = 26_000_000
    learning_rate: float = 1.5e-3
    seed: int = 0
    n_moses: int | None = None  # read so many MOSES molecules repeatedly
    descriptors: float = 0.0  # weight of the descriptors' loss; 0 for none
    tokens_per_batch: int = 2048
    save_steps: int = 1000


WITH_DESCRIPTORS: dict[str, Any] = dict(tokens=30_000_000, learning_rate=2e-3, n_moses=60_000, descriptors=16.0)
PLANS = {
    "mini-first": Plan(FOLDER / "first"),
    "mini": Plan(CARRIED["mini"], FOLDER / "first", tokens=24_000_000, learning_rate=1e-3, seed=1),
    "mini-descriptors-first": Plan(FOLDER / "third", CARRIED["mini"], **WITH_DESCRIPTORS),
    "mini-descriptors": Plan(CARRIED["mini-descriptors"], FOLDER / "third", seed=1, **WITH_DESCRIPTORS),
}


class TwoTasks(MolformerForMaskedLM):
    """Masked-language modelling, and a linear regression of descriptors on the pooled vector.

    The loss is the masked-token loss plus ``weight`` times the mean squared error of the standardised descriptors. The
    regression's own weights serve the training alone.
    """

    def __init__(self, config: MolformerConfig, n_descriptors: int, weight: float):
        super().__init__(config)
        self.descriptor_head = nn.Linear(config.hidden_size, n_descriptors)
        self.weight = weight
        self.post_init()

    def forward(  # type: ignore[override]  # the Trainer calls it by name, and reads the loss alone
        self, input_ids, attention_mask, labels, descriptors
    ) -> dict[str, Tensor]:
        """Token ids and labels [B, L], ``descriptors`` [B, d]."""
        encoded = self.molformer(input_ids, attention_mask)
        error = nn.functional.mse_loss(self.descriptor_head(encoded.pooler_output), descriptors)
        masked = self.predicted(encoded, labels).loss
        assert masked is not None  # there are labels
        return {"loss": masked + self.weight * error}


def excluded_molecules(descriptors: bool) -> set[str]:
    """Keys of the molecules that a checkpoint never sees in pretraining.

    Lipophilicity, and for the checkpoint with descriptors all molecules with a measured logP. The one without was made
    when another set was the secondary one; it leaves that out.
    """
    others = load_logp()["smiles"] if descriptors else first_secondary_pool()
    return tables.lipophilicity_keys() | {flat_key(s) for s in others}


def pretrain(molecules: Corpus, plan: Plan, folder: Path) -> None:
    """Pretrain, or resume the run of which ``folder`` holds checkpoints, and write the weights to ``plan.output``."""
    torch.manual_seed(plan.seed)
    targets, names = descriptor_targets(molecules.smiles) if plan.descriptors else (None, [])
    model = initial_model(plan, len(names))
    batches = TokenBatches(molecules, plan.tokens_per_batch, plan.seed, targets)
    arguments = training_arguments(plan, folder, n_batches=len(batches))
    trainer = Trainer(model=model, args=arguments, train_dataset=batches, data_collator=collator())
    if trainer.is_world_process_zero():
        print(f"{len(molecules.readings):,} molecules read, {molecules.n_tokens:,} tokens, {len(names)} descriptors")
    whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json")]  # the Trainer writes it last
    newest = max(whole, key=lambda checkpoint: int(checkpoint.name.split("-")[1]), default=None)
    with quiet_transformers():
        trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    if trainer.is_world_process_zero():
        save(model, names, plan.output)


def descriptor_targets(smiles: list[str]) -> tuple[np.ndarray, list[str]]:
    """Standardised descriptors [n, d] of the corpus's molecules, and the names of these that make targets."""
    values = described(smiles)
    kept = usable(values)
    return standardised(values[:, kept]), [name for name, keep in zip(DESCRIPTORS, kept, strict=True) if keep]


def collator():
    """Makes of items, each a batch of :class:`TokenBatches`, what the model reads; 15 % of the tokens are predicted."""
    mask = mlm_collator(load_tokenizer(), 0.15)

    def collate(items: list[list[dict]]) -> dict[str, Tensor]:
        molecules = [molecule for batch in items for molecule in batch]
        inputs = mask([{"input_ids": molecule["input_ids"]} for molecule in molecules])
        if "descriptors" in molecules[0]:
            inputs["descriptors"] = torch.from_numpy(np.stack([m["descriptors"] for m in molecules]))
        return inputs

    return collate


def initial_model(plan: Plan, n_descriptors: int) -> MolformerForMaskedLM:
    """The weights of a checkpoint, or random ones in the mini architecture; without dropout."""
    if plan.start:
        plain = MolformerForMaskedLM.from_pretrained(plan.start, hidden_dropout_prob=0.0, embedding_dropout_prob=0.0)
    else:
        plain = MolformerForMaskedLM(MolformerConfig(**MINI))
    if not plan.descriptors:
        return plain
    both = TwoTasks(cast(MolformerConfig, plain.config), n_descriptors, plan.descriptors)
    both.load_state_dict(plain.state_dict(), strict=False)  # all but the regression's own weights
    return both


def save(model: MolformerForMaskedLM, names: list[str], folder: Path) -> None:
    """Write the masked-language model, in the published layout, and the names of the descriptors that it predicted."""
    plain = MolformerForMaskedLM(cast(MolformerConfig, model.config))
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("descriptor_head")})
    plain.save_pretrained(folder)
    if names:
        write_atomically(folder / "descriptors.json", json.dumps(names, indent=1) + "\n")


def training_arguments(plan: Plan, folder: Path, n_batches: int) -> OneDevice:
    """AdamW with warm-up, constant rate and decay; a step reads one batch per process."""
    n_processes = int(os.environ.get("WORLD_SIZE", 1))
    n_steps = -(-n_batches // n_processes)
    # A GPU before capability 8, such as the T4, computes bf16 only by emulation; on a CPU the checkpoints were fp32.
    precision = resolved_precision("auto") if torch.cuda.is_available() else "fp32"
    return OneDevice(
        output_dir=str(folder),
        per_device_train_batch_size=1,  # an item of the data set is a whole batch
        num_train_epochs=1,
        learning_rate=plan.learning_rate,
        weight_decay=0.01,
        adam_beta2=0.99,
        max_grad_norm=1.0,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": int(DECAY * n_steps)},
        warmup_steps=min(500, n_steps // 10),
        optim="adamw_torch_fused",
        save_steps=plan.save_steps,
        save_total_limit=2,
        logging_steps=100,
        disable_tqdm=not sys.stderr.isatty(),
        report_to="none",
        ddp_backend="gloo" if n_processes > 1 and not torch.cuda.is_available() else None,
        fp16=precision == "fp16",
        bf16=precision == "bf16",
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=plan.seed,
        remove_unused_columns=False,
        label_names=["labels"],
    )


if __name__ == "__main__":
    name = sys.argv[1]
    plan = PLANS[name]
    excluded = excluded_molecules(plan.descriptors > 0)
    corpus = draw_corpus(plan.tokens, CHEMBL_SHARE, excluded, plan.seed, plan.n_moses)
    pretrain(corpus, plan, FOLDER / f"{name}-run")
