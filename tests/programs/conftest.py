"""What tests of whole commands have in common."""

from pathlib import Path

import pytest
from commands import write_ratings


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ratings.csv and broken.csv."""
    place = tmp_path_factory.mktemp("run")
    write_ratings(place)
    return place
