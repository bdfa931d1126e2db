"""What HANKELBOARD_PLUGINS names: registers the rows when it is imported."""

from tests.settings.toy.rows import register

register()
