"""Reads an export's sets as LLaMA-Factory does: by `dataset_info.json` in its `dataset_dir`.

Written from what its parser, loader and converters (src/llamafactory/data) do with an entry; only what our entries use.
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
