"""Data of a user's own, of which a browser may name what is marked and defined here."""

import hankelboard
from tests.trainer.own import parity
from tests.trainer.own import parity as imported

imported = hankelboard.data(imported)


@hankelboard.data
def load(**options):
    return parity(**options)


def unmarked(**options):
    return parity(**options)


class Loader:
    """Looks like a function of data when it is called."""

    __hankelboard_data__ = True

    def __call__(self, **options):
        return parity(**options)


instance = Loader()
