"""Licences and known vulnerabilities of everything that molft installs: ``make audit``.

The packages are those of the environment that runs this: what pyproject.toml asks for, and what that asks for in turn.
Licences are what each package declares of itself; one that is not in ``ALLOWED`` is an error. They go to
``data/results/licences.csv``. Builds of torch with CUDA bring libraries of NVIDIA's, which are not free software; they
appear where they are installed, and are named as not allowed.

Vulnerabilities are asked for with pip-audit, in an environment of its own. A package that no service could be asked
about counts as unanswered, and never as clean.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from email.message import Message
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, cast

import pandas as pd
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ..errors import DataError
from ..evaluation import records
from ..files import RUNS_FOLDER, write_atomically
from .environments import environment
from .matrix import EXTRAS

FOLDER = RUNS_FOLDER / "audit"

#: Services that pip-audit can ask, the first first.
SERVICES = ("osv", "pypi")

#: What a licence may be: it lets molft use the package, whatever molft's own licence. By the names of the SPDX list;
#: "BSD", "ISC" and their like stand for what a package does not say more exactly.
ALLOWED = {
    "0BSD", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python", "ISC",
    "LLVM-exception", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Zlib",
}  # fmt: skip

#: How older packages call them: in a classifier, or in a field of free text.
NAMES = {
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "bsd license": "BSD",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "psfl": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
}


def declared_licence(metadata: Message) -> str:
    """What a package declares, by the names of the SPDX list where it can be told; "" if it declares nothing.

    The field License-Expression counts first, then a License of one line, then classifiers: "BSD-3-Clause" says more
    than the classifier "BSD License".
    """
    if expression := metadata.get("License-Expression"):
        return expression
    text = (metadata.get("License") or "").strip()
    if text and "\n" not in text and (is_allowed(_named(text))):
        return _named(text)
    classifiers = [c for c in metadata.get_all("Classifier", []) if c.startswith("License ::")]
    names = [_named(c.rpartition("::")[2].strip()) for c in classifiers if not c.endswith(":: OSI Approved")]
    return " AND ".join(names) or text.partition("\n")[0]


def _named(text: str) -> str:
    return NAMES.get(text.lower(), text)


def is_allowed(licence: str) -> bool:
    """Whether an SPDX expression allows the use: all parts of an AND or a WITH, one part of an OR, are in ``ALLOWED``.

    With parentheses it is not taken apart, and not allowed: a person should look at it.
    """
    return any(
        all(part.strip() in ALLOWED for part in alternative.replace(" WITH ", " AND ").split(" AND "))
        for alternative in licence.split(" OR ")
    )


def installed(
    name: str, extras: Iterable[str] = (), find: Callable[[str], Distribution] = distribution
) -> dict[str, Distribution]:
    """A package and all that it needs, by canonical name; what a marker leaves out on this machine is not installed."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(name, frozenset(extras))]
    while waiting:
        name, wanted = waiting.pop()
        key = canonicalize_name(name)
        if (key, wanted) in seen:
            continue
        seen.add((key, wanted))
        try:
            found[key] = find(name)
        except PackageNotFoundError:
            raise DataError(f"{name} is not installed here; run `make` once, then `make audit`") from None
        waiting += [(r.name, frozenset(r.extras)) for r in _asked(found[key], wanted)]
    return found


def _asked(package: Distribution, extras: Iterable[str]) -> list[Requirement]:
    requirements = [Requirement(line) for line in package.requires or []]
    return [r for r in requirements if r.marker is None or any(r.marker.evaluate({"extra": e}) for e in ("", *extras))]


def licences() -> pd.DataFrame:
    """A row for each package: ``package``, ``version``, ``licence``, and ``needed``: to run molft, or to work on it."""
    to_run = installed("molft")
    everything = {**installed("molft", EXTRAS), **to_run}
    del everything["molft"]
    rows = [
        {
            "package": name,
            "version": package.version,
            "licence": declared_licence(cast(Message, package.metadata)),
            "needed": "to run" if name in to_run else "to work on it",
        }
        for name, package in sorted(everything.items())
    ]
    return pd.DataFrame(rows)


def not_allowed(table: pd.DataFrame) -> list[str]:
    """The packages whose licence is unknown or not allowed, each with what it declares."""
    bad = table[[not is_allowed(str(licence)) for licence in table["licence"].fillna("")]]
    return [f"{row.package} {row.version}: {row.licence or 'declares no licence'}" for row in bad.itertuples()]


def read_report(report: dict[str, Any]) -> tuple[list[str], list[str]]:
    """What pip-audit's JSON says: known vulnerabilities, and the packages that it could not ask about.

    pip-audit itself reports success where it has skipped every package.
    """
    vulnerable, unanswered = [], []
    for package in report["dependencies"]:
        if "skip_reason" in package:
            unanswered.append(package["name"])
        for known in package.get("vulns", ()):
            fixed = ", ".join(known["fix_versions"]) or "no release"
            vulnerable.append(f"{package['name']} {package['version']}: {known['id']}, fixed in {fixed}")
    return vulnerable, unanswered


def _install(python: Path) -> None:
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "pip-audit"], check=True)


def ask(python: Path, packages: Path, service: str) -> dict[str, Any] | None:
    """pip-audit's report on a file ``name==version``, or None where it could not reach the service."""
    options = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json", "--timeout", "15"]
    command = [str(python), "-m", "pip_audit", "--requirement", str(packages), "--vulnerability-service", service]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError:
        return None


def vulnerabilities(table: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Known vulnerabilities of the packages, by the first service that answers; and those that none answered for."""
    packages = FOLDER / "packages.txt"
    # A build's suffix ("+cpu") is no part of a release's name.
    lines = [f"{row.package}=={str(row.version).partition('+')[0]}" for row in table.itertuples()]
    write_atomically(packages, "\n".join(lines) + "\n")
    unanswered = list(table["package"])
    try:
        python = environment(FOLDER / "venv", sys.executable, "1", _install)
    except subprocess.CalledProcessError:
        return [], unanswered  # there is no package index either
    for service in SERVICES:
        report = ask(python, packages, service)
        if report is not None:
            vulnerable, unanswered = read_report(report)
            if len(unanswered) < len(table):
                return vulnerable, unanswered
    return [], unanswered


def main() -> None:
    """Print and record the licences, ask for vulnerabilities; the exit status is 0 only if all is known and good."""
    table = licences()
    write_atomically(records.RESULTS / "licences.csv", table.to_csv(index=False))
    print(f"{len(table)} packages, by licence:")
    print(table["licence"].value_counts().to_string(header=False))
    complaints = [f"not an allowed licence: {line}" for line in not_allowed(table)]
    vulnerable, unanswered = vulnerabilities(table)
    complaints += [f"known vulnerability: {line}" for line in vulnerable]
    if unanswered:
        complaints.append(
            f"No vulnerability service could be asked about {len(unanswered)} of {len(table)} packages "
            f"({', '.join(unanswered[:3])} ...), so nothing is known about them; run `make audit` with a network."
        )
    if complaints:
        raise SystemExit("\n".join(complaints))
    print("every licence is an allowed one, and no vulnerability is known")


if __name__ == "__main__":
    main()
