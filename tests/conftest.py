"""Fixtures shared by several rooms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.house import House, build_house


@pytest.fixture
def make_house(tmp_path: Path) -> Callable[..., House]:
    """Builds a copy of the repository in which plug-ins can be added, changed and broken."""

    def make(estimators: Mapping[str, str], registered: bool = False) -> House:
        return build_house(tmp_path / "house", estimators, registered)

    return make
