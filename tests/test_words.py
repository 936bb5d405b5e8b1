"""How numbers stand in sentences."""

import pytest

from hpcbench.words import significant


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (1_134.4, 3, "1,130"),
        (999.6, 3, "1,000"),
        (19.84, 3, "19.8"),
        (0.6349, 3, "0.635"),
        (-1_234_567, 4, "-1,235,000"),
        (120.4, 2, "120"),
        (0, 3, "0"),
        (float("nan"), 3, "nan"),
    ],
)
def test_no_exponent_in_a_sentence(value, digits, text):
    assert significant(value, digits) == text
