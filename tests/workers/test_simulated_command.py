"""`manage.py simulate_models` as a process: it says where it listens and stops when told to."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
IGNORING = "import os, signal, sys; signal.signal(2, signal.SIG_IGN); signal.signal(15, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "manage.py"), "simulate_models", "--no-keys", *arguments]


@contextmanager
def served(*arguments: str, prefix: tuple[str, ...] = ()) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [*prefix, *command(*arguments)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        line = process.stderr.readline()
        found = re.fullmatch(r"Simulated models at (http://127\.0\.0\.1:\d+)/v1\n", line)
        assert found, line + process.stderr.read()
        yield process, found[1]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_it_even_where_they_were_inherited_as_ignored(number):
    with served("--hang", "1", prefix=(sys.executable, "-c", IGNORING)) as (process, url):
        assert json.load(urllib.request.urlopen(f"{url}/health"))["simulated"] is True

        process.send_signal(number)

        assert process.wait(timeout=10) == 0
        assert process.stdout.read() == ""


def test_a_taken_port_and_the_flags(tmp_path):
    rates = tmp_path / "faults.json"
    rates.write_text('{"cut": 0.25, "latency_ms": 7, "stages": {"verify": {"bad_schema": 0.5}}}')
    with served("--rate-429", "0.1", "--latency-ms", "3", "--faults", str(rates)) as (_, url):
        faults = json.load(urllib.request.urlopen(f"{url}/faults"))
        assert (faults["rate_429"], faults["cut"], faults["latency_ms"]) == (0.1, 0.25, 3)
        assert faults["stages"]["verify"]["bad_schema"] == 0.5

        second = subprocess.run(command("--port", url.rsplit(":", 1)[1]), capture_output=True, text=True, check=False)

    assert second.returncode == 2
    assert re.search(r"cannot listen on 127\.0\.0\.1:\d+: .*in use", second.stderr)
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--hang", "2"), "hang: Input should be less than or equal to 1"),
        (("--port", "70000"), "not a port"),
        (("--faults", "/nowhere/faults.json"), "No such file"),
    ],
)
def test_bad_flags_are_refused(arguments, words):
    done = subprocess.run(command(*arguments), capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
