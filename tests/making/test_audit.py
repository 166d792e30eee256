"""Licences and vulnerabilities: what is read from packages and from pip-audit, and what is decided from it."""

import json
import subprocess
from email.message import Message
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import pandas as pd
import pytest

from molft_utils import DataError
from molft_utils.evaluation import records
from molft_utils.making import audit


def metadata(**fields: str) -> Message:
    message = Message()
    for name, value in fields.items():
        message[name.replace("_", "-").rstrip("0123456789")] = value
    return message


@pytest.mark.parametrize(
    ("fields", "licence", "allowed"),
    [
        (dict(License_Expression="MIT"), "MIT", True),
        (dict(License_Expression="Apache-2.0 OR GPL-3.0-only"), "Apache-2.0 OR GPL-3.0-only", True),
        (dict(License_Expression="MIT AND GPL-3.0-only"), "MIT AND GPL-3.0-only", False),
        (dict(License_Expression="Apache-2.0 WITH LLVM-exception"), "Apache-2.0 WITH LLVM-exception", True),
        (dict(License_Expression="MIT AND (GPL-3.0-only OR MIT)"), "MIT AND (GPL-3.0-only OR MIT)", False),
        (dict(License="BSD-3-Clause", Classifier="License :: OSI Approved :: BSD License"), "BSD-3-Clause", True),
        (dict(License="MPL-2.0 AND MIT"), "MPL-2.0 AND MIT", True),
        (dict(License="UNKNOWN", Classifier="License :: OSI Approved :: ISC License (ISCL)"), "ISC", True),
        (
            dict(License="Copyright (c) 2001\nAll of it", Classifier="License :: OSI Approved :: BSD License"),
            "BSD",
            True,
        ),
        (
            dict(
                Classifier="License :: OSI Approved :: MIT License",
                Classifier2="License :: OSI Approved :: GNU General Public License v3 (GPLv3)",
            ),
            "MIT AND GNU General Public License v3 (GPLv3)",
            False,
        ),
        (dict(Classifier="License :: OSI Approved"), "", False),
        (dict(License="NVIDIA Proprietary Software"), "NVIDIA Proprietary Software", False),
        (dict(), "", False),
    ],
)
def test_a_declared_licence_is_read_and_judged(fields, licence, allowed):
    found = audit.declared_licence(metadata(**fields))
    assert (found, audit.is_allowed(found)) == (licence, allowed)


def test_what_is_not_allowed_is_named():
    table = pd.DataFrame(
        [("a", "1.0", "MIT"), ("b", "2.0", "GPL-3.0-only"), ("c", "3.0", "")], columns=["package", "version", "licence"]
    )
    assert audit.not_allowed(table) == ["b 2.0: GPL-3.0-only", "c 3.0: declares no licence"]


def test_packages_are_followed_through_extras_and_markers():
    needs = {
        "a": ["B_b[fast]>=1", "left; python_version < '3'", "work; extra == 'dev'"],
        "B_b": ["c; extra == 'fast'", "d; extra == 'slow'", "a"],
        "c": None,
        "work": [],
    }

    def find(name):
        if name not in needs:
            raise PackageNotFoundError(name)
        return SimpleNamespace(requires=needs[name])

    assert audit.installed("a", find=find).keys() == {"a", "b-b", "c"}
    assert audit.installed("a", ["dev"], find=find).keys() == {"a", "b-b", "c", "work"}
    with pytest.raises(DataError, match="d is not installed here; run `make` once"):
        audit.installed("B_b", ["slow"], find=find)


REPORT = {
    "dependencies": [
        {"name": "a", "version": "1.0", "vulns": []},
        {"name": "b", "version": "2.0", "vulns": [{"id": "CVE-1", "fix_versions": ["2.1"]}]},
        {"name": "c", "version": "3.0", "vulns": [{"id": "CVE-2", "fix_versions": []}]},
    ]
}
SKIPPED = {"dependencies": [{"name": name, "skip_reason": "not found"} for name in "abc"]}
TABLE = pd.DataFrame({"package": ["a", "b", "c"], "version": ["1.0", "2.0+cpu", "3.0"], "licence": "MIT"})


def test_a_report_is_read_and_what_was_skipped_is_no_success():
    found = ["b 2.0: CVE-1, fixed in 2.1", "c 3.0: CVE-2, fixed in no release"]
    assert audit.read_report(REPORT) == (found, [])
    assert audit.read_report(SKIPPED) == ([], ["a", "b", "c"])


@pytest.fixture
def answers(monkeypatch, tmp_path):
    """What each service answers, instead of asking it; results of its own."""
    given = {"osv": None, "pypi": None}
    monkeypatch.setattr(audit, "FOLDER", tmp_path)
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    monkeypatch.setattr(audit, "licences", lambda: TABLE)
    monkeypatch.setattr(audit, "environment", lambda *given: "python")
    monkeypatch.setattr(audit, "ask", lambda python, packages, service: given[service])
    return given


def test_the_second_service_is_asked_where_the_first_is_silent(answers, tmp_path):
    answers["pypi"] = REPORT
    assert len(audit.vulnerabilities(TABLE)[0]) == 2
    assert (tmp_path / "packages.txt").read_text(encoding="utf-8") == "a==1.0\nb==2.0\nc==3.0\n"
    answers["osv"] = {"dependencies": [{"name": name, "version": "1", "vulns": []} for name in "abc"]}
    assert audit.vulnerabilities(TABLE) == ([], [])


@pytest.mark.parametrize("answer", [None, SKIPPED])
def test_where_nobody_could_be_asked_it_does_not_pass_as_clean(answers, answer, tmp_path):
    answers.update(osv=answer, pypi=answer)
    with pytest.raises(SystemExit, match="No vulnerability service could be asked about 3 of 3 packages"):
        audit.main()
    assert len(pd.read_csv(tmp_path / "licences.csv")) == 3, "the licences are on record all the same"


def test_all_known_and_good_passes_and_a_vulnerability_does_not(answers, capsys):
    answers["osv"] = {"dependencies": [{"name": name, "version": "1", "vulns": []} for name in "abc"]}
    audit.main()
    assert "every licence is an allowed one, and no vulnerability is known" in capsys.readouterr().out
    answers["osv"] = REPORT
    with pytest.raises(SystemExit, match=r"known vulnerability: b 2\.0: CVE-1"):
        audit.main()


def test_without_a_package_index_nobody_can_be_asked(answers, monkeypatch):
    def fail(*given):
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(audit, "environment", fail)
    assert audit.vulnerabilities(TABLE) == ([], ["a", "b", "c"])


def test_a_service_that_does_not_answer_is_none(monkeypatch, tmp_path):
    for output, expected in (("", None), (json.dumps(REPORT), REPORT)):
        monkeypatch.setattr(audit.subprocess, "run", lambda *a, output=output, **k: SimpleNamespace(stdout=output))
        assert audit.ask(tmp_path, tmp_path, "osv") == expected


def test_the_licences_of_record_are_all_allowed_and_name_what_runs():
    table = pd.read_csv(audit.records.RESULTS / "licences.csv")
    assert audit.not_allowed(table) == []
    to_run = set(table["package"][table["needed"] == "to run"])
    assert {"torch", "rdkit", "numpy"} <= to_run and "pytest" not in to_run and "pytest" in set(table["package"])
