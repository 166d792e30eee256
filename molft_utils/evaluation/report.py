"""The report's figures, and ours beside them."""

import json
from collections.abc import Mapping

import numpy as np
import pandas as pd

from ..files import DATA_FOLDER
from .metrics import Scores

#: The report's names of methods -> ours.
_METHODS = {"Full Finetuning": "full", "Full Fine-tuning": "full", "BitFit": "bitfit", "LoRA": "lora", "IA3": "ia3"}


def read_report() -> dict:
    """The report's tables, as ``data/report.json`` holds them."""
    return json.loads((DATA_FOLDER / "report.json").read_text(encoding="utf-8"))


def report_table3() -> pd.DataFrame:
    """The report's Table 3, one row per cell: ``selection``, ``method`` (by our names) and test ``rmse`` in logD."""
    selections = {"No selection": "none", "Influence Method": "influence", "TS-DShapley": "ts-dshapley"}
    return pd.DataFrame(
        {"selection": selections[selection], "method": _METHODS[method], "rmse": rmse}
        for selection, row in read_report()["table3"]["rows"].items()
        for method, rmse in row.items()
    )


def report_table4() -> pd.Series:
    """The report's Table 4: minutes of training on a T4, by our names of methods."""
    return pd.Series(read_report()["table4"]["rows"], name="minutes").rename(index=_METHODS)


def beside_report(table: str, ours: Mapping[str, Scores], column: str | None = None) -> pd.DataFrame:
    """Our test RMSE beside the report's.

    Parameters
    ----------
    table
        A key of ``data/report.json``, for instance "table1".
    ours
        Row name -> scores. A row that only one side has stays empty on the other.
    column
        The column to compare with where the table has several, for instance "Full Finetuning" of table3.

    Returns
    -------
    DataFrame
        One row per name: ``report``, ``ours`` and our ``95 % interval``, in logD.
    """
    theirs = read_report()[table]["rows"]
    if column is not None:
        theirs = {name: row[column] for name, row in theirs.items()}
    names = [*ours, *(name for name in theirs if name not in ours)]
    rows = {
        name: {
            "report": theirs.get(name, np.nan),
            "ours": ours[name].rmse if name in ours else np.nan,
            "95 % interval": "[{:.3f}, {:.3f}]".format(*ours[name].interval) if name in ours else "",
        }
        for name in names
    }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    return frame.rename_axis(index="test RMSE / logD")
