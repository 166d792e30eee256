"""A stage is a pure function of its inputs whose result lies on disk: run once, free ever after.

A result's folder is named after a fingerprint of the inputs. While a stage works, its folder has a ``.partial``
ending, and what it finds there from an interrupted run it may use; when it is done the folder is renamed in one step,
so a result is either whole or absent.
"""

import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from ..errors import CheckpointError
from ..files import ROOT, write_atomically

STAGES = Path(os.environ.get("MOLFT_STAGES", ROOT / "runs" / "stages"))


@dataclasses.dataclass(frozen=True)
class Result:
    """Where a stage's files lie, the record it left, and whether it was there already."""

    folder: Path
    record: dict
    reused: bool


def fingerprint(inputs: dict) -> str:
    """Sixteen hexadecimal digits that change whenever an input does."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


def place(name: str, inputs: dict, folder: Path | None = None) -> Path:
    """The folder of a stage's result, whether it is there or not."""
    return (folder or STAGES) / f"{name}-{fingerprint(inputs)}"


def run_stage(
    name: str,
    inputs: dict,
    compute: Callable[[Path], dict],
    folder: Path | None = None,
    is_whole: Callable[[Path, dict], bool] | None = None,
) -> Result:
    """Return the result of ``compute(folder)``, running it only where it is not on disk.

    Parameters
    ----------
    name
        Becomes part of the folder's name.
    inputs
        Everything the result depends on, as JSON: settings, hashes of files, versions.
    compute
        Writes its files into the folder it is given and returns a record (JSON) of what it found. It is called with
        what an interrupted run left in that folder.
    is_whole
        Looks at a finished result's folder and record. With it, a damaged result is reported and computed again.

    Raises
    ------
    CheckpointError
        If a finished result is damaged; the message names the folder to delete.
    """
    where = place(name, inputs, folder)
    where.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{where}.lock"):  # a second process waits, and finds the result
        if where.exists():
            if is_whole is None or _passes(where, is_whole):
                return Result(where, _read_record(where), reused=True)
            print(f"the result {where.name} is damaged; computing it again")
            shutil.rmtree(where)
        partial = where.with_name(where.name + ".partial")
        partial.mkdir(exist_ok=True)
        began = time.perf_counter()
        record = compute(partial)
        record = {"inputs": inputs, "stage_seconds": round(time.perf_counter() - began, 1), **record}
        write_atomically(partial / "record.json", json.dumps(record, indent=1))
        os.replace(partial, where)
        return Result(where, record, reused=False)


def _passes(place: Path, is_whole: Callable[[Path, dict], bool]) -> bool:
    try:
        return is_whole(place, _read_record(place))
    except CheckpointError:
        return False


def _read_record(place: Path) -> dict:
    try:
        return json.loads((place / "record.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise CheckpointError(f"the stage result {place} is damaged ({error}); delete this folder") from error
