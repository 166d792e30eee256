"""``make bench``, other libraries: make the environment, run each comparison in it, draw the figure.

A comparison that is on record with the same libraries, data and code of its own is not run again; ``--only NAME`` runs
it all the same. In the environment itself the command is ``python -m molft_utils.making.peers --here NAME``.
"""

import argparse
import os
import subprocess
from importlib import import_module

from ...evaluation import BANK, records
from ...files import DATA_FOLDER, PACKAGE_FOLDER, ROOT, file_hash
from .environment import PYTHON, make_environment, pinned
from .rows import COMPARISONS, TABLE, write


def inputs_of(comparison: str) -> dict:
    """What a comparison depends on: the pinned libraries, the data, and its own code."""
    code = PACKAGE_FOLDER / "making" / "peers" / f"{comparison}.py"
    inputs = {"libraries": pinned(), "code": file_hash(code), "table": file_hash(DATA_FOLDER / "lipophilicity.csv")}
    return {**inputs, "bank": file_hash(DATA_FOLDER / BANK)} if comparison == "bank" else inputs


def run_here(comparison: str) -> None:
    """Run one comparison in this process, on one thread, and write its rows."""
    import torch

    torch.set_num_threads(1)
    inputs = inputs_of(comparison)  # before the work: it may take long, and the code be changed meanwhile
    write(comparison, import_module(f"{__package__}.{comparison}").compare(), inputs)


def run_there(comparison: str) -> None:
    """Run one comparison in the environment of the benchmark."""
    command = [str(PYTHON), "-m", __package__, "--here", comparison]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})


def main() -> None:
    """Compare from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(COMPARISONS), default=[], help="run these, on record or not")
    parser.add_argument("--here", choices=list(COMPARISONS), help="run one in this very environment")
    parser.add_argument("--figure", action="store_true", help="only draw the figure of what is on record")
    args = parser.parse_args()
    if args.here:
        return run_here(args.here)
    if not args.figure:
        make_environment()
        for comparison in args.only or COMPARISONS:
            if args.only or not records.is_recorded(TABLE, {"comparison": comparison}, inputs_of(comparison)):
                run_there(comparison)
    from ...show import plots

    plots.peers(records.read(TABLE), "peers")


if __name__ == "__main__":
    main()
