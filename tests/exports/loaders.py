"""Reads an export's sets as trainers do, without installing them; only what our sets use of their ways.

LLaMA-Factory: by `dataset_info.json` in its `dataset_dir`, as its parser, loader and converters (src/llamafactory/data) do
with an entry. TRL: by the dataset card, then by what `trl.data_utils` and `PRMTrainer.tokenize_row` ask of a row.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset

KINDS = {"json": "json", "jsonl": "json", "parquet": "parquet"}


def load_as_llama_factory(folder: Path, name: str, *, cache: Path) -> list[dict[str, Any]]:
    """Each example as its `_prompt`, `_response` and `_system`."""
    entry = json.loads((folder / "dataset_info.json").read_text())[name]
    rows = _rows(folder, entry, cache)
    convert = {"alpaca": _alpaca, "sharegpt": _sharegpt}[entry.get("formatting", "alpaca")]
    return [convert(row, entry) for row in rows]


def load_as_trl(folder: Path, name: str, *, cache: Path) -> tuple[str, list[dict[str, Any]]]:
    """(type of dataset as TRL's documentation calls it, rows). Raises AssertionError where none of its types fits."""
    rows = list(load_dataset(str(folder), name, split="train", cache_dir=str(cache)))
    kinds = {_trl_kind(row) for row in rows}
    assert len(kinds) == 1
    return kinds.pop(), rows


def _trl_kind(row: dict[str, Any]) -> str:
    columns, spoken = set(row), is_conversational(row)
    if columns == {"messages"} and spoken:
        roles = [turn["role"] for turn in row["messages"]]
        assert roles in (["user", "assistant"], ["system", "user", "assistant"])
        return "conversational language modeling"
    if columns == {"prompt", "chosen", "rejected"} and not spoken:
        assert all(isinstance(text, str) and text for text in row.values())
        return "standard preference with an explicit prompt"
    if columns == {"prompt", "completions", "labels"} and not spoken:
        assert isinstance(row["prompt"], str)
        assert len(row["completions"]) == len(row["labels"]) > 0
        assert all(isinstance(step, str) for step in row["completions"])
        assert all(isinstance(label, bool) for label in row["labels"])
        return "stepwise supervision"
    raise AssertionError(f"No type of dataset has the columns {sorted(columns)}.")


def is_conversational(row: dict[str, Any]) -> bool:
    """As `trl.data_utils.is_conversational`: by the first turn of whichever column it knows is there."""
    for key in ("prompt", "chosen", "rejected", "completion", "messages"):
        turns = row.get(key)
        if isinstance(turns, list) and turns and isinstance(turns[0], dict) and {"role", "content"} <= turns[0].keys():
            return True
    return False


def _rows(folder: Path, entry: dict[str, Any], cache: Path) -> Dataset:
    if "script_url" in entry:
        return load_dataset(
            str(folder / entry["script_url"]),
            entry.get("subset"),
            split=entry.get("split", "train"),
            cache_dir=str(cache),
        )
    path = folder / entry["file_name"]
    kind = KINDS[path.name.rpartition(".")[2]]
    return load_dataset(kind, data_files=[str(path)], split="train", cache_dir=str(cache))


def _alpaca(row: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    columns = entry["columns"]
    query = [row[columns[name]] for name in ("prompt", "query") if columns.get(name) and row[columns[name]]]
    answers = ("chosen", "rejected") if entry.get("ranking") else ("response",)
    texts = [row[columns[name]] for name in answers]
    assert all(isinstance(text, str) for text in texts)
    return {
        "_prompt": [{"role": "user", "content": "\n".join(query)}],
        "_response": [{"role": "assistant", "content": text} for text in texts],
        "_system": "",
    }


def _sharegpt(row: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    tags, messages = entry["tags"], row[entry["columns"]["messages"]]
    roles = {tags["user_tag"]: "user", tags["assistant_tag"]: "assistant"}
    system = ""
    if messages[0][tags["role_tag"]] == tags["system_tag"]:
        system, messages = messages[0][tags["content_tag"]], messages[1:]
    turns = [{"role": roles[m[tags["role_tag"]]], "content": m[tags["content_tag"]]} for m in messages]
    assert [turn["role"] for turn in turns] == ["user", "assistant"]  # it skips examples whose turns do not alternate
    return {"_prompt": turns[:-1], "_response": turns[-1:], "_system": system}
