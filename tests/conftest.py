"""What all tests share: how hypothesis tries, and where a test's results go."""

from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes is the machine's affair.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slurm's tests first: they wait more than they compute, while others run beside them."""
    items.sort(key=lambda item: item.path.name != "test_slurm.py")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"
