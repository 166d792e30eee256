"""Parameter-efficient fine-tuning with the peft library: full, BitFit, LoRA and (IA)^3. The head always trains.

======== ================================================================================ =========================
method   what trains besides the head                                                      paper
======== ================================================================================ =========================
full     everything
bitfit   the encoder's biases                                                              Ben-Zaken et al. 2022
lora     W + (alpha / r) B A on query and value, A [r, in] and B [out, r], B = 0 at first  Hu et al. 2022
lora-all the same on all six linear layers of an encoder layer                             Schulman et al. 2025
ia3      a factor for each key, value and inner feed-forward activation, 1 at first        Liu et al. 2022
======== ================================================================================ =========================
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from .errors import MolftError, SettingsError
from .molformer import FeatureMap, MolformerConfig
from .profiles import EVERY_METHOD, Settings

#: peft matches these patterns against a module's whole name: "output.dense" alone would match in the attention as well.
LORA_TARGETS = r".*\.attention\.self\.(query|value)"
FEED_FORWARD = r".*\.layer\.\d+\.output\.dense"
LORA_ALL_TARGETS = (
    r".*\.layer\.\d+\.(attention\.self\.(query|key|value)|attention\.output\.dense|intermediate\.dense|output\.dense)"
)
IA3_TARGETS = rf"(.*\.attention\.self\.(key|value))|({FEED_FORWARD})"

HEAD = "classifier"
OMEGA = "omega.safetensors"


def apply_method(model: PreTrainedModel, method: str, settings: Settings) -> PreTrainedModel | PeftModel:
    """Choose which parameters of a regression model train. The model is changed in place; LoRA and (IA)^3 wrap it.

    LoRA and (IA)^3 also keep Omega constant in training: an adapter fits the Omega that it was trained with.

    Parameters
    ----------
    model
        A plain regression model.
    method : {"full", "bitfit", "lora", "ia3", "lora-all"}
    settings
        The group lora is read.

    Raises
    ------
    SettingsError
        For an unknown method.
    MolftError
        If the installed torchao is too old for peft (as on Colab); the message names the remedy.
    """
    if method not in EVERY_METHOD:
        raise SettingsError(f"unknown method {method!r}; choose one of {', '.join(EVERY_METHOD)}")
    if method == "full":
        return model
    if method == "bitfit":
        for name, p in model.named_parameters():
            p.requires_grad_(name.endswith(".bias") or name.startswith(HEAD))
        return model
    hold_omega(model)
    try:
        with _quiet_peft():
            return cast(PeftModel, get_peft_model(model, _config(model, method, settings)))
    except ImportError as error:
        raise MolftError(f"peft cannot start: {error}. Remedy: pip uninstall --yes torchao") from error


def _config(model: PreTrainedModel, method: str, settings: Settings) -> LoraConfig | IA3Config:
    # The layers of the head one by one: peft's (IA)^3 cannot unload a saved module without a weight of its own.
    layers = model.get_submodule(HEAD).named_children()
    head = [f"{HEAD}.{name}" for name, layer in layers if isinstance(layer, nn.Linear)]
    if method == "ia3":
        return IA3Config(target_modules=IA3_TARGETS, feedforward_modules=FEED_FORWARD, modules_to_save=head)
    return LoraConfig(
        r=settings.lora.rank,
        lora_alpha=settings.lora.alpha,
        lora_dropout=settings.lora.dropout,
        target_modules=LORA_TARGETS if method == "lora" else LORA_ALL_TARGETS,
        modules_to_save=head,
    )


def hold_omega(model: nn.Module) -> None:
    """Draw no new Omega in training."""
    for module in _feature_maps(model):
        module.redraw_in_training = False


def trainable(model: nn.Module) -> tuple[int, int]:
    """The numbers of parameters that train, and of all; a head that peft keeps twice counts once."""
    # peft keeps the untrained head beside the copy that trains.
    counted = [p for name, p in model.named_parameters() if ".original_module." not in name]
    return sum(p.numel() for p in counted if p.requires_grad), sum(p.numel() for p in counted)


def expected_parameters(config: MolformerConfig, method: str, settings: Settings) -> int:
    """Number of trained parameters in closed form, for a linear head.

    D is the hidden size, I the inner size of the feed-forward, N the number of layers; the head has D + 1 parameters.
    BitFit trains N (7 D + I) + D: the biases of query, key, value, two outputs and two LayerNorms, of the inner layer,
    and of the last LayerNorm. LoRA trains N * 2 * r * 2 D, on all linear layers N r (4 * 2 D + 2 (D + I)), and (IA)^3
    N (2 D + I).
    """
    d, inner, n = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    layer = 4 * (d * d + d) + (d * inner + inner) + (inner * d + d) + 4 * d
    encoder = {
        "full": config.vocab_size * d + n * layer + 2 * d,
        "bitfit": n * (7 * d + inner) + d,
        "lora": n * 2 * settings.lora.rank * 2 * d,
        "lora-all": n * settings.lora.rank * (4 * 2 * d + 2 * (d + inner)),
        "ia3": n * (2 * d + inner),
    }
    return encoder[method] + d + 1


def merged(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """A plain model with the same predictions: the updates of LoRA and (IA)^3 are merged into the weights."""
    return model.merge_and_unload() if isinstance(model, PeftModel) else model


def save_adapter(model: PeftModel, folder: str | Path) -> None:
    """Write the adapter, the head, and the Omega that they were trained with, which peft itself does not save."""
    folder = Path(folder)
    model.save_pretrained(str(folder))
    omega = {str(i): m.weight.contiguous() for i, m in enumerate(_feature_maps(model))}
    save_file(omega, folder / OMEGA)
    cast(PreTrainedModel, model.get_base_model()).config.save_pretrained(folder)


def load_adapter(base: PreTrainedModel, folder: str | Path) -> PeftModel:
    """Put a saved adapter with its head and its Omega on the checkpoint ``base`` that it was trained from."""
    folder = Path(folder)
    saved = MolformerConfig.from_pretrained(folder)
    for name in ("label_mean", "label_std", "canonical_smiles", "max_tokens", "n_random"):
        setattr(base.config, name, getattr(saved, name))
    omega = load_file(folder / OMEGA)
    for i, module in enumerate(_feature_maps(base)):
        module.weight = omega[str(i)].to(module.weight)
    hold_omega(base)
    with _quiet_peft():
        return PeftModel.from_pretrained(base, folder).eval()


@contextmanager
def _quiet_peft() -> Iterator[None]:
    """Silence the warning of transformers that peft uses the old name of a property."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        yield


def _feature_maps(model: nn.Module) -> list[FeatureMap]:
    return [module for module in model.modules() if isinstance(module, FeatureMap)]
