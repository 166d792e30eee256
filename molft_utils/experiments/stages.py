"""A stage is a pure function of its inputs whose result is kept on disk: it runs once, and is loaded afterwards.

A result's folder is named after a fingerprint of the inputs. While a stage works, the name of its folder ends in
``.partial``, and the stage may use what an interrupted run left there. When it is done the folder is renamed in one
step, so a result is either whole or absent.
"""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import CheckpointError
from ..files import (
    DATA_FOLDER,
    IN_CHECKOUT,
    NAMED,
    ROOT,
    damaged_files,
    file_hash,
    naming_unwritable,
    stages_folder,
    write_atomically,
    write_checksums,
)
from ..inputs import changes, fingerprint
from ..molformer import checkpoint_hash, device
from ..profiles import Settings
from ..training import resolved_precision

#: Libraries whose versions are among a stage's inputs.
LIBRARIES = ("torch", "transformers", "peft", "rdkit")


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of stage: the version of its code, the groups of settings that it reads, the kinds that it starts from.

    ``version`` stands for the code. Raise it when the code gives another outcome; a test compares a tiny run with its
    stored outcome, and fails until this is done.
    """

    name: str
    version: int
    groups: tuple[str, ...] = ()
    after: tuple["Kind", ...] = ()

    def all(self) -> Iterator["Kind"]:
        """This kind and all that it starts from."""
        yield self
        for kind in self.after:
            yield from kind.all()


@dataclasses.dataclass(frozen=True)
class Result:
    """A stage's ``folder``, the ``record`` that it wrote there, and whether it was there already (``reused``)."""

    folder: Path
    record: dict
    reused: bool


_redirected: ContextVar[Path | None] = ContextVar("stages", default=None)


def current_folder() -> Path:
    """Where results are kept: the folder of :func:`in_folder`, else ``MOLFT_STAGES``, else ``runs/stages``."""
    return _redirected.get() or stages_folder()


@contextmanager
def in_folder(folder: Path) -> Iterator[None]:
    """Keep results in another folder. A worker process does not see this: pass the folder along with its task."""
    token = _redirected.set(folder)
    try:
        yield
    finally:
        _redirected.reset(token)


def inputs_of(settings: Settings | None, *kinds: Kind) -> dict[str, Any]:
    """What results of these kinds depend on, as JSON: settings, data, checkpoint, code, libraries, device."""
    all_kinds = [earlier for kind in kinds for earlier in kind.all()]
    inputs: dict[str, Any] = {
        "stages": {kind.name: kind.version for kind in all_kinds},
        "libraries": {name: _release(name) for name in LIBRARIES},
        "device": device().type,
    }
    for group in sorted({group for kind in all_kinds for group in kind.groups}):
        inputs[group] = as_inputs(getattr(settings, group))
    if "data" in inputs:
        own = settings.data.table if settings is not None else None
        inputs["lipophilicity"] = file_hash(Path(own) if own else DATA_FOLDER / "lipophilicity.csv")
        if own:
            inputs["data"]["table"] = "a file"  # the input is what it holds, not where it lies
    if settings is not None and "training" in inputs:
        checkpoint = settings.training.checkpoint
        inputs["training"]["precision"] = resolved_precision(settings.training.precision)
        # The input is what a folder holds, not where it lies.
        inputs["training"]["checkpoint"] = checkpoint if checkpoint in NAMED else "a folder"
        inputs["checkpoint"] = checkpoint_hash(checkpoint)
    return inputs


@cache
def _release(library: str) -> str:
    """An installed library's version, whatever build it is."""
    return version(library).partition("+")[0]


def as_inputs(group: Any) -> dict[str, Any]:
    """A group of settings as JSON, without the fields that are no input while they are unset."""
    unset = {
        field.name
        for field in dataclasses.fields(group)
        if field.metadata.get("unset_is_no_input") and getattr(group, field.name) is None
    }
    return {name: value for name, value in dataclasses.asdict(group).items() if name not in unset}


