"""Reads the pages of an export and makes what is written of them; several may do so side by side, each with pages of its own.

A page is read first. What then stays behind because of what left before it, and where its records are numbered from, only
the one who sees all pages in their order can say; with that the page is made.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from apps.exports.errors import LedgerBrokenError
from apps.exports.forms.make import FormMaker
from apps.exports.gates.keeper import Looked, Looker
from apps.exports.holding import HoldingRows
from apps.exports.journal import PageFile
from apps.exports.lineage import Asked, Kept, read_page
from apps.exports.making.parts import WHOLE, Decided, Open, Order, PageMade, PageRead, Place
from apps.exports.making.sets import SetMaker
from apps.exports.sieves import LeftOut, looks, ordered, sieves_of
from apps.exports.tally import Tally
from apps.reasoning.models import QuestionState, Run


@dataclass(slots=True)
class _Page:
    asked: list[Asked]
    states: dict[int, tuple[str, str]]
    out: dict[tuple[int, int], str]


class Maker:
    """`journal`: where pages that were read stand, and where those that are read are written down."""

    def __init__(self, run: Run, order: Order, journal: PageFile | None = None) -> None:
        self._run, self._order, self._journal = run, order, journal
        self._sieves = sieves_of(run, order.config)
        self._ordered = ordered(order.config)
        self._looker = Looker(run) if looks(order.config) else None
        self._forms = FormMaker(run, order.config, order.format)
        self._tally = Tally(run)
        self._held: dict[int, _Page] = {}  # read and not yet made

    def read(self, place: Place) -> PageRead:
        """Raises LedgerBrokenError (a ready question breaks a rule)."""
        place, asked = self._load(place)
        states = {a.question.pk: self._tally.state_of(a) for a in asked}
        ready = [a for a in asked if states[a.question.pk][0] == QuestionState.READY]
        out: dict[tuple[int, int], str] = {}
        for sieve in self._sieves if ready else ():
            out = {**sieve.sift(ready, out), **out}
        self._held[place.after] = _Page(asked, states, out)
        looked = self._looker.look(ready) if self._looker else []
        asks = _opened(ready, out, looked) if self._ordered or out else None
        return PageRead(
            place,
            array("q", [a.row.question_id for a in asked]).tobytes(),
            array("q", [a.row.version for a in asked]).tobytes(),
            sum(len(a.kept) for a in ready) if asks is None else sum(len(one.slots) for one in asks),
            asks if asks and self._ordered else [],
        )

    def make(self, after: int, decided: Decided) -> PageMade:
        """Of the page that begins behind the question `after`. Raises LedgerBrokenError (a record has no text)."""
        page = self._held.pop(after)
        settled = _Settled(page, decided)
        sets = SetMaker(self._order, decided.number, wanted=self._forms.wants_records)
        rows = HoldingRows(self._order.snapshot) if self._order.snapshot else None
        exported: list[Asked] = []
        for asked in page.asked:
            state, reason = settled.states[asked.question.pk]
            self._tally.count_question(asked, state, reason)
            if state == QuestionState.READY:
                exported.append(asked)
                self._make_records(asked, sets, rows)
            elif rows:
                rows.leave_out(asked, slot=WHOLE, state=state, reason=reason)
        if rows:
            for asked, slot, reason in settled.behind:
                rows.leave_out(asked, slot=slot, state=QuestionState.EXCLUDED, reason=reason)
        self._tally.count_overlap([asked.question for asked in exported])
        return PageMade(
            questions=len(page.asked),
            records=sets.records,
            sets=sets.finish(),
            forms=self._forms.page(exported, start=decided.number),
            sums=self._tally.taken(),
            left_out=settled.left_out,
            held=rows.taken() if rows else None,
        )

    def finish(self) -> None:
        if self._looker:
            self._looker.memory.write()

    def _load(self, place: Place) -> tuple[Place, list[Asked]]:
        if self._journal and place.read:
            return place, self._journal.load(place)
        asked = read_page(self._run, after=place.after, upto=place.upto)
        return (self._journal.append(place, asked) if self._journal else place), asked

    def _make_records(self, asked: Asked, sets: SetMaker, rows: HoldingRows | None) -> None:
        sets.begin(asked)
        for kept in asked.kept:
            number = sets.number
            try:
                record = sets.add(asked, kept)
            except ValueError as error:
                raise LedgerBrokenError(f"{asked.question.uid}, slot {kept.slot}: {error}") from error
            self._forms.record(asked, kept, record, number=number)
            if rows:
                rows.hold(asked, kept, sets.content(), number=number)
        self._tally.count_records(asked)


class _Settled:
    """What stays behind of a page in the end: whole questions, and single records, which are taken out of theirs."""

    def __init__(self, page: _Page, decided: Decided) -> None:
        out: LeftOut = {**decided.out, **page.out}
        self.states = page.states
        self.left_out: dict[str, int] = {}  # records of questions that leave, by reason
        self.behind: list[tuple[Asked, int, str]] = []  # (question, slot, reason)
        for asked in page.asked if out else ():
            self._settle(asked, out)

    def _settle(self, asked: Asked, out: LeftOut) -> None:
        pk = asked.question.pk
        if self.states[pk][0] != QuestionState.READY:
            return
        gone = [(asked, kept.slot, out[pk, kept.slot]) for kept in asked.kept if (pk, kept.slot) in out]
        if (pk, WHOLE) in out:
            self.states[pk] = QuestionState.EXCLUDED, out[pk, WHOLE]
        elif gone and len(gone) == len(asked.kept):
            self.states[pk] = QuestionState.EXCLUDED, gone[0][2]
        elif gone:
            asked.kept = [kept for kept in asked.kept if (pk, kept.slot) not in out]
            self.behind += gone
            for *_, reason in gone:
                self.left_out[reason] = self.left_out.get(reason, 0) + 1


def _opened(ready: Sequence[Asked], out: LeftOut, looked: Sequence[Looked]) -> list[Open]:
    """What nothing has kept out so far."""
    found, at = [], 0
    for asked in ready:
        pk, first = asked.question.pk, at
        at += len(asked.kept)
        if (pk, WHOLE) in out:
            continue
        kept: list[tuple[int, Kept]] = [(n, k) for n, k in enumerate(asked.kept, first) if (pk, k.slot) not in out]
        if kept:
            seen = tuple(looked[n] for n, _ in kept) if looked else ()
            found.append(Open(pk, tuple(k.slot for _, k in kept), seen))
    return found
