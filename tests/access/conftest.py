import pytest


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    """A folder of state of its own."""
    folder = tmp_path / "state"
    monkeypatch.setenv("HANKELBOARD_STATE", str(folder))
    monkeypatch.setenv("HANKELBOARD_USER", "ada")
    return folder
