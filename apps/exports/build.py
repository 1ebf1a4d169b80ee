"""Builds an export: one pass over the run's questions into all sets at once, in memory that does not grow."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from apps.exports.config import DEFAULT, ExportConfig
from apps.exports.errors import ExportRefusedError, ExportStoppedError, LedgerBrokenError
from apps.exports.folder import MANIFEST, SCHEMA_NAME, SIGNATURE, atomic_folder
from apps.exports.forms.beside import write_beside
from apps.exports.forms.build import FormsMade, FormWriters
from apps.exports.forms.quality import quality_of
from apps.exports.lineage import PAGE, Asked, read_pages
from apps.exports.proof.manifest import code_version, merkle_section
from apps.exports.proof.signing import SigningKey, signing_key
from apps.exports.provenance import provenance_of
from apps.exports.records import Variant, make_record
from apps.exports.selectors import check_signed_off
from apps.exports.sieves import Sifter, sieves_of
from apps.exports.tally import Tally, manifest_of
from apps.exports.writers import SHARD_BYTES, FileEntry, Format, JsonlWriter, RecordWriter, open_writer
from apps.reasoning.models import QuestionState, Run
from apps.review.records.signoff import refusal

Progress = Callable[[int], None]  # questions done so far


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
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
    limits: Limits = Limits(),
) -> dict[str, Any]:
    """Writes the export folder and returns its manifest. The folder appears whole or not at all.

    Raises ExportRefusedError (the place or the signing key will not do, or people have not signed off what the run asks for),
    LedgerBrokenError (a ready question breaks a rule), ExportStoppedError, OSError.
    """
    check_signed_off(run)
    key = signing_key()
    with atomic_folder(out_dir) as folder, ExitStack() as opened:
        writers = {
            v: opened.enter_context(closing(open_writer(folder, v, format, shard_bytes=limits.shard_bytes)))
            for v in variants
        }
        trail = opened.enter_context(closing(JsonlWriter(folder, "provenance")))
        forms = FormWriters(folder, run, config, format=format, shard_bytes=limits.shard_bytes)
        opened.enter_context(closing(forms))
        tally, sifter = Tally(run), Sifter(sieves_of(run, config, should_stop=should_stop))
        for page in read_pages(run, page=limits.page):
            if should_stop and should_stop():
                raise ExportStoppedError
            _write_page(page, tally, sifter, writers, trail, forms)
            if progress:
                progress(tally.questions)
        if why_not := refusal(tally.sign_offs):
            raise ExportRefusedError(why_not)
        made = forms.finish()
        sets = [(writer, writer.finish()) for writer in writers.values()]
        sets += [*made.shared, (trail, trail.finish()), *made.own]
        chosen = {
            "choices": config.as_json(),
            "records_left_out": dict(sorted(sifter.records.items())),
            "held_out": run.allow_held_out and config.sources != "open",
            "forms": made.counts,
            "quality": quality_of(run),
            **sifter.told(),
            "warnings": [*tally.warnings, *sifter.warnings],
        }
        return _finish(folder, tally, variants, format, sets, made, key, chosen)


def _write_page(
    page: list[Asked],
    tally: Tally,
    sifter: Sifter,
    writers: dict[Variant, RecordWriter],
    trail: JsonlWriter,
    forms: FormWriters,
) -> None:
    states = {a.question.pk: tally.state_of(a) for a in page}
    ready = [a for a in page if states[a.question.pk][0] == QuestionState.READY]
    states |= {pk: (QuestionState.EXCLUDED, reason) for pk, reason in sifter.sift(ready).items()}
    exported = []
    for asked in page:
        state, reason = states[asked.question.pk]
        tally.count_question(asked, state, reason)
        if state != QuestionState.READY:
            continue
        exported.append(asked)
        for kept in asked.kept:
            try:
                records = [
                    make_record(v, question=asked.question, cot=kept.path.text, response=kept.response.text)
                    for v in writers
                ]
            except ValueError as error:
                raise LedgerBrokenError(f"{asked.question.uid}, slot {kept.slot}: {error}") from error
            for writer, record in zip(writers.values(), records, strict=True):
                writer.write(record)
            forms.write_record(asked, kept, records[0])
            trail.write(provenance_of(asked, kept, number=tally.records))
            tally.count_record(asked, kept)
    forms.write_page(exported)
    tally.count_overlap([asked.question for asked in exported])


def _finish(
    folder: Path,
    tally: Tally,
    variants: Sequence[Variant],
    format: Format,
    sets: Sequence[tuple[RecordWriter, Sequence[FileEntry]]],
    forms: FormsMade,
    key: SigningKey | None,
    chosen: dict[str, Any],
) -> dict[str, Any]:
    """Card, manifest and, with a key, its signature; only the signature knows the time, so the rest can be made again."""
    files = [file for _, made in sets for file in made]
    draft = manifest_of(tally, schema=SCHEMA_NAME, variants=variants, format=format, files=files, card=None) | chosen
    draft |= {
        "merkle": merkle_section(sets, trails=forms.trails),
        "code_version": code_version(),
        "publisher": settings.PUBLISHER or tally.run.project.name,
        "signed_by": key.id if key else None,
    }
    card, beside = write_beside(folder, draft, tally.licences)
    manifest = {**draft, "card": card, "extras": [*forms.extras, *beside]}
    data = (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode()
    (folder / MANIFEST).write_bytes(data)
    if key:
        (folder / SIGNATURE).write_bytes(key.sign(data, file=MANIFEST))
    return manifest
