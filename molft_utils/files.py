"""The places where files lie, and how files are written and told apart."""

import hashlib
import os
from pathlib import Path

from .errors import DataError

ROOT = Path(__file__).resolve().parents[1]
DATA_FOLDER = ROOT / "data"
RUNS_FOLDER = ROOT / "runs"

#: The checkpoints that the repository carries, by name.
CARRIED = {"mini": DATA_FOLDER / "molformer-mini", "mini-descriptors": DATA_FOLDER / "molformer-mini-descriptors"}

#: All checkpoints that have a name: these, and "xl", the published one on the hub. Any other is a folder.
NAMED = (*CARRIED, "xl")


def stages_folder() -> Path:
    """Where results are kept: ``MOLFT_STAGES``, read at every call, or ``runs/stages``."""
    return _from_environment("MOLFT_STAGES") or RUNS_FOLDER / "stages"


def figures_folder() -> Path:
    """Where figures are drawn: ``MOLFT_FIGURES``, read at every call, or ``runs/figures``.

    The committed ``figures/`` are written by ``make notebooks`` alone, so that a reader's run leaves them as they are.
    """
    return _from_environment("MOLFT_FIGURES") or RUNS_FOLDER / "figures"


def _from_environment(name: str) -> Path | None:
    value = os.environ.get(name)
    return Path(value).expanduser().resolve() if value else None


def data_file(name: str) -> Path:
    """The path of a file of ``data/``, for instance ``"lipophilicity.csv"`` or ``"results/grid.csv"``.

    Raises
    ------
    DataError
        If the file is missing.
    """
    path = DATA_FOLDER / name
    if not path.exists():
        raise DataError(f"{path} does not exist; work in a clone of the repository, or `git checkout data/{name}`")
    return path


def readers_file(path: Path) -> Path:
    """The same path, if a file of the reader's is there; otherwise a ``DataError``."""
    if not os.path.exists(path):  # False for a name that no file can have, where pathlib raises
        raise DataError(f"{path.name} does not exist in the folder {path.parent}; put it there, or give its whole path")
    return path


def file_hash(path: Path) -> str:
    """Sha256 of a file's content, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part; text is written as UTF-8."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
