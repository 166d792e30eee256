"""Virtual environments beside ``.venv``, for trials with other versions: made once, under ``runs/``."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path


def find_python(version: str) -> str | None:
    """An interpreter of that version ("3.13"), on the path or among pyenv's, or None."""
    installed = sorted(Path.home().glob(f".pyenv/versions/{version}*/bin/python"))
    for candidate in (f"python{version}", *map(str, installed)):
        try:
            subprocess.run([candidate, "--version"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return candidate
    return None


def environment(folder: Path, interpreter: str, stamp: str, fill: Callable[[Path], None]) -> Path:
    """The Python of a virtual environment, which is made and filled unless it is there with the same stamp.

    Parameters
    ----------
    folder
        Where it lies; what is there with another stamp, or half made, is removed.
    interpreter
        What makes it.
    stamp
        What decides on its packages.
    fill
        Installs them, given the environment's Python.
    """
    python, done = folder / "bin" / "python", folder / ".ready"
    if done.exists() and done.read_text(encoding="utf-8") == stamp:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([interpreter, "-m", "venv", folder], check=True)
    fill(python)
    done.write_text(stamp, encoding="utf-8")
    return python
