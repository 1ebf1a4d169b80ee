"""How often simulated models are right, and how their errors hang together.

Every question has a difficulty of its own that all models share, so errors correlate and some questions are missed by
all nine paths. A model's chance on a question is logistic(level − difficulty), its level solved so that its mean over
all questions is the accuracy of its profile. With three generators at three temperatures about 74 % of questions come
out easy, 17 % medium and 9 % difficult, and 71 % of the paths are judged correct.

Simulated models look the key up so that their accuracy can be chosen. Real models never see it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

from workers.simulated.dice import Dice, digest
from workers.simulated.reading import Asked

# (share of the questions, difficulty in logits); together with the accuracies they set the shares of the tiers
CLASSES = ((0.66, 0.0), (0.22, 4.5), (0.12, 7.0))
WITHIN_CLASS = 0.5  # half the width of a class, in logits
TEMPTING = 0.65  # of the errors fall on the question's one tempting option
HEAT = 0.35  # how much one degree of temperature above 0.7 lowers the chance, in logits
SENSITIVITY = 0.93  # a path that ends on the key is judged Correct
SPECIFICITY = 0.95  # a path that does not is judged Error
REWRITE_MISSES = 0.03  # rewritten paths that end on another option
SUMMARY_MISSES = 0.02  # summaries that state another option

Style = Literal["plain", "think", "headings"]


@dataclass(frozen=True, slots=True)
class Profile:
    """`style`: a bare answer, `<think>…</think>` before it, or `## Thinking` / `## Final Response` sections."""

    accuracy: float
    style: Style = "plain"


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "sim-qwen2.5-72b": Profile(0.80),
        "sim-r1-distill-70b": Profile(0.76, "think"),
        "sim-huatuogpt-o1-70b": Profile(0.72, "headings"),
        "sim-judge": Profile(0.80),
        "sim-writer": Profile(0.85),
    }
)
DEFAULT_PROFILE = Profile(0.75)


def profile_of(model: str) -> Profile:
    """Any model name is served; one without a profile answers as `DEFAULT_PROFILE`."""
    return PROFILES.get(model, DEFAULT_PROFILE)


def choose_option(asked: Asked, key: str, model: str, temperature: float | None, dice: Dice) -> str:
    """The letter that the model answers. Without a key, an option picked by the question's hash stands in for it."""
    truth = key if key and key in asked.letters else asked.letters[digest("truth", asked.digest) % len(asked.letters)]
    heat = HEAT * ((1.0 if temperature is None else temperature) - 0.7)
    chance = _logistic(_level(profile_of(model).accuracy) - difficulty(asked) - heat)
    if dice.chance(chance):
        return truth
    return other_option(asked, truth, dice)


def other_option(asked: Asked, letter: str, dice: Dice) -> str:
    """A wrong one: mostly the option that tempts every model on this question."""
    others = asked.letters.replace(letter, "") or letter
    if dice.chance(TEMPTING):
        return others[digest("tempting", asked.digest) % len(others)]
    return dice.pick(others)


def difficulty(asked: Asked) -> float:
    """In logits; what all models share about a question."""
    return _difficulty_at((digest("difficulty", asked.digest) % 65536 + 0.5) / 65536)


@lru_cache
def _level(accuracy: float) -> float:
    """The level whose mean chance over all difficulties is `accuracy`, at temperature 0.7 (by bisection)."""
    grid = [_difficulty_at((i + 0.5) / 400) for i in range(400)]
    low, high = -20.0, 20.0
    for _ in range(50):
        middle = (low + high) / 2
        if sum(_logistic(middle - d) for d in grid) / len(grid) < accuracy:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _difficulty_at(rank: float) -> float:
    """The difficulty of the question at this rank, from easiest (0) to hardest (1)."""
    for share, centre in CLASSES:
        if rank < share:
            return centre + WITHIN_CLASS * (2 * rank / share - 1)
        rank -= share
    return CLASSES[-1][1] + WITHIN_CLASS


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))
