"""Small pieces of English that sentences and labels share."""

MICROSECONDS = "\N{MICRO SIGN}s"


def count(number: int, noun: str) -> str:
    """``1 device``, ``2 devices``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def significant(value: float, digits: int = 3) -> str:
    """With so many digits, and no exponent where it is large: ``0.0123``, ``12.3``, ``1,230``."""
    text = f"{value:,.{digits}g}"
    return f"{float(text):,.0f}" if "e+" in text else text
