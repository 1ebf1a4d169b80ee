"""The further forms an export can be ordered in, beside its sets. No database here."""

from __future__ import annotations

from typing import Literal, get_args

FormName = Literal["messages", "preferences", "steps", "csv"]
FORMS: tuple[FormName, ...] = get_args(FormName)
TITLES: dict[FormName, str] = {
    "messages": "Chat messages",
    "preferences": "Pairs of paths",
    "steps": "Labelled steps",
    "csv": "CSV for people",
}
HINTS: dict[FormName, str] = {
    "messages": "the first set as user and assistant turns, for TRL and axolotl",
    "preferences": "a Correct and an Error path of one question, for DPO and reward models",
    "steps": "paths that clinicians read, sentence by sentence, for process reward models",
    "csv": "the sets as tables for a spreadsheet; formulas neutralised, so not for training",
}
TRAILS: dict[FormName, str] = {"preferences": "provenance_preferences", "steps": "provenance_steps"}
"""Of the forms that count on their own: the set that says where their records come from."""
