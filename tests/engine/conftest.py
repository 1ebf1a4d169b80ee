"""One server for all engine tests of a session, and a workbench of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.vllm_server import PYTHON, VllmServer
from tests.faults.instance import Instance


@pytest.fixture(scope="session")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    if not PYTHON.exists():
        pytest.skip("there is no vLLM: make engine-setup")
    with VllmServer(tmp_path_factory.mktemp("vllm")) as server:
        yield server


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    with Instance(tmp_path / "var") as instance:
        instance.import_sample()
        yield instance
