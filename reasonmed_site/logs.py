"""Log lines: for people, or one JSON object each for machines that collect them."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """Time (UTC, ISO), level, logger, message, process; what was passed as `extra`; the traceback as text."""

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
        }
        said |= {name: value for name, value in vars(record).items() if name not in OWN}
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said, default=str, ensure_ascii=False)
