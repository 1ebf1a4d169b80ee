"""One line for each record: the way back to its question, paths, verdicts, calls and prompts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from django.utils.crypto import salted_hmac

from apps.exports.lineage import Asked, Kept
from apps.exports.rows import CallKind, PathRow, VerdictRow

Calls = Mapping[str, CallKind]


def provenance_of(asked: Asked, kept: Kept, *, number: int) -> dict[str, Any]:
    """`number` is the record's place in each set, from 0. Ids are those of the ledger."""
    question, calls = asked.question, kept.calls
    return {
        "record": number,
        "question": question.uid,
        "benchmark": question.benchmark.slug,
        "split": question.split,
        "held_out": question.held_out,
        "tier": asked.row.tier,
        "errors": asked.row.error_count,
        "slot": kept.slot,
        "why": kept.why,
        "path": _path(kept.path, calls),
        "parent": _path(kept.source, calls) if kept.source else None,
        "score": kept.score.score if kept.score else None,
        "response": {
            "id": kept.response.pk,
            "revision": kept.response.revision,
            "by": pseudonym(kept.response.author_id) if kept.response.author_id else None,
            "call": kept.response.call_id,
            "prompt": _prompt(kept.response.call_id, calls),
        },
        "signed_off": pseudonym(kept.signed_by) if kept.signed_by else None,
        "verdicts": [_verdict(v, calls) for v in kept.verdicts],
        "tier_verdicts": asked.tier_verdicts,
        "calls": list(calls),
        "simulated": kept.simulated_stages,
    }


@lru_cache(maxsize=10_000)
def pseudonym(user_id: int) -> str:
    """The same for a person in every export of this installation, and not to be turned back without its secret key."""
    return f"reviewer-{salted_hmac('apps.exports.reviewer', str(user_id), algorithm='sha256').hexdigest()[:12]}"


def _path(path: PathRow, calls: Calls) -> dict[str, Any]:
    return {
        "id": path.pk,
        "origin": path.origin,
        "generator": path.generator,
        "sample": path.sample,
        "revision": path.revision,
        "model": path.model,
        "temperature": path.temperature,
        "seed": path.seed,
        "by": pseudonym(path.author_id) if path.author_id else None,
        "call": path.call_id,
        "prompt": _prompt(path.call_id, calls),
    }


def _verdict(verdict: VerdictRow, calls: Calls) -> dict[str, Any]:
    return {
        "id": verdict.pk,
        "path": verdict.path_id,
        "label": verdict.label,
        "source": verdict.source,
        "by": pseudonym(verdict.reviewer_id) if verdict.reviewer_id else None,
        "call": verdict.call_id,
        "prompt": _prompt(verdict.call_id, calls),
    }


def _prompt(call_id: str | None, calls: Calls) -> str | None:
    return calls[call_id].prompt if call_id else None