def run_stage(
    kind: Kind,
    settings: Settings | None,
    key: Mapping[str, Any],
    compute: Callable[[Path, Any], dict],
) -> Result:
    """Return the result of ``compute(folder, settings)``, and run it only if the result is not on disk.

    A result with a file that is missing, or not as it was written, is reported and computed again.

    Parameters
    ----------
    kind, settings
        ``compute`` gets only the kind's groups of the settings: it cannot read what is not in the fingerprint. It gets
        None where ``settings`` is None.
    key
        What is asked for, as JSON: hashes of tables, a method's name. If an earlier result has the same key but other
        inputs, a message says what changed.
    compute
        Writes its files into the folder that it gets, which may hold files of an interrupted run, and returns a record
        (JSON) of what it found.

    Raises
    ------
    StorageError
        If the folder of results cannot be written.
    """
    if settings is not None and "training" in kind.groups:
        key = {**key, "seed": settings.training.seed}
    inputs = {**inputs_of(settings, kind), "key": dict(key)}
    folder = current_folder() / f"{kind.name}-{fingerprint(inputs)}"
    if record := _whole_record(folder):  # before anything is written: results may lie on a read-only disk
        return Result(folder, record, reused=True)
    given = None if settings is None else settings.only(*kind.groups)
    with naming_unwritable(folder.parent, "let the environment variable MOLFT_STAGES name another folder"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            if record := _whole_record(folder):
                return Result(folder, record, reused=True)
            if folder.exists():
                print(f"the result {folder.name} is damaged; computing it again")
                shutil.rmtree(folder)
            else:
                _print_what_changed(kind, inputs)
            return Result(folder, _compute_into(folder, inputs, lambda partial: compute(partial, given)), reused=False)


def _whole_record(folder: Path) -> dict | None:
    """The record of a finished result whose files are as they were written, else None."""
    try:
        return None if damaged_files(folder) else read_record(folder)
    except CheckpointError:
        return None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from a result's folder; one that has to wait says so, and then finds the result."""
    lock = FileLock(f"{folder}.lock")
    try:
        lock.acquire(timeout=1)
    except Timeout:
        print(f"{folder.name}: another process computes it; waiting for the result", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _compute_into(folder: Path, inputs: dict, compute: Callable[[Path], dict]) -> dict:
    """Compute a result in a partial folder, rename this when it is done, and return the record."""
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(exist_ok=True)
    began = time.perf_counter()
    found = compute(partial)
    seconds = round(time.perf_counter() - began, 1)
    record = {"inputs": inputs, "commit": commit(), "stage_seconds": seconds, **found}
    write_atomically(partial / "record.json", json.dumps(record, indent=1))
    write_checksums(partial)
    os.replace(partial, folder)
    return record


def read_record(folder: Path) -> dict:
    """The record of a finished result.

    Raises
    ------
    CheckpointError
        If it is missing or damaged.
    """
    try:
        return json.loads((folder / "record.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"the stage result {folder} is damaged ({error}); delete this folder") from error


@lru_cache(maxsize=1)
def commit() -> str | None:
    """The commit of the code that runs, with ``-dirty`` if files have changed since; None outside a checkout."""
    if not IN_CHECKOUT:
        return None  # git would tell of whatever repository one happens to work in
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _print_what_changed(kind: Kind, inputs: dict) -> None:
    """Say why a stage runs although there is a result with the same key: what differs from the nearest such result."""
    differing: list[list[str]] = []
    for path in current_folder().glob(f"{kind.name}-*/record.json"):
        try:
            known = json.loads(path.read_text(encoding="utf-8"))["inputs"]
            same = known["key"] == inputs["key"] and set(known["stages"]) == set(inputs["stages"])
        except (OSError, KeyError, TypeError, ValueError):  # damaged
            continue
        if same:
            differing.append(changes(known, inputs))
    if differing:
        nearest = min(differing, key=len)
        # On the error stream: a reader who tries a setting sees it, but a committed page does not keep it.
        print(f"{kind.name}: made again, as this changed: {'; '.join(nearest)}", file=sys.stderr)
