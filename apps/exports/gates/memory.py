"""What the gates found before: looked up by page, and written down for the next one who looks.

A record's texts hardly ever change, and looking through them takes longer than writing them. What was found is kept with a
digest of all that it depends on, the gates' own code included, so that nothing stale is ever taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from django.db import connection

from apps.exports.gates.texts import GATES, Gate, Texts
from apps.exports.lineage import Asked
from apps.reasoning.models import Run

ROWS = 2_000  # held before they are written
_BITS: dict[Gate, int] = {gate: 1 << place for place, gate in enumerate(GATES)}


class Known(NamedTuple):
    content: bytes
    gates: frozenset[Gate]  # without `twin`
    twin: int  # digest of the reasoning


class Memory:
    def __init__(self, run: Run) -> None:
        self._run_id = run.pk
        self._known: dict[int, Known] = {}
        self._new: dict[int, Known] = {}

    def recall(self, page: Sequence[Asked]) -> None:
        """Of the records of a page; one statement."""
        with connection.cursor() as cursor:
            cursor.execute(_RECALL, [self._run_id, [kept.path.pk for asked in page for kept in asked.kept]])
            self._known = {
                pk: Known(bytes(content), gates_of(bits), twin) for pk, content, bits, twin in cursor.fetchall()
            }

    def find(self, path_id: int, content: bytes) -> Known | None:
        known = self._known.get(path_id)
        return known if known and known.content == content else None

    def learn(self, path_id: int, known: Known) -> None:
        self._new[path_id] = known
        if len(self._new) >= ROWS:
            self.write()

    def write(self) -> None:
        if not self._new:
            return
        rows = sorted((pk, one.content, bits_of(one.gates), one.twin) for pk, one in self._new.items())
        columns = zip(*rows, strict=True)  # in one order, so that two who write them cannot wait for each other
        with connection.cursor() as cursor:
            cursor.execute(_WRITE, [self._run_id, *map(list, columns)])
        self._new = {}


_RECALL = "SELECT path_id, content, gates, twin FROM exports_gatecheck WHERE run_id = %s AND path_id = ANY(%s)"
_WRITE = """
    INSERT INTO exports_gatecheck (run_id, path_id, content, gates, twin)
    SELECT %s, * FROM unnest(%s::bigint[], %s::bytea[], %s::int[], %s::bigint[])
    ON CONFLICT (run_id, path_id) DO UPDATE SET content = EXCLUDED.content, gates = EXCLUDED.gates, twin = EXCLUDED.twin
"""


def content_of(texts: Texts) -> bytes:
    """16 bytes: equal ones give the same findings."""
    parts = (texts.key, texts.cot_answer, texts.response_answer, texts.finish_reason, texts.cot, texts.response)
    return blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=16, key=_code()).digest()


@cache
def _code() -> bytes:
    """Of the gates as they are written: any change to one makes all that was found before void."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return blake2b(b"".join(file.read_bytes() for file in files), digest_size=32).digest()


@cache
def gates_of(bits: int) -> frozenset[Gate]:
    return frozenset(gate for gate, bit in _BITS.items() if bits & bit)


def bits_of(gates: Iterable[Gate]) -> int:
    return sum(_BITS[gate] for gate in gates)
