"""The published table of questions (PIPELINE §1): its counts, and the order that chooses canonical questions."""

from __future__ import annotations

from dataclasses import dataclass

BENCHMARK_ORDER = ("medqa", "medmcqa", "pubmedqa", "mmlu")
SPLIT_ORDER = ("train", "dev", "val", "validation", "labelled", "test")
SUBJECT_ORDER = (
    "anatomy",
    "clinical_knowledge",
    "college_biology",
    "college_medicine",
    "medical_genetics",
    "professional_medicine",
)


@dataclass(frozen=True, slots=True)
class PublishedRow:
    benchmark: str
    split: str
    published: int
    subject: str = ""  # MMLU only


_MMLU_DEV_VAL = dict(zip(SUBJECT_ORDER, ((5, 14), (5, 29), (5, 16), (5, 22), (5, 11), (5, 31)), strict=True))
_MMLU_TEST = dict(zip(SUBJECT_ORDER, (135, 265, 144, 173, 100, 272), strict=True))

TABLE: tuple[PublishedRow, ...] = (
    PublishedRow("medqa", "train", 10_178),
    PublishedRow("medqa", "dev", 1_272),
    PublishedRow("medmcqa", "train", 182_822),
    PublishedRow("pubmedqa", "train", 450),
    PublishedRow("pubmedqa", "val", 50),
    *(
        PublishedRow("mmlu", split, count, subject)
        for subject, counts in _MMLU_DEV_VAL.items()
        for split, count in zip(("dev", "val"), counts, strict=True)
    ),
)
HELD_OUT: tuple[PublishedRow, ...] = (
    PublishedRow("medqa", "test", 1_273),
    PublishedRow("medmcqa", "validation", 4_183),
    PublishedRow("pubmedqa", "test", 500),
    *(PublishedRow("mmlu", "test", count, subject) for subject, count in _MMLU_TEST.items()),
)

# The splits each benchmark has, and other names its published files use for them.
SPLITS: dict[str, tuple[str, ...]] = {
    "medqa": ("train", "dev", "test"),
    "medmcqa": ("train", "validation", "test"),
    "pubmedqa": ("labelled", "train", "val", "test"),
    "mmlu": ("dev", "val", "test"),
}
SPLIT_ALIASES: dict[str, dict[str, str]] = {
    "medqa": {"val": "dev", "validation": "dev"},
    "medmcqa": {"dev": "validation", "val": "validation"},  # dev.json is the validation set
    "pubmedqa": {"dev": "val", "validation": "val"},
    "mmlu": {"validation": "val"},
}
