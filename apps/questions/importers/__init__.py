"""Readers of the benchmarks' published files: one module a benchmark, all streaming, none touching the database."""

from __future__ import annotations

from apps.questions.importers import medmcqa, medqa, mmlu, pubmedqa
from apps.questions.importers.base import FileRefused, Importer, ParsedQuestion, Problem, ReadOptions

IMPORTERS: dict[str, Importer] = {
    "medqa": medqa.read,
    "medmcqa": medmcqa.read,
    "pubmedqa": pubmedqa.read,
    "mmlu": mmlu.read,
}

__all__ = ("IMPORTERS", "FileRefused", "Importer", "ParsedQuestion", "Problem", "ReadOptions")
