"""The first line of a notebook."""

from molft_utils import start


def test_the_profile_of_the_environment_comes_first(monkeypatch, capsys):
    monkeypatch.setenv("MOLFT_PROFILE", "smoke")
    assert start("class").profile == "smoke"
    monkeypatch.delenv("MOLFT_PROFILE")
    assert start("class").profile == "class"
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("profile smoke") and "torch" in first and "Python" in first
