"""What `import hankelboard` gives, and what it does not load."""

import subprocess
import sys

import pytest

import hankelboard


def test_every_public_name_has_a_home():
    assert set(hankelboard._HOMES) == set(hankelboard.__all__)


@pytest.mark.parametrize("name", hankelboard.__all__)
def test_a_public_name_is_what_its_home_defines(name):
    found = getattr(hankelboard, name)
    assert (found.__module__, found.__name__) == (hankelboard._HOMES[name], name)


def test_another_name_is_none():
    with pytest.raises(AttributeError, match="module 'hankelboard' has no attribute 'metric'"):
        hankelboard.metric  # noqa: B018


def test_importing_the_package_loads_nothing_large():
    program = "import sys, hankelboard; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"torch", "streamlit", "pandas", "numpy"} & set(loaded.stdout.split())
