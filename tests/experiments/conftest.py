"""Results of these tests lie in folders of their own."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def stages(tmp_path_factory):
    """The folder of a module's results, unless a test names another."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("stages")
        patch.setenv("MOLFT_STAGES", str(folder))
        yield folder
