"""The stand-in for the hub: what it serves, what it refuses, and a download that breaks off."""

import urllib.error
import urllib.request

import pytest

from molft_utils.files import ROOT
from molft_utils.making import hub
from molft_utils.making.hub import serve
from molft_utils.molformer import XL, XL_REVISION

BIG = bytes(range(256)) * 8_000


@pytest.fixture
def files(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(BIG)
    return tmp_path


def ask(endpoint: str, name: str, revision: str = XL_REVISION, repository: str = XL, method: str = "GET", **headers):
    url = f"{endpoint}/{repository}/resolve/{revision}/{name}"
    return urllib.request.urlopen(urllib.request.Request(url, method=method, headers=headers))


def test_files_come_with_what_the_client_asks_for(files):
    with serve(files) as endpoint:
        head = ask(endpoint, "model.safetensors", method="HEAD")
        assert head.headers["X-Repo-Commit"] == XL_REVISION and int(head.headers["Content-Length"]) == len(BIG)
        assert head.headers["ETag"] == ask(endpoint, "model.safetensors").headers["ETag"]
        assert ask(endpoint, "model.safetensors").read() == BIG
        rest = ask(endpoint, "model.safetensors", Range="bytes=1000-")
        assert rest.status == 206 and rest.read() == BIG[1000:]


@pytest.mark.parametrize(
    "given, code",
    [
        (dict(name="adapter_config.json"), "EntryNotFound"),
        (dict(name="config.json", revision="f" * 40), "RevisionNotFound"),
        (dict(name="config.json", repository="some/other"), "RepoNotFound"),
    ],
)
def test_what_is_not_there_is_refused_by_its_name(files, given, code):
    with serve(files) as endpoint, pytest.raises(urllib.error.HTTPError) as error:
        ask(endpoint, **given)
    assert error.value.code == 404 and error.value.headers["X-Error-Code"] == code


def test_a_broken_server_stops_in_the_middle_of_the_weights(files):
    with serve(files, broken=True) as endpoint:
        assert ask(endpoint, "config.json").read() == b"{}"
        with pytest.raises(Exception, match="IncompleteRead"):
            ask(endpoint, "model.safetensors").read()


def test_the_estimate_hangs_on_the_report_s_minutes():
    """What is on record is complete, and the report's own run takes the report's time."""
    table = hub.estimate()
    assert set(table.index) == {(profile, what) for profile in ("best", "report") for what in hub.MEASURED}
    assert table.loc[("report", "full"), "t4_minutes"] == pytest.approx(29)
    assert table.loc[("report", "full"), "times"] == 20 * 189
    ratio = table["t4_minutes"] / table["minutes"]
    assert ratio.max() == pytest.approx(ratio.min())


@pytest.mark.parametrize("profile", ["best", "report"])
def test_readme_quotes_the_estimate(profile):
    minutes = hub.estimate().loc[profile, "t4_minutes"]
    order = ("mlm", "full", "bitfit", "lora", "ia3", "lora-all", "lissa")
    quoted = f"| `{profile}` | " + " | ".join(f"{minutes[what]:.0f}" for what in order)
    assert quoted in (ROOT / "README.md").read_text(encoding="utf-8")
