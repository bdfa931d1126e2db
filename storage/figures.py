"""Figures for people: as short as they can be, and never so short that they say something else.

A share that is not all is not written as 100 %, one that is not nothing not as 0 %, and nothing as −0: where
the usual digits would say so, there are as many more as it takes.
"""

import math

NOISE_DIGITS = 9
"""Decimals of what is compared: the last digits of a double are of the arithmetic, not of the value."""


def fixed(value: float, digits: int, *, signed: bool = False, grouped: bool = False) -> str:
    """Return a number with this many decimals; with one significant digit where those would say zero.

    >>> fixed(0.004, 1), fixed(-0.00001, 2, signed=True), fixed(-0.0, 2), fixed(99.96, 1)
    ('0.004', '−1e-05', '0.00', '100.0')
    """
    value = round(value, NOISE_DIGITS) + 0.0  # + 0.0: −0 becomes 0
    sign, comma = "+" if signed else "", "," if grouped else ""
    text = f"{value:{sign}{comma}.{digits}f}"
    if value != 0 and not set(text) & set("123456789"):
        text = f"{value:{sign}.1g}"
    return with_minus(text)


def percent(share: float, digits: int = 2) -> str:
    """Return a share in percent; 100 and 0 are said of these alone.

    >>> percent(0.94123), percent(0.999996), percent(1.0), percent(-0.00001)
    ('94.12 %', '99.9996 %', '100.00 %', '−0.001 %')
    """
    value = round(100 * share, NOISE_DIGITS)
    missing = abs(100 - abs(value))
    if missing and float(f"{abs(value):.{digits}f}") == 100:
        digits = -math.floor(math.log10(missing))
    return f"{fixed(value, digits)} %"


def points(difference: float) -> str:
    """Return a difference of shares in percentage points, with its sign: −0.31."""
    return fixed(100 * difference, 2, signed=True)


def significant(value: float, digits: int = 4) -> str:
    """Return a few significant digits, thousands separated; powers of ten below 0.001 and from a million on.

    >>> significant(0.12345), significant(9999.7), significant(1.2e-5)
    ('0.1235', '10,000', '1.20e-05')
    """
    small = value != 0 and abs(float(f"{value:.2e}")) < 1e-3
    if small or abs(value) >= 999_999.5:
        return with_minus(f"{value:.2e}")
    rounded = abs(float(f"{value:.{digits - 1}e}"))
    return with_minus(f"{value:,.0f}" if rounded >= 10**digits else f"{value + 0.0:,.{digits}g}")


def seconds(value: float) -> str:
    """Return seconds: 0.04 s, 12.3 s, 1,234 s."""
    return f"{fixed(value, 1 if abs(value) < 99.95 else 0, grouped=True)} s"


def duration(seconds: float) -> str:
    """Return seconds as 4.5 s, 45 s, 3 min 05 s, 2 h 10 min, 3 d 4 h.

    >>> duration(4.46), duration(185), duration(7800), duration(273_600)
    ('4.5 s', '3 min 05 s', '2 h 10 min', '3 d 4 h')
    """
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{fixed(seconds, 1)} s" if 0 < seconds < 9.95 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def with_minus(text: str) -> str:
    """Return a number in text with a minus sign instead of a hyphen in front.

    >>> with_minus("-1e-05")
    '−1e-05'
    """
    return text.replace("-", "−", 1) if text.startswith("-") else text
