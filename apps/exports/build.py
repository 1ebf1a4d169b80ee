"""Builds an export: one pass over the run's questions into all sets at once, in memory that does not grow.

Where questions changed after they were read, those are read again if that can be done, and all is written anew; what
still changes after that is told in the manifest (docs/decisions/0009).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings

from apps.exports.config import DEFAULT, ExportConfig
from apps.exports.errors import ExportRefusedError, ExportStoppedError
from apps.exports.folder import MANIFEST, SCHEMA_NAME, SIGNATURE, atomic_folder
from apps.exports.forms.beside import write_beside
from apps.exports.forms.build import FormWriters
from apps.exports.holding import Holding
from apps.exports.journal import LivePages, Pages
from apps.exports.lineage import PAGE
from apps.exports.making.parts import WHOLE, Decided, Order, PageMade, PageRead
from apps.exports.making.pool import making_of
from apps.exports.proof.code import code_version
from apps.exports.proof.manifest import merkle_section
from apps.exports.proof.signing import SigningKey, signing_key
from apps.exports.records import Variant
from apps.exports.selectors import check_signed_off
from apps.exports.sieves import Sifter, ordered_sieves_of
from apps.exports.tally import Tally, manifest_of
from apps.exports.writers import SHARD_BYTES, Format, JsonlWriter, RecordWriter, open_writer
from apps.reasoning.models import Run
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
    order = Order(run.pk, tuple(variants), format, config, holding.snapshot_id if holding else None)
    with making_of(run, order, source.path) as making:
        for rounds_left in reversed(range(ROUNDS)):
            with suppress(_LedgerMovedError), atomic_folder(out_dir) as folder, ExitStack() as opened:
                sifter = Sifter(ordered_sieves_of(run, config, should_stop=should_stop))
                writing = _Writing(opened, folder, run, order, limits, sifter, holding)
                for page in making.pages(source.places(), partial(writing.decide, source)):
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
        order: Order,
        limits: Limits,
        sifter: Sifter,
        holding: Holding | None,
    ) -> None:
        self._folder, self._run, self._order = folder, run, order
        self._sifter, self._holding = sifter, holding
        self.tally = Tally(run)
        self._decided = 0  # records up to the last page that was decided about
        self._left_out: Counter[str] = Counter()  # records of questions that leave, by reason
        self._sets: list[RecordWriter] = [
            opened.enter_context(closing(open_writer(folder, v, order.format, shard_bytes=limits.shard_bytes)))
            for v in order.variants
        ]
        self._trail = opened.enter_context(closing(JsonlWriter(folder, "provenance")))
        forms = FormWriters(folder, order.config, format=order.format, shard_bytes=limits.shard_bytes)
        self._forms = opened.enter_context(closing(forms))
        if holding:
            holding.begin()

    def decide(self, source: Pages, read: PageRead) -> Decided:
        """What stays behind of a page because of what left before it, and where it is numbered from."""
        source.note(read)
        out = self._sifter.sift(read.open)
        decided = Decided(self._decided, out)
        self._decided += read.records
        for question in read.open if out else ():
            whole = (question.pk, WHOLE) in out
            self._decided -= sum(whole or (question.pk, slot) in out for slot in question.slots)
        return decided

    def write_page(self, page: PageMade) -> None:
        for writer, lines in zip([*self._sets, self._trail], page.sets, strict=True):
            writer.write_lines(lines)
        self._forms.write(page.forms)
        self.tally.add(page.sums)
        self._left_out.update(page.left_out)
        if self._holding and page.held:
            self._holding.add(page.held)

    def finish(self, *, moved: int, key: SigningKey | None) -> dict[str, Any]:
        """Card, manifest and, with a key, its signature; only the signature knows the time, so the rest can be made again."""
        forms = self._forms.finish(records=self.tally.records)
        sets = [(writer, writer.finish()) for writer in self._sets]
        sets += [*forms.shared, (self._trail, self._trail.finish()), *forms.own]
        files = [file for _, made in sets for file in made]
        draft = manifest_of(
            self.tally,
            schema=SCHEMA_NAME,
            variants=self._order.variants,
            format=self._order.format,
            files=files,
            card=None,
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
        from apps.exports.forms.quality import quality_of  # scipy: not beside the pages in memory

        warnings = [*self.tally.warnings, *self._sifter.warnings]
        if moved:
            warnings.append(f"{moved:,} questions changed after they were read: this is not the ledger at one moment")
        return {
            "choices": self._order.config.as_json(),
            "records_left_out": dict(sorted(self._left_out.items())),
            "held_out": self._run.allow_held_out and self._order.config.sources != "open",
            "changed_while_read": moved,
            "quality": quality_of(self._run),
            **self._sifter.told(),
            "warnings": warnings,
        }
