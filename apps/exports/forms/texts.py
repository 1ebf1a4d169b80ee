"""Records of the further sets, as trainers of the field read them (docs/formats.md). Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypedDict

from apps.exports.forms.names import FormName
from apps.exports.records import Record, plain_text
from apps.reasoning.sentences import split_sentences

if TYPE_CHECKING:
    import pyarrow as pa


class Message(TypedDict):
    role: Literal["system", "user", "assistant"]
    content: str


class Chat(TypedDict):
    """What TRL calls conversational language modelling, and axolotl `chat_template`."""

    messages: list[Message]


class Pair(TypedDict):
    """What TRL calls a preference with an explicit prompt, in the standard format."""

    prompt: str
    chosen: str
    rejected: str


class Steps(TypedDict):
    """What TRL calls stepwise supervision. A label for each completion: false where a clinician marked it."""

    prompt: str
    completions: list[str]
    labels: list[bool]


def columns_of_form(name: FormName) -> pa.Schema:
    """Of a further set in Parquet, in the order of its records' keys."""
    import pyarrow as pa

    if name == "messages":
        return pa.schema({"messages": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))})
    if name == "preferences":
        return pa.schema({name: pa.string() for name in Pair.__annotations__})
    return pa.schema({"prompt": pa.string(), "completions": pa.list_(pa.string()), "labels": pa.list_(pa.bool_())})


def make_chat(record: Record, *, system: str = "") -> Chat:
    turns: list[Message] = [{"role": "system", "content": system}] if system else []
    return {
        "messages": [
            *turns,
            {"role": "user", "content": record["instruction"]},
            {"role": "assistant", "content": record["output"]},
        ]
    }


def make_pair(*, prompt: str, chosen: str, rejected: str) -> Pair | None:
    """None where one side has no text, or both have the same."""
    chosen, rejected = plain_text(chosen), plain_text(rejected)
    if not chosen or not rejected or chosen == rejected:
        return None
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


@dataclass(frozen=True, slots=True)
class Marked:
    """What people said of a path's sentences: the numbers that are wrong, none for a path called Correct."""

    correct: bool
    wrong: Collection[int]


def make_steps(*, prompt: str, text: str, marked: Marked) -> Steps | None:
    """The path as people read it, sentence by sentence. None where an Error path has no mark on a sentence it has."""
    sentences = split_sentences(text)
    labels = [marked.correct or sentence.number not in marked.wrong for sentence in sentences]
    if not sentences or (not marked.correct and all(labels)):
        return None
    return {"prompt": prompt, "completions": [s.text for s in sentences], "labels": labels}
