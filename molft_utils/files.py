"""The places where files lie, and how files are written and told apart.

In a checkout, data lies in ``data/`` and what a run leaves in ``runs/``, both beside the package. An installed wheel
carries the data inside the package, and leaves ``runs/`` in the working directory.
"""

import errno
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import DataError, MolftError, StorageError

PACKAGE_FOLDER = Path(__file__).resolve().parent


def _is_checkout(folder: Path) -> bool:
    """Whether the folder is the repository; site-packages may hold a ``data`` of somebody else's."""
    return (folder / "pyproject.toml").is_file() and (folder / "data").is_dir()


IN_CHECKOUT = _is_checkout(PACKAGE_FOLDER.parent)

#: The repository; for an installed wheel the working directory in which the package was first imported.
ROOT = PACKAGE_FOLDER.parent if IN_CHECKOUT else Path.cwd()

#: pyproject.toml puts the repository's ``data`` into a wheel under this name.
DATA_FOLDER = ROOT / "data" if IN_CHECKOUT else PACKAGE_FOLDER / "shipped"
MINI_FOLDER = DATA_FOLDER / "molformer-mini"

#: The checkpoints that the repository carries, by name.
CARRIED = {"mini": MINI_FOLDER, "mini-descriptors": DATA_FOLDER / "molformer-mini-descriptors"}

#: All checkpoints that have a name: these, and "xl", the published one on the hub. Any other is a folder.
NAMED = (*CARRIED, "xl")

NOTEBOOKS_FOLDER = ROOT / "notebooks"
RUNS_FOLDER = ROOT / "runs"
DOWNLOADS_FOLDER = RUNS_FOLDER / "downloads"
PAGES_FOLDER = RUNS_FOLDER / "pages"


def stages_folder() -> Path:
    """Where stages keep their results: ``MOLFT_STAGES``, read at every call, or ``runs/stages``."""
    return Path(os.environ.get("MOLFT_STAGES") or RUNS_FOLDER / "stages")


def figures_folder() -> Path:
    """Where figures are drawn: ``MOLFT_FIGURES``, read at every call, or ``runs/figures``.

    The committed ``figures/`` are written by ``make notebooks`` alone, so that a reader's run leaves them as they are.
    """
    return Path(os.environ.get("MOLFT_FIGURES") or RUNS_FOLDER / "figures")


def data_file(name: str) -> Path:
    """The path of a file that comes with molft, for instance ``"lipophilicity.csv"`` or ``"results/grid.csv"``.

    Raises
    ------
    DataError
        If the file is missing: this copy was installed without its data, or the file was deleted.
    """
    path = DATA_FOLDER / name
    if path.exists():
        return path
    if IN_CHECKOUT:
        raise DataError(f"{path} does not exist; `git checkout {path.relative_to(ROOT)}` brings it back")
    raise DataError(
        f"{path} does not exist; install the wheel that `pip wheel . --no-deps` builds in the repository (it carries "
        "the data), or work in a clone of the repository and run `make` there"
    )


def file_hash(path: Path) -> str:
    """Sha256 of a file's content, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part; text is written as UTF-8.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with naming_unwritable(path.parent):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
            os.replace(temporary, path)
        finally:
            if temporary.exists():
                temporary.unlink()


#: Numbers of the errors that mean: nothing can be written here.
_UNWRITABLE = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST,
)  # fmt: skip

#: Words of torch for a file that could not be written, which tell no reason.
_OF_TORCH = ("inline_container", "iostream error")


@contextmanager
def naming_unwritable(folder: Path, remedy: str = "choose another folder") -> Iterator[None]:
    """Where a write fails because the disk is full or the folder cannot be written, name the folder and the remedy.

    Raises
    ------
    StorageError
        In place of what Python, torch or safetensors raise.
    """
    try:
        yield
    except Exception as error:  # safetensors has an exception of its own
        if isinstance(error, MolftError) or not (why := _why_unwritable(error)):
            raise
        raise StorageError(f"{folder} cannot be written: {why}. Free some space there, or {remedy}.") from error


def _why_unwritable(error: Exception) -> str | None:
    """What the system says of a failed write; None for any other error."""
    if isinstance(error, OSError):
        return error.strerror if error.errno in _UNWRITABLE else None
    if found := re.search(r"os error (\d+)", str(error)):  # safetensors
        return os.strerror(int(found[1])) if int(found[1]) in _UNWRITABLE else None
    return "torch could not; the disk may be full" if any(text in str(error) for text in _OF_TORCH) else None


#: A folder's file of checksums, in the form of ``sha256sum --check``.
CHECKSUMS = "SHA256SUMS"


def write_checksums(folder: Path, files: Iterable[Path] | None = None) -> None:
    """Write down the checksums of files of a folder, or of all of its own files, so that damage is noticed."""
    chosen = sorted(path for path in (folder.iterdir() if files is None else files) if path.is_file())
    lines = [f"{file_hash(path)}  {path.name}\n" for path in chosen if path.name != CHECKSUMS]
    write_atomically(folder / CHECKSUMS, "".join(lines))


def damaged_files(folder: Path) -> list[str]:
    """Names of the files that are missing or not as they were written; none where no checksums were written down."""
    sums = folder / CHECKSUMS
    if not sums.exists():
        return []
    lines = sums.read_text(encoding="utf-8", errors="replace").splitlines()
    pairs = [line.split("  ", 1) for line in lines if "  " in line]
    wrong = [name for known, name in pairs if not (folder / name).is_file() or file_hash(folder / name) != known]
    return wrong if pairs and len(pairs) == len(lines) else [CHECKSUMS]
