"""Builds an export: one pass over the run's questions into all sets at once, in memory that does not grow.

Where questions changed after they were read, those are read again if that can be done, and all is written anew; what
still changes after that is told in the manifest (docs/decisions/0009).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from apps.exports.config import DEFAULT, ExportConfig
from apps.exports.errors import ExportRefusedError, ExportStoppedError, LedgerBrokenError
from apps.exports.folder import MANIFEST, SCHEMA_NAME, SIGNATURE, atomic_folder
from apps.exports.forms.beside import write_beside
from apps.exports.forms.build import FormWriters
from apps.exports.forms.quality import quality_of
from apps.exports.holding import Holding
from apps.exports.journal import LivePages, Pages
from apps.exports.lineage import PAGE, Asked
from apps.exports.proof.manifest import code_version, merkle_section
from apps.exports.proof.signing import SigningKey, signing_key
from apps.exports.provenance import provenance_of
from apps.exports.records import Variant, make_records
from apps.exports.selectors import check_signed_off
from apps.exports.sieves import WHOLE, Sifter, sieves_of
from apps.exports.tally import Tally, manifest_of
from apps.exports.writers import SHARD_BYTES, Format, JsonlWriter, RecordWriter, open_writer
from apps.reasoning.models import QuestionState, Run
from apps.review.records.signoff import refusal

Progress = Callable[[int], None]  # questions done so far
ROUNDS = 3  # times that all is written while the ledger keeps changing


class _LedgerMovedError(Exception):
    """Questions changed after they were read, and were read again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes that tests make small. They change neither the records nor their order."""

    page: int = PAGE
    shard_bytes: int = SHARD_BYTES


def build_export(
    *,
    run: Run,
    variants: Sequence[Variant],
    format: Format,
    out_dir: Path,
    config: ExportConfig = DEFAULT,
    pages: Pages | None = None,
    holding: Holding | None = None,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
    limits: Limits = Limits(),
) -> dict[str, Any]:
    """Writes the export folder and returns its manifest. The folder appears whole or not at all.

    `pages`: where the questions are read, straight in the ledger if not in a journal; `holding` writes down each record.
    Raises ExportRefusedError (the place or the signing key will not do, or people have not signed off what the run asks for),
    LedgerBrokenError (a ready question breaks a rule), ExportStoppedError, OSError.
    """
    check_signed_off(run, config)
    key = signing_key()
    source = pages or LivePages(run, page=limits.page)
    for rounds_left in reversed(range(ROUNDS)):
        with suppress(_LedgerMovedError), atomic_folder(out_dir) as folder, ExitStack() as opened:
            sieves = sieves_of(run, config, should_stop=should_stop)
            writing = _Writing(opened, folder, run, variants, format, config, limits, Sifter(sieves), holding)
            for page in source:
                if should_stop and should_stop():
                    raise ExportStoppedError
                writing.write_page(page)
                if progress:
                    progress(writing.tally.questions)
            moved = source.moved()
            if moved and rounds_left and source.read_again():
                raise _LedgerMovedError
            if why_not := refusal(writing.tally.sign_offs):
                raise ExportRefusedError(why_not)
            return writing.finish(moved=moved, key=key)
    raise AssertionError("The last round returns or raises.")


class _Writing:
    """The files of one round, from the first page to the manifest."""

    def __init__(
        self,
        opened: ExitStack,
        folder: Path,
        run: Run,
        variants: Sequence[Variant],
        format: Format,
        config: ExportConfig,
        limits: Limits,
        sifter: Sifter,
        holding: Holding | None,
    ) -> None:
        self._folder, self._run, self._variants, self._format, self._config = folder, run, variants, format, config
        self._sifter, self._holding = sifter, holding
        self.tally = Tally(run)
        self._sets: dict[Variant, RecordWriter] = {
            v: opened.enter_context(closing(open_writer(folder, v, format, shard_bytes=limits.shard_bytes)))
            for v in variants
        }
        self._trail = opened.enter_context(closing(JsonlWriter(folder, "provenance")))
        forms = FormWriters(folder, run, config, format=format, shard_bytes=limits.shard_bytes)
        self._forms = opened.enter_context(closing(forms))
        if holding:
            holding.begin()

    def write_page(self, page: list[Asked]) -> None:
        states = {a.question.pk: self.tally.state_of(a) for a in page}
        ready = [a for a in page if states[a.question.pk][0] == QuestionState.READY]
        states |= {pk: (QuestionState.EXCLUDED, reason) for pk, reason in self._sifter.sift(ready).items()}
        exported = []
        for asked in page:
            state, reason = states[asked.question.pk]
            self.tally.count_question(asked, state, reason)
            if state == QuestionState.READY:
                exported.append(asked)
                self._write_records(asked)
            elif self._holding:
                self._holding.leave_out(asked, slot=WHOLE, state=state, reason=reason)
        if self._holding:
            for asked, slot, reason in self._sifter.behind:
                self._holding.leave_out(asked, slot=slot, state=QuestionState.EXCLUDED, reason=reason)
            self._holding.write()
        self._forms.write_page(exported)
        self.tally.count_overlap([asked.question for asked in exported])

    def _write_records(self, asked: Asked) -> None:
        for kept in asked.kept:
            try:
                records = make_records(
                    self._variants, question=asked.question, cot=kept.path.text, response=kept.response.text
                )
            except ValueError as error:
                raise LedgerBrokenError(f"{asked.question.uid}, slot {kept.slot}: {error}") from error
            for writer, record in zip(self._sets.values(), records, strict=True):
                writer.write(record)
            self._forms.write_record(asked, kept, records[0])
            self._trail.write(provenance_of(asked, kept, number=self.tally.records))
            if self._holding:
                self._holding.hold(asked, kept, number=self.tally.records)
            self.tally.count_record(asked, kept)

    def finish(self, *, moved: int, key: SigningKey | None) -> dict[str, Any]:
        """Card, manifest and, with a key, its signature; only the signature knows the time, so the rest can be made again."""
        forms = self._forms.finish()
        sets = [(writer, writer.finish()) for writer in self._sets.values()]
        sets += [*forms.shared, (self._trail, self._trail.finish()), *forms.own]
        files = [file for _, made in sets for file in made]
        draft = manifest_of(
            self.tally, schema=SCHEMA_NAME, variants=self._variants, format=self._format, files=files, card=None
        )
        draft |= self._chosen(moved) | {
            "forms": forms.counts,
            "merkle": merkle_section(sets, trails=forms.trails),
            "code_version": code_version(),
            "publisher": settings.PUBLISHER or self._run.project.name,
            "signed_by": key.id if key else None,
        }
        card, beside = write_beside(self._folder, draft, self.tally.licences)
        manifest = {**draft, "card": card, "extras": [*forms.extras, *beside]}
        data = (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode()
        (self._folder / MANIFEST).write_bytes(data)
        if key:
            (self._folder / SIGNATURE).write_bytes(key.sign(data, file=MANIFEST))
        return manifest

    def _chosen(self, moved: int) -> dict[str, Any]:
        """What was asked for, and what came of it."""
        warnings = [*self.tally.warnings, *self._sifter.warnings]
        if moved:
            warnings.append(f"{moved:,} questions changed after they were read: this is not the ledger at one moment")
        return {
            "choices": self._config.as_json(),
            "records_left_out": dict(sorted(self._sifter.records.items())),
            "held_out": self._run.allow_held_out and self._config.sources != "open",
            "changed_while_read": moved,
            "quality": quality_of(self._run),
            **self._sifter.told(),
            "warnings": warnings,
        }
