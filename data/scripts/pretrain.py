"""Pretrain the small checkpoints: ``python -m molft_utils.making.pretrain``, or ``make mini``.

Masked-language modelling on molecules of ChEMBL and MOSES, without any molecule of Lipophilicity: 15 % of the tokens
are predicted; 80 % of these become ``<mask>``, 10 % another token, and 10 % stay. With ``--descriptors`` the model is
also asked for what RDKit computes from the molecule's graph. Molecules of similar lengths go into one batch, so that
there is little padding.

The learning rate warms up, stays constant, and decays over the last part of the run. ``--init`` starts from the weights
of an earlier checkpoint, so that pretraining can be spread over several sessions. The Trainer's own checkpoints make a
run resumable: it goes on from the last one with the same batches, though their first masks are drawn otherwise than in
a run that nobody interrupts, as the loader reads one batch ahead.

``torchrun --nproc-per-node 2 -m molft_utils.making.pretrain`` shares each step between two processes; with
``OMP_NUM_THREADS=1`` they are faster than one process of two threads.
"""

import argparse
import json
import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback

from ..data import DESCRIPTORS, flat_key, load_logp
from ..experiments import described
from ..files import MINI_FOLDER, ROOT, naming_unwritable, write_atomically, write_checksums
from ..molformer import MolformerConfig, MolformerForMaskedLM, load_tokenizer, quiet_transformers
from ..training import Checksums, OneDevice, alone_in, mlm_collator, resolved_precision, resume_point
from . import make_data
from .corpus import Corpus, TokenBatches, draw_corpus, first_secondary_pool, standardised, usable

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


class TwoTasks(MolformerForMaskedLM):
    """Masked-language modelling, and beside it a linear regression of descriptors on the pooled vector.

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


class TimeBudget(TrainerCallback):
    """Write a checkpoint and stop when the budget, in seconds, is spent."""

    def __init__(self, seconds: float):
        self.deadline = time.monotonic() + seconds

    def on_step_end(self, args, state, control, **kwargs):
        # On the GPU where the process has one: NCCL reduces no tensor of the CPU.
        spent = torch.tensor(float(time.monotonic() > self.deadline), device=args.device)
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(spent)  # all processes stop at the same step
        if spent:
            control.should_save = control.should_training_stop = True


def excluded_molecules(descriptors: bool) -> set[str]:
    """Keys of the molecules that a checkpoint never sees in pretraining.

    Lipophilicity, and for the checkpoint with descriptors all molecules with a measured logP. The one without was made
    when another set was the secondary one; it leaves that out.
    """
    others = load_logp()["smiles"] if descriptors else first_secondary_pool()
    return make_data.lipophilicity_keys() | {flat_key(s) for s in others}


def pretrain(args: argparse.Namespace) -> None:
    """Pretrain, or resume an interrupted run with the same arguments, and write the weights to ``args.output``.

    Raises
    ------
    CheckpointError
        If the run folder holds a run with other arguments.
    """
    excluded = excluded_molecules(args.descriptors > 0)
    pretrain_on(draw_corpus(args.tokens, args.chembl_share, excluded, args.seed, args.moses_molecules), args)


def pretrain_on(molecules: Corpus, args: argparse.Namespace) -> None:
    """As :func:`pretrain`, on a corpus that is given."""
    torch.manual_seed(args.seed)
    targets, names = descriptor_targets(molecules) if args.descriptors else (None, [])
    model = _initial_model(args.init, len(names), args.descriptors)
    batches = TokenBatches(molecules, args.tokens_per_batch, args.seed, targets, args.random_share)
    trainer = Trainer(
        model=model,
        args=_training_arguments(args, n_batches=len(batches)),
        train_dataset=batches,
        data_collator=collator(args.masked_share),
        callbacks=[TimeBudget(60 * args.minutes), Checksums()],
    )
    no_input = ("minutes", "run_folder", "output", "save_steps")
    stamp = {name: str(value) for name, value in vars(args).items() if name not in no_input}
    if trainer.is_world_process_zero():
        print(f"{len(molecules.readings):,} molecules read, {molecules.n_tokens:,} tokens, {len(names)} descriptors")
    with (
        naming_unwritable(args.run_folder),
        alone_in(args.run_folder) if trainer.is_world_process_zero() else nullcontext(),
    ):
        start = resume_point(args.run_folder, stamp)
        with quiet_transformers():
            trainer.train(resume_from_checkpoint=start)
    if trainer.state.global_step < trainer.state.max_steps:
        print(f"stopped by the time budget at step {trainer.state.global_step}; run the command again to resume")
    elif trainer.is_world_process_zero():
        _save(model, names, args.output)


def descriptor_targets(molecules: Corpus) -> tuple[np.ndarray, list[str]]:
    """Standardised descriptors [n, d] of the corpus's molecules, and the names of these that make targets."""
    values = described(molecules.smiles)
    kept = usable(values)
    return standardised(values[:, kept]), [name for name, keep in zip(DESCRIPTORS, kept, strict=True) if keep]


