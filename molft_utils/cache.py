"""Results that are computed once and found again: a folder for each, named after a fingerprint of all that went in.

While a result is computed its folder's name ends in ``.partial``. When it is done the folder is renamed in one step, so
a result is either whole or absent. Two processes on one folder take turns. What identifies a table or a checkpoint is
its content, never its place.
"""

import dataclasses
import errno
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout
from safetensors import SafetensorError

from .errors import StorageError
from .files import DATA_FOLDER, RUNS_FOLDER, file_hash, stages_folder, write_atomically
from .molformer import device, locate
from .settings import Settings, group
from .training import resolved_precision

#: Libraries whose versions are inputs of every result.
LIBRARIES = ("torch", "transformers", "peft", "rdkit", "scikit-learn", "numpy", "scipy")


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of result: the version of its code, the groups of settings that it reads, the kinds that it starts from.

    Raise ``version`` when the code gives another outcome; a test compares a tiny run with its stored outcome.
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
class Cached:
    """A result's ``folder``, the ``record`` that was written there, and whether it was there already (``reused``)."""

    folder: Path
    record: dict
    reused: bool


def cached(
    kind: Kind, settings: Settings | None, key: Mapping[str, Any], compute: Callable[[Path], dict[str, Any]]
) -> Cached:
    """The result of ``compute(folder)``, which runs only if the result is not on disk.

    Parameters
    ----------
    kind, settings
        The settings of the kind's groups are inputs; ``compute`` must read no others (a test watches).
    key
        What is asked for, as JSON: hashes of tables, names.
    compute
        Writes its files into the folder that it gets, which may hold files of an interrupted run, and returns a record
        (JSON) of what it found.
    """
    seed = {"seed": settings.seed} if settings is not None and "training" in kind.groups else {}
    inputs = {**inputs_of(settings, kind), "key": {**key, **seed}}
    folder = stages_folder() / f"{kind.name}-{_digest(inputs)[:16]}"
    with _remedies(folder):
        return _found_or_computed(folder, kind, inputs, compute)


