"""The first lines of a notebook: its profile, what the profile means, and what it runs on."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from ..settings import MEANING, Settings, settings


def start(profile: str) -> Settings:
    """Settings of a profile, unless ``MOLFT_PROFILE`` names another; prints versions, and what the profile means."""
    cfg = settings(os.environ.get("MOLFT_PROFILE") or profile)
    print(versions(cfg))
    print(f"{cfg.profile}: {MEANING[cfg.profile]}")
    if cfg.profile in ("best", "report") and not torch.cuda.is_available():
        print("There is no GPU. On Colab: Runtime > Change runtime type > T4 GPU. The profile class needs none.")
    return cfg


def versions(cfg: Settings) -> str:
    """One line for the top of a notebook: profile, versions of the libraries, device."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft", "rdkit"))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return f"profile {cfg.profile} · molft {own_version()}, Python {platform.python_version()}, {packages} · {device}"


def own_version() -> str:
    """The version of the package; "0+unknown" for a checkout that was not installed."""
    try:
        return version("molft")
    except PackageNotFoundError:
        return "0+unknown"
