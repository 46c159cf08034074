"""No test of data touches what the user has."""

import pytest


@pytest.fixture(autouse=True)
def no_user_settings(monkeypatch, tmp_path):
    """No test sees the user's data folders, and none may fall through to a real download."""
    monkeypatch.delenv("QJAX_DATA_DIR", raising=False)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