def _found_or_computed(folder: Path, kind: Kind, inputs: dict[str, Any], compute: Callable[[Path], dict]) -> Cached:
    if (record := _record(folder)) is not None:  # before anything is written: results may lie on a read-only disk
        return Cached(folder, record, reused=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        if (record := _record(folder)) is not None:  # another process has made it meanwhile
            return Cached(folder, record, reused=True)
        _print_what_changed(kind, inputs)
        partial = folder.with_name(f"{folder.name}.partial")
        partial.mkdir(exist_ok=True)
        began = time.perf_counter()
        record = {"inputs": inputs, **compute(partial), "seconds_in_all": round(time.perf_counter() - began, 1)}
        write_atomically(partial / "record.json", json.dumps(record, indent=1))
        os.replace(partial, folder)
    return Cached(folder, record, reused=False)


def scratch(folder: Path) -> Path:
    """A folder on this machine for what only a running computation needs, for instance the Trainer's checkpoints.

    Results may lie on a mounted drive, which is slow and small; these never do. Removed by whoever is done with it.
    """
    return RUNS_FOLDER / "scratch" / _digest(str(folder.resolve()))[:16]


def inputs_of(settings: Settings | None, kind: Kind) -> dict[str, Any]:
    """What results of a kind depend on, as JSON: settings, data, checkpoint, kinds, libraries, device."""
    inputs = _settings_and_data(settings, kind)
    if settings is not None and "precision" in inputs["settings"]:
        inputs["settings"]["precision"] = resolved_precision(settings.precision)
    libraries = {name: version(name).partition("+")[0] for name in LIBRARIES}
    return {**inputs, "libraries": libraries, "device": device().type}


def digits(settings: Settings | None, *kinds: Kind, **key: Any) -> str:
    """Twelve hexadecimal digits for settings, data files, kinds and a key (JSON): equal on every machine.

    They stand in the column ``settings`` of ``data/results``. Libraries and device are left out.
    """
    return _digest({"inputs": [_settings_and_data(settings, kind) for kind in kinds], "key": key})[:12]


def _settings_and_data(settings: Settings | None, kind: Kind) -> dict[str, Any]:
    kinds = list(kind.all())
    names = sorted({name for one in kinds for part in one.groups for name in group(part)})
    values: dict[str, Any] = {}
    if settings is not None:  # else the key identifies a result that has them among its inputs
        values = {name: getattr(settings, name) for name in names}
        if "table" in names:
            values["table"] = file_hash(Path(settings.table or DATA_FOLDER / "lipophilicity.csv"))
        if "checkpoint" in names:
            values["checkpoint"] = checkpoint_hash(settings.checkpoint)
    return {"kinds": {one.name: one.version for one in kinds}, "settings": values}


def checkpoint_hash(checkpoint: str | Path) -> str:
    """What identifies a checkpoint: the published one's revision, else a sha256 of weights and configuration.

    Raises
    ------
    CheckpointError
        If it cannot be found.
    """
    name, on_hub = locate(checkpoint)
    if on_hub:
        return on_hub["revision"]
    files = [path for part in ("model.safetensors", "config.json") if (path := Path(name) / part).exists()]
    return hashlib.sha256("".join(_hash_of(path, path.stat().st_mtime_ns) for path in files).encode()).hexdigest()


@cache
def _hash_of(path: Path, changed_at: int) -> str:
    """As :func:`file_hash`; weights that have not been written since are read once per process."""
    return file_hash(path)


def _digest(inputs: Any) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _record(folder: Path) -> dict | None:
    path = folder / "record.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


#: What a disk answers, and what helps.
REMEDIES = {
    errno.ENOSPC: "the disk is full; make room, for instance with `make clean`, which deletes all results of runs/",
    errno.EIO: "it cannot be written or read. Google Drive says so when it is full or was used too much: empty its "
    "bin, or set KEEP_IN_DRIVE to False",
    errno.ENOTCONN: "Google Drive is no longer connected; restart the runtime, and run all cells",
}


@contextmanager
def _remedies(folder: Path) -> Iterator[None]:
    """Say what to do when a disk fails. safetensors gives the number of the error in its text alone, torch none."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        written = re.search(r"\(os error (\d+)\)", str(error))
        number = int(written[1]) if written else getattr(error, "errno", None)
        if "unexpected pos" in str(error):  # torch.save, on a full disk
            number = errno.ENOSPC
        if number not in REMEDIES:
            raise
        raise StorageError(f"{folder}: {REMEDIES[number]}. Then run the cell again: it goes on.") from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others from a result. Workers of a grid may want the same one: the second waits, and then finds it."""
    lock = FileLock(f"{folder}.lock")
    try:
        lock.acquire(timeout=1)
    except Timeout:
        print(f"{folder.name}: another process computes it; waiting for the result", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _print_what_changed(kind: Kind, inputs: dict) -> None:
    """Say why a result is computed although there is one with the same key: what differs from the nearest such."""
    records = stages_folder().glob(f"{kind.name}-*/record.json")
    known = [json.loads(path.read_text(encoding="utf-8"))["inputs"] for path in records]
    differing = [changes(old, inputs) for old in known if old["key"] == inputs["key"]]
    if differing:
        nearest: list[str] = sorted(differing, key=len)[0]
        # On the error stream: a reader who tries a setting sees it, but a committed page does not keep it.
        print(f"{kind.name}: computed again, as this changed: {'; '.join(nearest)}", file=sys.stderr)


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The inputs that differ, each with its old and new value, for instance ``["settings.epochs: 4 -> 5"]``."""
    before, after = (pd.json_normalize(dict(inputs)).to_dict("records")[0] for inputs in (old, new))  # names by dots
    names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    return [f"{name}: {_short(before.get(name))} -> {_short(after.get(name))}" for name in names]


def _short(value: Any) -> str:
    """A value on one line; a hash by its first eight digits."""
    text = str(value)
    return text if len(text) <= 40 else f"{text[:8]}…"
