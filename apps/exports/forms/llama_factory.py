"""`dataset_info.json`, by which LLaMA-Factory finds the sets when its `dataset_dir` is the export's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from apps.exports.forms.sets import SetFiles, sets_of

SUFFIXES = (".jsonl", ".parquet")  # what it opens as a file of its own
TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "system_tag": "system",
}
SHAPES: dict[str, dict[str, Any]] = {
    "messages": {"formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": TAGS},
    "preferences": {
        "formatting": "alpaca",
        "ranking": True,
        "columns": {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
    },
}
ALPACA = {
    "formatting": "alpaca",
    "columns": {"prompt": "instruction", "query": "input", "response": "output"},
}


def dataset_info(manifest: Mapping[str, Any]) -> bytes:
    """Labelled steps are not among them: LLaMA-Factory trains no process reward models."""
    info = {s.name: _place(s) | SHAPES.get(s.name, ALPACA) for s in sets_of(manifest) if s.name != "steps"}
    return (json.dumps(info, indent=2) + "\n").encode()


def _place(found: SetFiles) -> dict[str, Any]:
    """One file that it opens, or else the folder itself, which `datasets` reads by the card."""
    if len(found.files) == 1 and found.files[0].endswith(SUFFIXES):
        return {"file_name": found.files[0]}
    return {"script_url": ".", "subset": found.name}
