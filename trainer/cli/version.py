"""The option --version: of the package, and the commit where it is known."""

import argparse
from collections.abc import Sequence


class PrintVersion(argparse.Action):
    """Print the version and end; nothing is computed before it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str):
        super().__init__(option_strings, dest, nargs=0, help="print version and commit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from hankelboard.trainer.compression import own_version  # reads what is installed

        revision = own_version.commit()
        print(f"{own_version.NAME} {own_version.version()}{revision and f' (commit {revision})'}")
        parser.exit()
