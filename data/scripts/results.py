"""Make the tables of ``data/results``: ``python data/scripts/results.py [--check] [STUDY ...]``, or ``make results``.

Rows that are there stay; an interrupted run continues where it was. ``--check`` computes nothing and lists the rows
that are missing, or that were computed with other settings, data files or code than today's.
"""

import sys

from studies import STUDIES


def main() -> None:
    """Make or check the tables; two processes may make different studies."""
    chosen = [argument for argument in sys.argv[1:] if argument != "--check"]
    n_differing = 0
    for name in chosen or STUDIES:  # one after the other: some start from the rows of an earlier one
        for run in STUDIES[name]():
            recorded = run.recorded()
            if "--check" in sys.argv:
                if recorded != [run.digits]:
                    n_differing += 1
                    print(f"{run.table}, {run.key}: {', '.join(recorded) or 'missing'}; today {run.digits}")
            elif not recorded:
                run.compute()
    raise SystemExit(f"{n_differing} rows differ" if n_differing else 0)


if __name__ == "__main__":
    main()
