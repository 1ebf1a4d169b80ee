"""What a simulated model answers, stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import orjson

from workers.simulated import ability, prose
from workers.simulated.dice import Dice
from workers.simulated.reading import Prompt, stated_answer


@dataclass(frozen=True, slots=True)
class Job:
    """One request as the stages see it. `key` is what the key source knows; the prompt's own key goes first."""

    prompt: Prompt
    model: str
    temperature: float | None
    key: str
    words: int
    dice: Dice

    @property
    def gold(self) -> str:
        """The key, or the option that stands in for it: rewriting and judging need one."""
        known = self.prompt.key or self.key
        return known if known in self.prompt.asked.letters and known else self.prompt.asked.letters[0]


@dataclass(frozen=True, slots=True)
class Answer:
    """`reasoning` apart from `content`, for servers that return it so."""

    content: str
    reasoning: str = ""


def answer(job: Job, *, reasoning_apart: bool = False) -> Answer:
    """The answer of the stage that the prompt names; a prompt without a stage is echoed."""
    write = STAGES.get(job.prompt.stage)
    if write is None:
        return Answer(f"Simulated reply to: {job.prompt.last_user[:200]}")
    found = write(job)
    if isinstance(found, dict):
        return Answer(orjson.dumps(found).decode())
    return _styled(found, job, reasoning_apart) if job.prompt.stage == "generate" else Answer(found)


def break_schema(content: str, dice: Dice) -> str:
    """The same JSON reply, no longer of the form asked for: verdict against its axes, a field missing, a bad value."""
    try:
        data = orjson.loads(content)
    except orjson.JSONDecodeError:
        return content
    if "verdict" in data:
        way = dice.below(3)
        if way == 0:
            data["verdict"] = "Correct" if data["verdict"] == "Error" else "Error"
        elif way == 1:
            del data["coherence"]
        else:
            data["verdict"] = "Mostly correct"
    elif "score" in data:
        data["score"] = dice.pick((11, -1, "high", None))
    return orjson.dumps(data).decode()


def _generate(job: Job) -> str:
    asked = job.prompt.asked
    chosen = ability.choose_option(asked, job.key, job.model, job.temperature, job.dice)
    return prose.write_path(asked, chosen, job.dice, job.words)


def _rewrite(job: Job) -> str:
    asked = job.prompt.asked
    missed = job.dice.chance(ability.REWRITE_MISSES)
    return prose.write_path(
        asked, ability.other_option(asked, job.gold, job.dice) if missed else job.gold, job.dice, job.words
    )


def _verify(job: Job) -> dict[str, Any]:
    dice, path = job.dice, job.prompt.path
    stated = stated_answer(path, job.prompt.asked.options)
    if stated:
        correct = dice.chance(ability.SENSITIVITY if stated == job.gold else 1 - ability.SPECIFICITY)
    else:
        correct = dice.chance(0.5)
    quoted = prose.quote_line(path, dice)
    if correct:
        return _verdict(
            f"The options are weighed one by one and the conclusion holds; “{quoted}” is sound.", True, True, True
        )
    if stated and stated != job.gold:
        reason = f"The path ends on option {stated}, which is not the gold answer; it goes wrong at “{quoted}”."
        return _verdict(reason, False, not dice.chance(0.4), not dice.chance(0.3))
    if dice.chance(0.6):
        return _verdict(f"The step “{quoted}” does not follow from what comes before it.", bool(stated), False, True)
    return _verdict(f"The statement “{quoted}” is not supported by the question.", bool(stated), True, False)


def _verdict(reason: str, correctness: bool, coherence: bool, factuality: bool) -> dict[str, Any]:
    axes = {"correctness": correctness, "coherence": coherence, "factuality": factuality}
    marks = {axis: "pass" if passed else "fail" for axis, passed in axes.items()}
    return {"reason": reason, **marks, "verdict": "Correct" if all(axes.values()) else "Error"}


def _rank(job: Job) -> dict[str, Any]:
    score = job.dice.pick((2, 3, 3, 4, 4, 4, 5, 5))
    quoted = prose.quote_line(job.prompt.path, job.dice)
    return {"justification": f"Complete and orderly; the strongest step is “{quoted}”.", "score": score}


def _summarise(job: Job) -> str:
    asked = job.prompt.asked
    stated = job.prompt.key or stated_answer(job.prompt.path, asked.options) or job.gold
    if job.dice.chance(ability.SUMMARY_MISSES):
        stated = ability.other_option(asked, stated, job.dice)
    return prose.write_summary(asked, stated, job.dice)


def _styled(path: str, job: Job, reasoning_apart: bool) -> Answer:
    style = ability.profile_of(job.model).style
    if style == "plain":
        return Answer(path)
    thoughts = prose.write_thoughts(job.prompt.asked, job.dice)
    if style == "think" and reasoning_apart:
        return Answer(path, reasoning=thoughts)
    if style == "think":
        return Answer(f"<think>\n{thoughts}\n</think>\n\n{path}")
    return Answer(f"## Thinking\n\n{thoughts}\n\n## Final Response\n\n{path}")


STAGES: Mapping[str, Callable[[Job], str | dict[str, Any]]] = MappingProxyType(
    {
        "generate": _generate,
        "verify": _verify,
        "rank": _rank,
        "refine": _rewrite,
        "regenerate": _rewrite,
        "summarise": _summarise,
    }
)
