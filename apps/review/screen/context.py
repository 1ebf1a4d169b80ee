"""What the templates of an item need: the question, the path, what was said of it and what saying it would change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import User
from django.http import QueryDict

from apps.questions.models import Question
from apps.reasoning.reading import read_path
from apps.reasoning.text import Stem, split_stem
from apps.review.models import FlagKind, Harm, Judgment, Reason, SkipReason
from apps.review.queues.selectors import ItemView
from apps.review.queues.words import reasons_in_words
from apps.review.screen.cites import cited_sentences
from apps.review.screen.forms import number
from apps.review.screen.literature import search_address
from apps.review.screen.ranges import ranges_table
from apps.review.screen.stem import read_blocks, with_values
from apps.review.services import AXES, OverrideError, preview_labels

KEYS = dict(zip(Reason.values, "fmolsgwx", strict=True))  # the key that names each reason


def item_context(view: ItemView, person: User, sent: QueryDict | None, *, known: Sequence[int] = ()) -> dict[str, Any]:
    """`sent`: what the person said in a request that could not be saved; it stands in the form instead of `mine`.

    `known`: sentences that are known to be wrong, where the page tells.
    """
    stem = split_stem(view.question.stem)
    judge = sorted(cited_sentences(view.reveal.reason, view.sentences)) if view.reveal else []
    said = said_in(sent) if sent is not None else said_before(view.mine)
    return {
        "view": view,
        "question": view.question,
        "stem": stem,
        "blocks": read_blocks(stem.paragraphs),
        "contexts": [(part.get("label", ""), with_values(part["text"])) for part in view.question.contexts],
        "search": literature(view.question, stem),
        "ranges": ranges_table(),
        "reading": read_path(
            view.item.path.text,
            stem=view.question.stem,
            options=view.question.options,
            cited=[*judge, *said["chosen_sentences"], *known],
        ),
        "ending": how_it_ends(view),
        "judge_cites": judge,
        "known_wrong": known,
        "fresh_key": uuid4(),
        "undo_key": uuid4(),
        "reasons": [(code, word, KEYS[code]) for code, word in Reason.choices],
        "harms": Harm.choices,
        "skips": SkipReason.choices,
        "flags": FlagKind.choices,
        **said,
    }


def how_it_ends(view: ItemView) -> str:
    """What the reader should know of the path's end before looking for it."""
    if view.item.path.truncated:
        return "The model was cut off here: its reply had reached the limit."
    return "" if view.answer else "This path ends without saying which option it chooses."


def said_in(sent: QueryDict) -> dict[str, Any]:
    reasons = [code for code in sent.getlist("reasons") if code in Reason.values]
    return {
        "label": sent.get("label", ""),
        "axes": [(axis, sent.get(axis, "")) for axis in AXES],
        "chosen_reasons": reasons,
        "reasons_said": reasons_in_words(reasons),
        "chosen_sentences": [number(n) for n in sent.getlist("sentences")],
        "harm": sent.get("harm", ""),
        "comment": sent.get("comment", ""),
        "flagged": bool(sent.get("flagged")),
    }


def said_before(mine: Judgment | None) -> dict[str, Any]:
    return {
        "label": mine.verdict.label if mine else "",
        "axes": [(axis, "") for axis in AXES],
        "chosen_reasons": mine.reasons if mine else [],
        "reasons_said": reasons_in_words(mine.reasons) if mine else "",
        "chosen_sentences": [n for _, n, _ in mine.sentences] if mine else [],
        "harm": mine.harm if mine else "",
        "comment": mine.comment if mine else "",
        "flagged": mine.flagged if mine else False,
    }


def literature(question: Question, stem: Stem) -> str:
    """PubMedQA's keys say yes or no: there the question itself is what to look for."""
    return search_address(stem.ask or question.stem, question.key_text, (question.topic, question.subject))


def effects(view: ItemView, person: User) -> list[tuple[str, str]]:
    """[(label, what it would change)], where verdicts count and the judge's label is known: the change gives it away.

    A gold item, which changes nothing, shows what any other item in its place would: or it could be told by that.
    """
    queue = view.item.queue
    if not queue.counts or view.reveal is None:
        return []
    try:
        found = preview_labels(run=queue.run, path=view.item.path, reviewer=person)
    except OverrideError:  # the path was replaced meanwhile: saving will say so
        return []
    return [(label, change.summary) for label, change in found.items()]


def change_said(view: ItemView, person: User) -> str:
    """What the judgment changed, in words; of gold what it would have changed, unless the queue tells that it is gold."""
    if view.mine is None or not view.item.queue.counts:
        return ""
    if not view.item.gold_label:
        return str(view.mine.verdict.details.get("consequences", {}).get("summary", ""))
    return "" if view.item.queue.feedback else dict(effects(view, person)).get(view.mine.verdict.label, "")


def sides(view: ItemView, theirs: Judgment, sent: QueryDict) -> Sequence[tuple[str, dict[str, Any]]]:
    """Both judgments of an item that was judged in two windows, to be shown side by side."""
    return (("Saved in the other window", said_before(theirs)), ("Here, not saved yet", said_in(sent)))
