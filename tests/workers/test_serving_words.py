"""What is taken from a server's log: clean, short, and the lines that tell why it died."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.serving.guard import STARTED
from workers.serving.words import ERROR_CHARS, TAIL_BYTES, cleaned, last_line, tail_of, why_it_ended


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "judge-0.log"


def test_the_root_cause_and_not_its_pointer(log: Path) -> None:
    log.write_text(
        "INFO 11-25 10:00:00 [api_server.py:9] args: {'model': 'x'}\n"
        "(EngineCore pid=11) ERROR 11-25 10:00:01 [core.py:800] torch.OutOfMemoryError: CUDA out of memory.\n"
        "(EngineCore pid=11) Process EngineCore:\n"
        "(APIServer pid=9)   raise RuntimeError(\n"
        "(APIServer pid=9) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n"
        "/usr/lib/resource_tracker.py:1: UserWarning: leaked\n"
    )
    assert why_it_ended(log) == "torch.OutOfMemoryError: CUDA out of memory."


def test_warnings_requests_and_earlier_lives_tell_nothing(log: Path) -> None:
    log.write_text(
        f"{STARTED} 2026-11-25 18:00:00\n"
        "ValueError: of the life before\n"
        f"{STARTED} 2026-11-25 18:32:00\n"
        "(APIServer pid=1) WARNING 11-25 18:32:24 [system_utils.py:255] fd limit errors like `OSError: [Errno 24]`\n"
        "(APIServer pid=1) ERROR 11-25 18:32:54 [async_llm.py:906] vllm.EngineDeadError: EngineCore encountered an issue. "
        "See stack trace (above) for the root cause.\n"
        'INFO:     127.0.0.1:39352 - "POST /v1/chat/completions HTTP/1.1" 500 Internal Server Error: x\n'
        "INFO:     Shutting down\n"
    )
    assert why_it_ended(log).startswith("vllm.EngineDeadError: EngineCore encountered an issue.")
    assert "·" not in why_it_ended(log)


def test_the_last_line_where_none_names_an_error(log: Path) -> None:
    log.write_text("loading\nhalf way\n\n")
    assert why_it_ended(log) == last_line(log) == "half way"


def test_no_log_no_words(log: Path) -> None:
    assert (why_it_ended(log), tail_of(log), last_line(log)) == ("", "", "")


def test_over_the_border_of_a_rotated_log(log: Path) -> None:
    log.with_name("judge-0.log.1").write_text("x" * 200_000 + "\nValueError: before the border\n")
    log.write_text("after it\n")
    assert tail_of(log).endswith("ValueError: before the border\nafter it\n")
    assert why_it_ended(log) == "ValueError: before the border"


def test_only_the_end_is_shown_in_whole_lines(log: Path) -> None:
    log.write_text("".join(f"line {n:06}\n" for n in range(100_000)))
    tail = tail_of(log)
    assert tail.startswith("line ")
    assert tail.endswith("line 099999\n")
    assert len(tail) <= TAIL_BYTES


def test_a_key_never_shows(log: Path) -> None:
    log.write_text("ValueError: bad key sk-123456 given\n")
    assert "sk-123456" not in tail_of(log, "sk-123456") + why_it_ended(log, "sk-123456")


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("\x1b[36mblue\x1b[0m \x1b]0;title\x07text", "blue text"),
        ("10 %\r50 %\r100 %\nnext", "100 %\nnext"),
        ("windows\r\n", "windows\n"),
        ("nul\x00 bell\x07 c1\x9b", "nul bell c1"),
        ("é 日本 <script>", "é 日本 <script>"),
    ],
)
def test_cleaned(raw: str, clean: str) -> None:
    assert cleaned(raw) == clean


@given(st.text(), st.binary(max_size=300))
def test_anything_can_be_stored(text: str, raw: bytes) -> None:
    for said in (cleaned(text), cleaned(raw.decode("utf-8", "replace"))):
        assert "\x00" not in said
        assert "\x1b" not in said
        said.encode()


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=2000), max_size=8))
def test_why_it_ended_fits(lines: list[str]) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        log.write_text("\n".join(f"{line} Error: x" for line in lines))
        assert len(why_it_ended(log)) <= ERROR_CHARS
