"""Rows of a JSON file one at a time, with the line each starts on: JSON Lines, an array, or one object's members."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from apps.questions.importers.base import FileRefused, RowError
from apps.questions.importers.files import MAX_ROW, SourceFile

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def rows(source: SourceFile) -> Iterator[tuple[int, Any]]:
    """(line, value) of a JSON array or of JSON Lines. A line that is no JSON comes as a RowError; damage to an array
    cannot be read past and refuses the file."""
    first = first_character(source)
    if first == "[":
        return ((line, value) for line, _key, value in _Reader(source).items("["))
    if first == "{":
        return _json_lines(source)
    raise FileRefused(f"is neither JSON Lines nor a JSON array: it starts with {first!r}")


def keyed_rows(source: SourceFile) -> Iterator[tuple[int, str, Any]]:
    """(line, key, value) of one JSON object's members."""
    first = first_character(source)
    if first != "{":
        raise FileRefused(f"is not one JSON object: it starts with {first!r}")
    return _Reader(source).items("{")


def first_character(source: SourceFile) -> str:
    return _Reader(source).peek()


def _json_lines(source: SourceFile) -> Iterator[tuple[int, Any]]:
    for number, line in source.lines():
        if line is None:
            yield number, RowError("", f"the line is longer than {MAX_ROW // 1024 // 1024} MB")
            continue
        try:
            yield number, orjson.loads(line)
        except orjson.JSONDecodeError:
            if line.strip():
                yield number, _explained(line)


def _explained(line: bytes) -> Any:
    """A line orjson refused: the value after all (lone surrogates, which the field's check names), or a RowError."""
    if b"\0" in line:
        return RowError("", "holds a NUL byte")
    try:
        text = line.decode().rstrip()
        return json.loads(text)
    except UnicodeDecodeError as error:
        byte, column = line[error.start], error.start + 1
        return RowError("", f"is not UTF-8 (byte 0x{byte:02x} at {column}); save the file as UTF-8")
    except json.JSONDecodeError as error:
        ended = error.pos >= len(text) or error.msg.startswith("Unterminated string")
        return RowError("", f"not JSON: {'the line is cut short' if ended else error.msg} (column {error.colno})")
    except (RecursionError, ValueError):
        return RowError("", "not JSON: nested too deeply or a number too long")


class _Reader:
    """Reads values off a growing and shrinking buffer; a value may be at most MAX_ROW characters long."""

    def __init__(self, source: SourceFile) -> None:
        self._chunks = source.chunks()
        self._buffer = ""
        self._at = 0
        self._line = 1
        self._ended = False

    def items(self, opening: str) -> Iterator[tuple[int, str, Any]]:
        """(line, key or "", value) of each element or member."""
        closing = "]" if opening == "[" else "}"
        self._expect(opening)
        if self.peek() == closing:
            self._expect(closing)
        else:
            while True:
                self.peek()
                line, key = self._line, self._key() if opening == "{" else ""
                yield line, key, self._value()
                if self.peek() == closing:
                    self._expect(closing)
                    break
                self._expect(",")
        if self.peek():
            raise FileRefused(f"goes on after the closing {closing}", line=self._line)

    def peek(self) -> str:
        """The next character that is not white space, "" at the end."""
        while True:
            found = _SPACE.match(self._buffer, self._at)
            self._move(found.end() if found else self._at)
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more():
                return ""

    def _key(self) -> str:
        if self.peek() != '"':
            self._refuse_here("a member's name in double quotes")
        key = self._value()
        self._expect(":")
        return str(key)

    def _expect(self, character: str) -> None:
        if self.peek() != character:
            self._refuse_here(repr(character))
        self._move(self._at + 1)

    def _value(self) -> Any:
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._buffer, self._at)
                if end < len(self._buffer) or self._ended or not self._more():  # a number may go on
                    self._move(end)
                    return value
            except json.JSONDecodeError as error:
                if len(self._buffer) - self._at > MAX_ROW:
                    raise FileRefused(
                        f"not JSON ({error.msg}), or a row longer than {MAX_ROW // 1024 // 1024} MB", line=self._line
                    ) from None
                if not self._more():
                    self._refuse_value(error)
            except (RecursionError, ValueError):
                raise FileRefused("not JSON: nested too deeply or a number too long", line=self._line) from None

    def _refuse_value(self, error: json.JSONDecodeError) -> None:
        if error.pos >= len(self._buffer.rstrip()) or error.msg.startswith("Unterminated string"):
            raise FileRefused("is cut short: it ends inside this row", line=self._line) from None
        line = self._line + self._buffer.count("\n", self._at, error.pos)
        if self._buffer[error.pos] == "\0":
            raise FileRefused("holds a NUL byte", line=line) from None
        raise FileRefused(f"not JSON: {error.msg}", line=line) from None

    def _refuse_here(self, wanted: str) -> None:
        found = self.peek()
        if not found:
            raise FileRefused(f"is cut short: {wanted} should follow", line=self._line)
        raise FileRefused(f"not JSON: {wanted} expected, found {found!r}", line=self._line)

    def _more(self) -> bool:
        """One more chunk into the buffer; what was read is let go."""
        chunk = "" if self._ended else next(self._chunks, "")
        self._ended = not chunk
        if chunk:
            self._buffer = self._buffer[self._at :] + chunk
            self._at = 0
        return bool(chunk)

    def _move(self, to: int) -> None:
        self._line += self._buffer.count("\n", self._at, to)
        self._at = to
