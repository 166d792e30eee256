"""Parameter-efficient fine-tuning: full, BitFit, LoRA and (IA)^3, on the peft library. The head always trains.

======== ================================================================================ =========================
method   what trains, beside the head                                                      paper
======== ================================================================================ =========================
full     everything
bitfit   the encoder's biases                                                              Ben-Zaken et al. 2022
lora     W + (alpha / r) B A on query and value, A [r, in] and B [out, r], B = 0 at first  Hu et al. 2022
ia3      a factor for each key, value and inner feed-forward activation, 1 at first        Liu et al. 2022
======== ================================================================================ =========================
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from .errors import MolftError, SettingsError
from .molformer import FeatureMap, MolformerConfig
from .profiles import METHODS, Settings

#: peft matches these against the whole name. A suffix like "output.dense" would catch the attention's as well.
LORA_TARGETS = r".*\.attention\.self\.(query|value)"


FEED_FORWARD = r".*\.layer\.\d+\.output\.dense"


IA3_TARGETS = rf"(.*\.attention\.self\.(key|value))|({FEED_FORWARD})"


HEAD = "classifier"


OMEGA = "omega.safetensors"


def apply_method(model: PreTrainedModel, method: str, settings: Settings) -> nn.Module:
    """Make a regression model train by a method; the model is changed in place, LoRA and (IA)^3 wrap it.

    With LoRA and (IA)^3, Omega stays as it is in training too: an adapter fits the Omega that it was trained with.

    Raises
    ------
    SettingsError
        For an unknown method.
    MolftError
        Where the installed torchao is too old for peft (as on Colab), with the remedy.
    """
    if method not in METHODS:
        raise SettingsError(f"unknown method {method!r}; choose one of {', '.join(METHODS)}")
    if method == "full":
        return model
    if method == "bitfit":
        for name, p in model.named_parameters():
            p.requires_grad_(name.endswith(".bias") or name.startswith(HEAD))
        return model
    for module in _feature_maps(model):
        module.redraw[True] = False
    try:
        with _quiet_peft():
            return get_peft_model(model, _config(model, method, settings))
    except ImportError as error:
        raise MolftError(f"peft cannot start: {error}. Remedy: pip uninstall --yes torchao") from error


def learning_rate(method: str, settings: Settings) -> float:
    """The learning rate that the settings give a method."""
    return settings.learning_rate if method == "full" else getattr(settings, f"{method}_learning_rate")


def _config(model: PreTrainedModel, method: str, settings: Settings) -> LoraConfig | IA3Config:
    # The head's layers one by one: peft's (IA)^3 cannot unload a saved module that has no weight itself.
    head = [f"{HEAD}.{name}" for name, layer in model.classifier.named_children() if isinstance(layer, nn.Linear)]
    if method == "ia3":
        return IA3Config(target_modules=IA3_TARGETS, feedforward_modules=FEED_FORWARD, modules_to_save=head)
    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=LORA_TARGETS,
        modules_to_save=head,
    )


def trainable(model: nn.Module) -> tuple[int, int]:
    """Numbers of parameters (those that train, all); a head that peft keeps twice counts once."""
    # peft keeps the untrained head beside the copy that trains.
    counted = {n: p for n, p in model.named_parameters() if ".original_module." not in n}
    return sum(p.numel() for p in counted.values() if p.requires_grad), sum(p.numel() for p in counted.values())


def expected_parameters(config: MolformerConfig, method: str, settings: Settings) -> int:
    """Number of trained parameters in closed form, for a linear head.

    With D the hidden size, I the feed-forward's inner size, N layers and a head of D + 1: BitFit N (7 D + I) + D
    (biases of query, key, value, two outputs and two LayerNorms, of the inner layer, and of the last LayerNorm); LoRA
    N * 2 * r * 2 D; (IA)^3 N (2 D + I).
    """
    d, inner, n = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    layer = 4 * (d * d + d) + (d * inner + inner) + (inner * d + d) + 4 * d
    encoder = {
        "full": config.vocab_size * d + n * layer + 2 * d,
        "bitfit": n * (7 * d + inner) + d,
        "lora": n * 2 * settings.lora_rank * 2 * d,
        "ia3": n * (2 * d + inner),
    }
    return encoder[method] + d + 1


def merged(model: nn.Module) -> PreTrainedModel:
    """A plain model with the same predictions: LoRA and (IA)^3 are multiplied into the weights."""
    return model.merge_and_unload() if isinstance(model, PeftModel) else model


def save_adapter(model: PeftModel, folder: str | Path) -> None:
    """Write the adapter, the head and the Omega that they were trained with (peft itself leaves Omega out)."""
    folder = Path(folder)
    model.save_pretrained(folder)
    omega = {str(i): m.weight.contiguous() for i, m in enumerate(_feature_maps(model))}
    save_file(omega, folder / OMEGA)
    model.get_base_model().config.save_pretrained(folder)


def load_adapter(base: PreTrainedModel, folder: str | Path) -> PeftModel:
    """Put a saved adapter, its head and its Omega on the checkpoint that it was trained from."""
    folder = Path(folder)
    saved = MolformerConfig.from_pretrained(folder)
    for name in ("label_mean", "label_std", "canonical_smiles", "max_tokens", "n_random"):
        if hasattr(saved, name):
            setattr(base.config, name, getattr(saved, name))
    omega = load_file(folder / OMEGA)
    for i, module in enumerate(_feature_maps(base)):
        module.weight = omega[str(i)].to(module.weight)
        module.redraw[True] = False
    with _quiet_peft():
        return PeftModel.from_pretrained(base, folder).eval()


@contextmanager
def _quiet_peft() -> Iterator[None]:
    """Silence transformers' notice that peft calls a property by its old name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        yield


def _feature_maps(model: nn.Module) -> list[FeatureMap]:
    return [module for module in model.modules() if isinstance(module, FeatureMap)]
