"""Small pieces of English that sentences and labels share."""

MICROSECONDS = "\N{MICRO SIGN}s"


def count(number: int, noun: str) -> str:
    """``1 device``, ``2 devices``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
