"""What a server's log says: its end for the page, and the lines that tell why it died."""

from __future__ import annotations

import re
from pathlib import Path

from workers.serving.guard import STARTED

TAIL_BYTES = 8_000
SEARCHED_BYTES = 128 * 1024
LINES_THAT_MATTER = 3
ERROR_CHARS = 500  # ModelServer.last_error
_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)?")
_CONTROLS = re.compile(r"[^\t\n\x20-\x7e\xa0-\U0010ffff]")
_PREFIX = re.compile(r"^\(\w+ pid=\d+\)\s*|^(ERROR|CRITICAL) [\d-]+ [\d:]+ \[[^\]]*\]\s*")
_MATTERS = re.compile(
    r"\b\w*(Error|Exception)\b:|\berror:|out of memory|No module named|No such file|not found|Killed|signal \d+", re.I
)
_PASSING = re.compile(r"^(\(\w+ pid=\d+\)\s*)?(DEBUG|INFO|WARNING)\b")
_POINTER = re.compile(r"See root cause above|See stack trace|Failed core proc", re.I)  # they say that others say it


def tail_of(log: Path, secret: str = "") -> str:
    """The last lines, clean enough for a page and a database."""
    text = cleaned(_end_of(log, TAIL_BYTES), secret)
    return text if len(text) < TAIL_BYTES // 2 else text.partition("\n")[2] or text


def why_it_ended(log: Path, secret: str = "") -> str:
    """The last lines since it started that name an error, oldest first; without any, the last line."""
    life = cleaned(_end_of(log, SEARCHED_BYTES), secret).rpartition(STARTED)[2]
    lines = [line for line in life.splitlines() if line.strip()]
    told = list(dict.fromkeys(plain(line) for line in lines if _MATTERS.search(line) and not _PASSING.match(line)))
    chosen = (
        [line for line in told if not _POINTER.search(line)][-LINES_THAT_MATTER:]
        or told[-1:]
        or [plain(line) for line in lines[-1:]]
    )
    each = ERROR_CHARS // max(len(chosen), 1) - 3
    return " · ".join(line if len(line) <= each else line[: each - 1] + "…" for line in chosen)


def last_line(log: Path, secret: str = "") -> str:
    lines = [line.strip() for line in cleaned(_end_of(log, TAIL_BYTES), secret).splitlines() if line.strip()]
    return lines[-1][:160] if lines else ""


def plain(line: str) -> str:
    """Without vLLM's prefixes of process, level, time and place."""
    while (shorter := _PREFIX.sub("", line.strip())) != line:
        line = shorter
    return line


def cleaned(text: str, secret: str = "") -> str:
    """No terminal escapes, no control characters, no key; a progress bar keeps its last state."""
    if secret:
        text = text.replace(secret, "…")
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return _CONTROLS.sub("", _ESCAPES.sub("", "\n".join(lines)))


def _end_of(log: Path, size: int) -> str:
    """Also over the border of a log just rotated."""
    text = b""
    for path in (log, Path(f"{log}.1")):
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - (size - len(text))))
                text = file.read(size - len(text)) + text
        except OSError:
            break
        if len(text) >= size:
            break
    return text.decode("utf-8", "replace")
