"""What every importer gives and refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from apps.questions.fingerprints import spell
from apps.questions.text import LETTERS

if TYPE_CHECKING:
    from apps.questions.importers.files import SourceFile

MAX_ASKED = 100_000  # characters of stem and options together: PostgreSQL's tsvector holds 1 MB
KEY_TEXT_REPEATED = "key_text_repeated"
EQUAL_OPTIONS = "equal_options"
CONFLICTING_KEY = "conflicting_key"
BLOCKING = frozenset({KEY_TEXT_REPEATED})  # flags that keep a question out of runs by default


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, where, and what to do. `no_key` rows are left out even where any other bad row refuses its file."""

    file: str
    line: int
    field: str
    message: str
    no_key: bool = False

    def as_json(self) -> dict[str, Any]:
        return {"file": self.file, "line": self.line, "field": self.field, "message": self.message}


class FileRefused(Exception):  # noqa: N818 - it is what happened to the file
    """The file as a whole cannot be read as what it is said to be."""

    def __init__(self, message: str, *, line: int = 1, field: str = "") -> None:
        super().__init__(message)
        self.message, self.line, self.field = message, line, field


class RowError(ValueError):
    """One row cannot become a question."""

    def __init__(self, field: str, message: str, *, no_key: bool = False) -> None:
        super().__init__(message)
        self.field, self.message, self.no_key = field, message, no_key


@dataclass(slots=True)
class ParsedQuestion:
    """One row of a file as a question. `key` is 0-based. With a `source_id` that is its identity."""

    line: int
    stem: str
    options: list[str]
    key: int
    split: str
    held_out: bool
    source_id: str = ""
    subject: str = ""
    topic: str = ""
    contexts: list[dict[str, str]] = field(default_factory=list)
    explanation: str = ""
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def flags(self) -> list[str]:
        """Equal options, told apart by whether one of them is the key; white space and invisible marks do not count."""
        spelled = [spell(option) for option in self.options]
        if len(set(spelled)) == len(spelled):
            return []
        return [KEY_TEXT_REPEATED if spelled.count(spelled[self.key]) > 1 else EQUAL_OPTIONS]


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What the person said about the file. `held_out_ids` is None when no test key was given."""

    split: str
    subject: str = ""
    held_out_ids: frozenset[str] | None = None
    cop_base: int | None = None


Importer = Callable[["SourceFile", ReadOptions], Iterator["ParsedQuestion | Problem"]]


def parse_rows(
    source: SourceFile,
    records: Iterator[tuple[int, Any]],
    parse: Callable[[int, Any], ParsedQuestion],
) -> Iterator[ParsedQuestion | Problem]:
    """Each record as a question or as a problem. A record that is itself a RowError could not be decoded."""
    for line, record in records:
        try:
            if isinstance(record, RowError):
                raise record
            question = parse(line, record)
            check(question)
        except RowError as error:
            yield Problem(source.name, line, error.field, error.message, error.no_key)
        else:
            yield question


def check(question: ParsedQuestion) -> None:
    """What must hold for any benchmark, whatever the form of its file."""
    if not 2 <= len(question.options) <= len(LETTERS):
        raise RowError("options", f"{len(question.options)} options; a question needs 2 to {len(LETTERS)}")
    if len(question.stem) + sum(map(len, question.options)) > MAX_ASKED:
        raise RowError("question", f"stem and options are longer than {MAX_ASKED:,} characters")
    for name, limit in (("source_id", 80), ("subject", 120), ("topic", 300)):
        if len(getattr(question, name)) > limit:
            raise RowError(name, f"longer than {limit} characters")


def members(record: Any, benchmark: str) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise RowError("", f"a {benchmark} row is an object, not {shown(record)}")
    return record


def text_of(value: Any, field: str, *, required: bool = True) -> str:
    """A text without surrounding white space, line ends as \\n. Optional ones may be null or missing."""
    if value is None and not required:
        return ""
    if not isinstance(value, str):
        raise RowError(field, "missing" if value is None else f"must be text, not {shown(value)}")
    if not value.isascii() or "\0" in value or "\r" in value:
        value = _storable(value, field)
    text: str = value.strip()
    if required and not text:
        raise RowError(field, "empty")
    return text


def texts_of(value: Any, field: str) -> list[str]:
    """A list of texts; null or missing is an empty one."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise RowError(field, f"must be a list of texts, not {shown(value)}")
    return [text_of(item, field, required=False) for item in value]


def letter_index(value: Any, options: Sequence[str], field: str) -> int:
    """0-based index of an option's letter."""
    letter = value.strip().upper() if isinstance(value, str) else ""
    index = LETTERS.find(letter) if len(letter) == 1 else -1
    if not 0 <= index < len(options):
        raise RowError(field, f"must be one of {LETTERS[0]}–{LETTERS[len(options) - 1]}, not {shown(value)}")
    return index


def shown(value: Any) -> str:
    """A foreign value in a message: short, printable."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _storable(value: str, field: str) -> str:
    if "\0" in value:
        raise RowError(field, "holds a NUL character, which no text can")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        if 0xDC80 <= code <= 0xDCFF:  # how files.py marks an undecodable byte
            raise RowError(field, f"is not UTF-8 (byte 0x{code - 0xDC00:02x}); save the file as UTF-8") from None
        raise RowError(field, f"holds half a character (lone surrogate U+{code:04X})") from None
    return value.replace("\r\n", "\n").replace("\r", "\n") if "\r" in value else value
