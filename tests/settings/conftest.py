"""Fixtures of pages and of real runs, for what is registered in one test and has to work everywhere."""

from tests.app.conftest import open_page, runs
from tests.trainer.conftest import small_run

__all__ = ["open_page", "runs", "small_run"]
