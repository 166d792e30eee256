"""The inputs of a result, as JSON: their fingerprint, and the differences between two sets of inputs."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

_ABSENT = "(absent)"


def fingerprint(inputs: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits that change whenever an input does."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The inputs that differ, each with its old and its new value, for instance ``["regression.epochs: 4 -> 5"]``."""
    before, after = dict(_flat(old)), dict(_flat(new))
    names = sorted(name for name in {*before, *after} if before.get(name, _ABSENT) != after.get(name, _ABSENT))
    return [f"{name}: {_short(before.get(name, _ABSENT))} -> {_short(after.get(name, _ABSENT))}" for name in names]


def _flat(inputs: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values of nested inputs, the names joined by dots."""
    for name, value in inputs.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _short(value: Any) -> str:
    """A value on one line; a hash by its first eight digits."""
    text = str(value)
    return text if len(text) <= 40 else f"{text[:8]}…"
