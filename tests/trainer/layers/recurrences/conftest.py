"""The kernels in C, compiled once for all tests that use them; those of packages are nowhere."""

import shutil

import pytest

from hankelboard.trainer.layers.recurrences import installed_kernels
from hankelboard.trainer.layers.recurrences.c_kernels.library import library


@pytest.fixture(scope="session")
def c_cache(tmp_path_factory):
    """A cache of this session, with the library in it."""
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("needs a C compiler")
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def c_kernels(c_cache, monkeypatch):
    """Kernels in C may be chosen, and are what this machine compiles; as before afterwards."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(c_cache))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv(installed_kernels.VARIABLE, raising=False)
    forget()
    assert library().reason == ""
    yield
    forget()


def forget():
    """What was found out about kernels in this process."""
    library.cache_clear()
    installed_kernels.refusal.cache_clear()
