"""What a process remembers of its endpoints is forgotten between tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from workers.limits.gate import gates


@pytest.fixture(autouse=True)
def fresh_gates() -> Iterator[None]:
    gates.clear()
    yield
    gates.clear()
