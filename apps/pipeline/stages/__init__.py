"""The stages: for an item of work, the request it needs and what its reply becomes."""

from __future__ import annotations

from apps.pipeline.stages import generate, rank, rewrite, summarise, verify
from apps.pipeline.stages.base import Stage

BY_NAME: dict[str, Stage] = {
    "generate": generate.Generate(),
    "verify": verify.Verify(),
    "rank": rank.Rank(),
    "refine": rewrite.Rewrite("refine"),
    "regenerate": rewrite.Rewrite("regenerate"),
    "reverify": verify.Verify(),
    "summarise": summarise.Summarise(),
}
