"""`python -m trainer …` is `hankelboard …`."""

import sys

from trainer.cli import main

sys.exit(main())
