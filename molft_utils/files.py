"""The places where files lie, and how files are written and told apart."""

import hashlib
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA_FOLDER = ROOT / "data"
MINI_FOLDER = DATA_FOLDER / "molformer-mini"


def file_hash(path: Path) -> str:
    """Sha256 of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