def collator(masked_share: float):
    """Makes of items, each a batch of :class:`TokenBatches`, what the model reads."""
    mask = mlm_collator(load_tokenizer(), masked_share)

    def collate(items: list[list[dict]]) -> dict[str, Tensor]:
        molecules = [molecule for batch in items for molecule in batch]
        inputs = mask([{"input_ids": molecule["input_ids"]} for molecule in molecules])
        if "descriptors" in molecules[0]:
            inputs["descriptors"] = torch.from_numpy(np.stack([m["descriptors"] for m in molecules]))
        return inputs

    return collate


def _initial_model(checkpoint: Path | None, n_descriptors: int, weight: float) -> MolformerForMaskedLM:
    """The weights of a checkpoint, or random ones in the mini architecture; without dropout."""
    if checkpoint:
        plain = MolformerForMaskedLM.from_pretrained(checkpoint, hidden_dropout_prob=0.0, embedding_dropout_prob=0.0)
    else:
        plain = MolformerForMaskedLM(MolformerConfig(**MINI))
    if not weight:
        return plain
    both = TwoTasks(cast(MolformerConfig, plain.config), n_descriptors, weight)
    both.load_state_dict(plain.state_dict(), strict=False)  # all but the regression's own weights
    return both


def _save(model: MolformerForMaskedLM, names: list[str], folder: Path) -> None:
    """Write the masked-language model, in the published layout, and the names of the descriptors that it was asked."""
    plain = MolformerForMaskedLM(cast(MolformerConfig, model.config))
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("descriptor_head")})
    plain.save_pretrained(folder)
    if names:
        write_atomically(folder / "descriptors.json", json.dumps(names, indent=1) + "\n")
    write_checksums(folder, [folder / "model.safetensors", folder / "config.json"])


def _training_arguments(args: argparse.Namespace, n_batches: int) -> OneDevice:
    n_processes = int(os.environ.get("WORLD_SIZE", 1))
    n_steps = -(-n_batches // n_processes)
    # A GPU before capability 8, such as the T4, computes bf16 only by emulation; on a CPU the checkpoints were fp32.
    precision = resolved_precision("auto") if torch.cuda.is_available() else "fp32"
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
        warmup_steps=min(500, n_steps // 10),
        optim="adamw_torch_fused",
        save_steps=args.save_steps,
        save_total_limit=2,
        logging_steps=100,
        disable_tqdm=not sys.stderr.isatty(),
        report_to="none",
        ddp_backend="gloo" if n_processes > 1 and not torch.cuda.is_available() else None,
        fp16=precision == "fp16",
        bf16=precision == "bf16",
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=args.seed,
        remove_unused_columns=False,
        label_names=["labels"],
    )


def arguments(line: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line; `make mini` holds the calls that made the committed checkpoints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=lambda s: int(float(s)), default=26_000_000)
    parser.add_argument("--tokens-per-batch", type=int, default=2048)
    parser.add_argument("--chembl-share", type=float, default=0.6)
    parser.add_argument("--moses-molecules", type=int, help="read so many MOSES molecules repeatedly")
    parser.add_argument("--masked-share", type=float, default=0.15, help="share of the tokens that are predicted")
    parser.add_argument("--random-share", type=float, default=0.0, help="share of the molecules as random SMILES")
    parser.add_argument("--descriptors", type=float, default=0.0, help="weight of the descriptors' loss; 0 for none")
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--decay", type=float, default=0.25, help="share of the steps in which the learning rate falls")
    parser.add_argument("--minutes", type=float, default=600.0, help="time budget; run again to resume")
    parser.add_argument("--save-steps", type=int, default=1000, help="steps from one checkpoint to the next")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--init", type=Path, help="start from this checkpoint's weights")
    parser.add_argument("--run-folder", type=Path, default=RUN_FOLDER)
    parser.add_argument("--output", type=Path, default=MINI_FOLDER)
    return parser.parse_args(line)


if __name__ == "__main__":
    pretrain(arguments())
