"""The first lines of a notebook: its profile, what the profile means, and what it runs on."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from ..errors import SettingsError
from ..experiments import pipeline
from ..settings import MEANING, Settings, settings

#: Where results lie that outlive a Colab runtime.
DRIVE, STAGES_IN_DRIVE = "/content/drive", "/content/drive/MyDrive/molft/stages"


def start(profile: str, keep_in_drive: bool = False, **changes: Any) -> Settings:
    """Settings of a profile, unless ``MOLFT_PROFILE`` names another; prints versions, and what the profile means.

    With ``keep_in_drive`` (Colab only) finished results go to Google Drive; switched off again, they no longer do.
    ``changes`` are settings with another value, for instance ``table="my.csv", target="solubility"``.
    """
    if keep_in_drive:
        _mount_drive()
        os.environ["MOLFT_STAGES"] = STAGES_IN_DRIVE
    elif os.environ.get("MOLFT_STAGES") == STAGES_IN_DRIVE:
        del os.environ["MOLFT_STAGES"]
    cfg = settings(os.environ.get("MOLFT_PROFILE") or profile, **changes)
    if cfg.table is not None:
        pipeline.tables(cfg)  # what is wrong with it is said here; the lesson finds it loaded
    print(versions(cfg))
    print(f"{cfg.profile}: {MEANING[cfg.profile]}")
    if cfg.profile in ("best", "report") and not torch.cuda.is_available():
        print("There is no GPU. On Colab: Runtime > Change runtime type > T4 GPU. The profile class needs none.")
    return cfg


def _mount_drive() -> None:
    try:
        from google.colab import drive  # type: ignore[import-not-found]

        drive.mount(DRIVE)
    except (ImportError, ValueError) as error:  # not Colab; login refused
        raise SettingsError(f"Drive is not mounted ({error}): try again, or set KEEP_IN_DRIVE to False") from error


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
