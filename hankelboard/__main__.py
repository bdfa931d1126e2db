"""`python -m hankelboard …` is `hankelboard …`."""

import sys

from hankelboard.trainer.cli import main

sys.exit(main())
