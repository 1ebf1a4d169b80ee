"""Plausible text built from a question's own phrases. It says nothing medical that the question does not say."""

from __future__ import annotations

from workers.simulated.dice import Dice
from workers.simulated.reading import Asked

_RESTATE = (
    "The question asks: “{q}” There are {n} options.",
    "The task is to pick one of {n} options. It reads: “{q}”",
    "In short: “{q}” The setting is “{a}”.",
    "We have to decide between {n} options: “{q}” The case turns on “{a}”.",
)
_DETAIL = (
    "- “{a}”: this is the finding that any answer must account for.",
    "- “{a}”: given explicitly, so it narrows the choice.",
    "- “{a}”: background that sets the context without settling the matter.",
    "- “{a}”: worth keeping in mind when the options are compared.",
)
_SUPPORT = (
    "it agrees with “{a}”.",
    "“{a}” speaks for it.",
    "it would follow from “{a}”.",
    "it is a direct reading of “{a}”.",
)
_PITFALL = (
    "it leaves “{a}” unexplained.",
    "it is easily chosen when “{a}” is overlooked.",
    "it rests on more than the question states about “{a}”.",
    "one could over-read “{a}” in its favour.",
)
_RULE_OUT = (
    "{x} does not account for “{a}”, so it can be set aside.",
    "{x} would need a feature that the question does not mention; it is ruled out.",
    "Against {x} stands “{a}”.",
    "{x} fits only part of the picture and is therefore removed.",
)
_COMPARE = (
    "What remains is {x} against {y}. Only {x} accounts for “{a}” without a further assumption.",
    "Between {x} and {y}, the detail “{a}” decides in favour of {x}.",
    "One is tempted by {y} at first sight, but “{a}” is better explained by {x}.",
)
_ELABORATE = (
    "Taken together with “{a}”, this reading stays consistent from the first sentence to the last.",
    "Reading the question again, “{a}” does not change this assessment.",
    "If “{a}” had been absent, the other options would deserve more weight; it is present, so they do not.",
    "No step above depends on a fact outside the question, and “{a}” is used only as it is stated.",
    "As a check, assume the opposite: then “{a}” would have to be a coincidence, which is less likely.",
    "The order of the remaining options follows from how much of “{a}” each of them explains.",
)
_CONCLUDE = (
    "The stated details, above all “{a}”, are explained by {x} with the fewest assumptions.",
    "Every detail, including “{a}”, is compatible with {x}, and with no other option.",
    "Because of “{a}”, {x} is the best supported choice.",
)
_THINK = (
    "Okay, let me look at this. The question mentions “{a}”. At first {y} looks possible, but let me check each option "
    "before I decide. Hmm, “{b}” matters here too. I will go through it step by step.",
    "Let me think. I see “{a}” and “{b}”. Wait, is it {y}? That would be too quick. I should compare all of them.",
    "So the important part seems to be “{a}”. What comes to mind first is {y}. Let me weigh it against the others properly.",
)
_SUMMARY = (
    "The best answer is {x}. It accounts for “{a}”, which the other options leave unexplained.",
    "The details given, above all “{a}”, point to {x}; the remaining options fit only in part.",
    "Weighing all options against “{a}”, only {x} is consistent with everything the question states.",
)
_INNER_QUOTES = str.maketrans("“”", "‘’")


def write_path(asked: Asked, answer: str, dice: Dice, words: int) -> str:
    """Six sections that end with `Final answer: B. text`; longer with `words`, never much shorter than 200."""
    chosen = _named(asked, answer)
    rival = _named(asked, dice.pick(asked.letters.replace(answer, "") or answer))
    phrase = asked.phrases

    parts = ["1. Restating the question", _fill(dice, _RESTATE, phrase, n=len(asked.options), q=asked.ask)]
    parts += ["", "2. Key clinical details and background"]
    first = dice.below(len(phrase))
    details = [phrase[(first + i) % len(phrase)] for i in range(min(3, len(phrase)))]
    parts += [dice.pick(_DETAIL).format(a=detail) for detail in details]
    parts += ["", "3. Evaluating each option"]
    parts += [_weigh(letter, text, dice, phrase) for letter, text in asked.options]
    parts += ["", "4. Ruling out what does not fit"]
    parts += [_fill(dice, _RULE_OUT, phrase, x=f"Option {other}") for other in asked.letters if other != answer]
    parts += ["", "5. Comparing what remains", _fill(dice, _COMPARE, phrase, x=chosen, y=rival)]
    missing = 6 * words - sum(map(len, parts))
    while missing > 0:
        sentence = _fill(dice, _ELABORATE, phrase)
        parts.append(sentence)
        missing -= len(sentence)
    parts += ["", "6. Final answer", _fill(dice, _CONCLUDE, phrase, x=chosen)]
    parts.append(final_line(asked, answer))
    return "\n".join(parts)


def write_thoughts(asked: Asked, dice: Dice) -> str:
    """What a reasoning model says to itself before it answers; it may name an option it then drops."""
    other = f"option {dice.pick(asked.letters)}"
    return dice.pick(_THINK).format(a=dice.pick(asked.phrases), b=dice.pick(asked.phrases), y=other)


def write_summary(asked: Asked, answer: str, dice: Dice) -> str:
    return f"{_fill(dice, _SUMMARY, asked.phrases, x=_named(asked, answer))}\n\n{final_line(asked, answer)}"


def final_line(asked: Asked, answer: str) -> str:
    return f"Final answer: {answer}. {asked.text(answer)}"


def quote_line(path: str, dice: Dice) -> str:
    """One line of a path, shortened: what a simulated judge points at."""
    lines = [line for line in path[:20_000].split("\n") if len(line) > 30]
    line = " ".join(dice.pick(lines).translate(_INNER_QUOTES).split()) if lines else "the path is very short"
    return line if len(line) <= 140 else f"{line[:137]}…"


def _weigh(letter: str, text: str, dice: Dice, phrases: tuple[str, ...]) -> str:
    return f"{letter}. {text} — support: {_fill(dice, _SUPPORT, phrases)} Pitfall: {_fill(dice, _PITFALL, phrases)}"


def _fill(dice: Dice, templates: tuple[str, ...], phrases: tuple[str, ...], **words: object) -> str:
    return dice.pick(templates).format(a=dice.pick(phrases), **words)


def _named(asked: Asked, letter: str) -> str:
    text = asked.text(letter)
    return f"option {letter} ({text if len(text) <= 80 else text[:79] + '…'})"
