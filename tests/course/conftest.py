"""What a page would show: text alternatives, tables and widgets, in the order of their display."""

import pytest

from molft_utils.course import widgets


@pytest.fixture
def shown(tmp_path, monkeypatch):
    monkeypatch.setenv("MOLFT_FIGURES", str(tmp_path / "figures"))
    found = []
    monkeypatch.setattr("molft_utils.course.figure.display", lambda data, **more: found.append(data["text/plain"]))
    monkeypatch.setattr(widgets, "display", found.append)
    return found
