"""Pretrain the mini checkpoint: ``python -m molft_utils.making.pretrain``, or ``make mini``.

Masked-language modelling on molecules of MOSES and MoleculeACE, without any molecule of Lipophilicity or of the
secondary set: 15 % of the tokens are predicted; 80 % of these become ``<mask>``, 10 % another token, and 10 % stay.
Molecules of similar lengths go into one batch, so that there is little padding. The Trainer's own checkpoints make a
run resumable.

The learning rate warms up, stays constant, and decays over the last part of the run. ``--init`` starts from the weights
of an earlier checkpoint, so that pretraining can be spread over several sessions.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Trainer, TrainerCallback

from ..data import canonicalise, flat_key
from ..files import MINI_FOLDER, ROOT
from ..molformer import (
    MAX_TOKENS,
    MolformerConfig,
    MolformerForMaskedLM,
    load_tokenizer,
    quiet_transformers,
)
from ..training import OneDevice, mlm_collator, resume_point
from . import make_data, sources

RUN_FOLDER = ROOT / "runs" / "pretrain"

#: The mini architecture: hidden size 128, and a constant Omega (``redraw_in_training=False``), so that training
#: and evaluation see the same function.
MINI: dict[str, Any] = dict(
    hidden_size=128,
    num_hidden_layers=4,
    num_attention_heads=4,
    intermediate_size=256,
    hidden_dropout_prob=0.0,
    embedding_dropout_prob=0.0,
    redraw_in_training=False,
)


class TokenBatches(torch.utils.data.Dataset):
    """A data set whose items are batches: token ids of molecules of similar lengths.

    Parameters
    ----------
    sequences
        Token ids, one array [L] per molecule.
    tokens_per_batch
        Largest number of tokens in a batch, padding included.
    seed
        Fixes which molecules of equal length share a batch.
    """

    def __init__(self, sequences: list[np.ndarray], tokens_per_batch: int, seed: int):
        self.sequences = sequences
        rng = np.random.default_rng(seed)
        lengths = np.array([len(s) for s in sequences])
        order = np.lexsort((rng.random(len(lengths)), lengths))  # by length, and at random within one length
        # A batch ends before the molecule with which it would exceed the budget, padded to the longest.
        self.batches: list[np.ndarray] = []
        start = 0
        for stop in range(1, len(order) + 1):
            if stop == len(order) or (stop + 1 - start) * lengths[order[stop]] > tokens_per_batch:
                self.batches.append(order[start:stop])
                start = stop

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, i: int) -> list[dict]:
        return [{"input_ids": self.sequences[j].tolist()} for j in self.batches[i]]


class TimeBudget(TrainerCallback):
    """Write a checkpoint and stop when the budget, in seconds, is spent."""

    def __init__(self, seconds: float):
        self.deadline = time.monotonic() + seconds

    def on_step_end(self, args, state, control, **kwargs):
        if time.monotonic() > self.deadline:
            control.should_save = control.should_training_stop = True


def tokenise(smiles: list[str]) -> list[np.ndarray]:
    """Token ids as int16 arrays [L]; molecules with unknown symbols or more than 128 tokens are left out."""
    tokenizer = load_tokenizer()
    kept = []
    for start in range(0, len(smiles), 50_000):
        for ids in tokenizer(smiles[start : start + 50_000])["input_ids"]:
            if len(ids) <= MAX_TOKENS and tokenizer.unk_token_id not in ids:
                kept.append(np.array(ids, dtype=np.int16))
    return kept


def chembl_pool(excluded: set[str]) -> list[str]:
    """Canonical SMILES of the MoleculeACE molecules whose keys, without stereochemistry, are not in ``excluded``."""
    return [s for s in map(canonicalise, sources.moleculeace_smiles()) if flat_key(s) not in excluded]


def corpus(n_tokens: int, chembl_share: float, excluded: set[str], seed: int) -> list[np.ndarray]:
    """Token sequences to pretrain on.

    Parameters
    ----------
    n_tokens
        Number of tokens in all, approximately.
    chembl_share
        Share of the tokens from MoleculeACE, whose molecules are repeated as often as this needs; the others are from
        MOSES.
    excluded
        Keys of the molecules to leave out.
    seed
        Fixes which molecules are drawn.
    """
    rng = np.random.default_rng(seed)
    chembl = tokenise(chembl_pool(excluded))
    repeats = chembl_share * n_tokens / sum(map(len, chembl))
    full_repeats = [chembl[i] for _ in range(int(repeats)) for i in range(len(chembl))]
    last_repeat = [chembl[i] for i in rng.permutation(len(chembl))[: int(repeats % 1 * len(chembl))]]
    moses = sources.moses_smiles("train")
    n_moses = int((1 - chembl_share) * n_tokens / 37)  # a MOSES molecule has 37 tokens on average
    chosen = [moses[i] for i in rng.permutation(len(moses))[:n_moses]]
    # MOSES is stored in RDKit's canonical form and without stereochemistry, so its strings are their own keys.
    return full_repeats + last_repeat + tokenise([s for s in chosen if s not in excluded])


def excluded_molecules() -> set[str]:
    """Keys of the molecules that no model may see in pretraining: Lipophilicity and the secondary set."""
    return make_data.lipophilicity_keys() | {flat_key(s) for s in make_data.secondary_pool()}


def pretrain(args: argparse.Namespace) -> None:
    """Pretrain, or resume an interrupted run with the same arguments, and write the weights to ``args.output``.

    Raises
    ------
    CheckpointError
        If the run folder holds a run with other arguments.
    """
    torch.manual_seed(args.seed)
    model = _initial_model(args.init)
    batches = TokenBatches(
        corpus(args.tokens, args.chembl_share, excluded_molecules(), args.seed), args.tokens_per_batch, args.seed
    )
    n_tokens = sum(map(len, batches.sequences))
    print(f"{len(batches.sequences):,} molecules, {n_tokens:,} tokens, {len(batches):,} steps", flush=True)
    mask = mlm_collator(load_tokenizer())
    trainer = Trainer(
        model=model,
        args=_training_arguments(args, n_steps=len(batches)),
        train_dataset=batches,
        data_collator=lambda items: mask([molecule for batch in items for molecule in batch]),
        callbacks=[TimeBudget(60 * args.minutes)],
    )
    stamp = {name: str(value) for name, value in vars(args).items() if name not in ("minutes", "run_folder", "output")}
    start = resume_point(args.run_folder, stamp)
    with quiet_transformers():
        trainer.train(resume_from_checkpoint=start)
    if trainer.state.global_step < len(batches):
        print(f"stopped by the time budget at step {trainer.state.global_step}; run the command again to resume")
        return
    model.save_pretrained(args.output)


def _initial_model(checkpoint: Path | None) -> MolformerForMaskedLM:
    """The weights of a checkpoint, or random ones in the mini architecture; without dropout."""
    if checkpoint:
        return MolformerForMaskedLM.from_pretrained(checkpoint, hidden_dropout_prob=0.0, embedding_dropout_prob=0.0)
    return MolformerForMaskedLM(MolformerConfig(**MINI))


def _training_arguments(args: argparse.Namespace, n_steps: int) -> OneDevice:
    return OneDevice(
        output_dir=str(args.run_folder),
        per_device_train_batch_size=1,  # an item of the data set is a whole batch
        num_train_epochs=1,
        learning_rate=args.learning_rate,
        weight_decay=0.01,
        adam_beta2=0.99,
        max_grad_norm=1.0,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": int(args.decay * n_steps)},
        warmup_steps=500,
        optim="adamw_torch_fused",
        save_steps=1000,
        save_total_limit=2,
        logging_steps=100,
        disable_tqdm=not sys.stderr.isatty(),
        report_to="none",
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=args.seed,
        remove_unused_columns=False,
    )


def arguments(line: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line; `make mini` holds the two calls that made the committed checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=lambda s: int(float(s)), default=26_000_000)
    parser.add_argument("--tokens-per-batch", type=int, default=2048)
    parser.add_argument("--chembl-share", type=float, default=0.6)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--decay", type=float, default=0.25, help="share of the steps in which the learning rate falls")
    parser.add_argument("--minutes", type=float, default=600.0, help="time budget; run again to resume")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--init", type=Path, help="start from this checkpoint's weights")
    parser.add_argument("--run-folder", type=Path, default=RUN_FOLDER)
    parser.add_argument("--output", type=Path, default=MINI_FOLDER)
    return parser.parse_args(line)


if __name__ == "__main__":
    pretrain(arguments())
