"""Training on labels and on masked tokens, and what a trained model says."""

from .batches import LengthBatches, length_batches, model_tokens, molecule_batches, pad
from .inference import attention, embed, predict
from .mlm import fill_mask, masked_scores, mlm_collator, pretrain_mlm
from .regression import finetune
from .trainer import Fit, Moment, OneDevice, load_moments, resolved_precision
