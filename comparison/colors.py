"""Colours that mean something in charts, on pages and in reports alike. Each is read on both grounds."""

CUT = "#E0591B"
POINT = "#4C8BD6"
QUIET = "#7C8798"
BACK = "#8E63D9"
"""Of a rollback."""
RULE = "#009E73"
"""Of what the rule proposes."""
WAITING = "#C98A00"
BROKEN = "#DC2626"
TOLERANCES = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#D55E00")
"""One per tolerance; distinct for colour-blind eyes."""
