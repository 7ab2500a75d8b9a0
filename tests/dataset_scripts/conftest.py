import pytest

from tests.small_release import write_release, write_twitter2017


@pytest.fixture
def release(tmp_path):
    return write_release(tmp_path / "MNER-MI")


@pytest.fixture
def twitter2017(tmp_path):
    return write_twitter2017(tmp_path / "twitter2017")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """A cache of the test's own: no build of another one is found in it."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
