"""Make the tables of ``data/results``: ``make results``, or ``python data/scripts/results.py``.

Rows that are there stay; an interrupted run continues where it was. ``--check`` computes nothing and lists the rows
that are missing, or that were computed with other settings, data files or code than today's.
"""

import argparse

from joblib import Parallel, delayed

from studies import STUDIES


def main() -> None:
    """Read the command line, and make or check the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--studies", nargs="+", default=list(STUDIES), choices=list(STUDIES))
    parser.add_argument("--jobs", type=int, default=1, help="rows at a time; two cores do best with two")
    parser.add_argument("--check", action="store_true", help="list rows that are missing or differ; compute nothing")
    args = parser.parse_args()
    n_differing = 0
    for name in args.studies:  # one after the other: some start from the rows of an earlier one
        runs = list(STUDIES[name]())
        if args.check:
            differing = [run for run in runs if run.recorded() != [run.digits]]
            n_differing += len(differing)
            for run in differing:
                print(f"{run.table}, {run.key}: {', '.join(run.recorded()) or 'missing'}; today {run.digits}")
        else:
            Parallel(n_jobs=args.jobs)(delayed(run.compute)() for run in runs if not run.recorded())
    raise SystemExit(f"{n_differing} rows differ" if n_differing else 0)


if __name__ == "__main__":
    main()
