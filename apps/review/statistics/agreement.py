"""How far people agree: raw, Cohen's and Fleiss' κ, Gwet's AC1, Krippendorff's α; nominal labels, gaps allowed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from apps.review.statistics.bootstrap import bootstrap
from apps.review.statistics.figure import Figure, counted, decimal, percent, undefined
from apps.review.statistics.intervals import CONFIDENCE, FloatArray, IntArray, is_simple, share_of, t_of
from apps.review.statistics.linear import Statistic, standard_error

Sums = npt.NDArray[Any]
Limits = tuple[float | None, float | None, str]  # low, high, method
CATEGORIES = ("Correct", "Error")
RARE = 0.8  # a label this frequent makes κ low by itself
LOW, HIGH = 0.6, 0.8


@dataclass(frozen=True, slots=True)
class Rating:
    """One person's label of one item. `cluster`: what items are drawn by (the question); `weight`: 1 / its chance."""

    item: Hashable
    rater: Hashable
    label: str
    cluster: Hashable = None  # none: the item itself
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Ratings:
    """Ratings by column, so that a slice of many is cut out instead of being put together anew. Items, raters and
    clusters by any number; labels by their place among the categories."""

    items: IntArray
    raters: IntArray
    labels: IntArray
    clusters: IntArray
    weights: FloatArray

    @classmethod
    def build(cls, ratings: Iterable[Rating], categories: Sequence[str] = CATEGORIES) -> Ratings:
        found, place = list(ratings), {label: n for n, label in enumerate(categories)}
        return cls(
            numbered(r.item for r in found),
            numbered(r.rater for r in found),
            np.array([place[r.label] for r in found], dtype=np.int64),
            numbered(("item", r.item) if r.cluster is None else r.cluster for r in found),
            np.array([r.weight for r in found], dtype=float),
        )

    def among(self, rows: Sequence[int]) -> Ratings:
        at = np.asarray(rows, dtype=np.int64)
        return Ratings(self.items[at], self.raters[at], self.labels[at], self.clusters[at], self.weights[at])


@dataclass(frozen=True, slots=True)
class RatingTable:
    """`counts` (items, categories): how many people gave the item each label. `pairs` (items, 2): the two people's
    labels by number, −1 where one is missing; none unless there are exactly two people. Weights average 1."""

    counts: IntArray
    clusters: IntArray
    weights: FloatArray
    raters: int
    pairs: IntArray | None = None
    categories: tuple[str, ...] = CATEGORIES

    @classmethod
    def build(cls, ratings: Iterable[Rating], categories: Sequence[str] = CATEGORIES) -> RatingTable:
        """One rating a person and item; a label outside `categories` is a KeyError."""
        return cls.of(Ratings.build(ratings, categories), categories)

    @classmethod
    def of(cls, ratings: Ratings, categories: Sequence[str] = CATEGORIES) -> RatingTable:
        items, row = np.unique(ratings.items, return_inverse=True)
        people, rater = np.unique(ratings.raters, return_inverse=True)
        counts = np.zeros((len(items), len(categories)), dtype=np.int64)
        np.add.at(counts, (row, ratings.labels), 1)
        pairs = None
        if len(people) == 2:
            pairs = np.full((len(items), 2), -1, dtype=np.int64)
            pairs[row, rater] = ratings.labels
        clusters, weights = np.empty(len(items), dtype=np.int64), np.empty(len(items))
        clusters[row], weights[row] = ratings.clusters, ratings.weights
        return cls(counts, clusters, scaled(weights), len(people), pairs, tuple(categories))

    @property
    def twice(self) -> npt.NDArray[np.bool_]:
        """The items that two people or more judged."""
        return np.asarray(self.counts.sum(1) >= 2)

    @property
    def n(self) -> int:
        return int(self.twice.sum())

    @property
    def people(self) -> str:
        return "Two reviewers" if self.raters == 2 else counted(self.raters, "reviewer")

    def commonest(self) -> tuple[str, float]:
        """The label given most often, and its share of all labels."""
        totals = (self.counts * self.weights[:, None]).sum(0)
        best = int(totals.argmax())
        return self.categories[best], float(totals[best] / totals.sum())


Sentence = Callable[[RatingTable, float, float, Figure], str]  # table, value, agreement by chance, raw agreement


@dataclass(frozen=True, slots=True)
class Agreement:
    """The four beside each other: none is right alone. `kappa` is Cohen's for two people, else Fleiss'."""

    raw: Figure
    kappa: Figure
    ac1: Figure
    alpha: Figure
    raters: int

    @property
    def figures(self) -> tuple[Figure, ...]:
        return self.raw, self.kappa, self.ac1, self.alpha


def agreement(table: RatingTable) -> Agreement:
    kappa = cohen_kappa(table) if table.pairs is not None else fleiss_kappa(table)
    return Agreement(raw_agreement(table), kappa, gwet_ac1(table), krippendorff_alpha(table), table.raters)


def raw_agreement(table: RatingTable) -> Figure:
    """The chance that two people who judged the same item gave it the same label, averaged over items."""
    name = "Raw agreement"
    if not table.n:
        return undefined(name, "share", _nobody(table))
    share = share_of(_same(table), table.twice.astype(float), table.clusters, table.weights)
    assert share is not None
    return Figure(
        name, "share", share.n, share.effective_n, share.value, share.low, share.high, share.method,
        _raw_sentence(table, share.value),
    )  # fmt: skip


def cohen_kappa(table: RatingTable) -> Figure:
    """Two people with their own habits: what they agree on beyond what their own rates would give by chance."""
    name = "Cohen’s κ"
    if table.pairs is None:
        return undefined(name, "coefficient", f"Cohen’s κ is for two reviewers; here are {table.raters}.", n=table.n)
    both, q = np.asarray((table.pairs >= 0).all(1)), len(table.categories)
    cells = table.pairs[both] @ np.array([q, 1])
    features = np.zeros((len(table.pairs), q * q))
    features[np.flatnonzero(both), cells] = 1

    def chance(sums: Sums) -> Sums:
        cell = sums.reshape(*sums.shape[:-1], q, q) / sums.sum(-1)[..., None, None]
        return np.asarray((cell.sum(-1) * cell.sum(-2)).sum(-1))

    def statistic(sums: Sums) -> Sums:
        cell = sums.reshape(*sums.shape[:-1], q, q)
        same = np.einsum("...ii->...", cell) / sums.sum(-1)
        return beyond(same, chance(sums))

    method = "Fleiss, Cohen and Everitt 1969"
    return _coefficient(name, table, features, both, both, statistic, statistic, chance, method, _kappa_sentence)


def fleiss_kappa(table: RatingTable) -> Figure:
    """Any number of people who share one habit of labelling; items with one label still tell that habit."""

    def chance(sums: Sums) -> Sums:
        return np.asarray((_shares(sums) ** 2).sum(-1))

    return _from_pairs("Fleiss’ κ", table, chance, _kappa_sentence)


def gwet_ac1(table: RatingTable) -> Figure:
    """Like κ, but a rare label does not pull it down (Gwet 2008). Defined even where all labels are equal."""
    q = len(table.categories)

    def chance(sums: Sums) -> Sums:
        shares = _shares(sums)
        return np.asarray((shares * (1 - shares)).sum(-1) / (q - 1))

    return _from_pairs("Gwet’s AC1", table, chance, _ac1_sentence)


def krippendorff_alpha(table: RatingTable) -> Figure:
    """Observed against expected disagreement among all pairable labels (Krippendorff 2011), nominal."""
    counts, twice = table.counts, table.twice
    people = np.maximum(counts.sum(1), 2)
    matches = (counts * (counts - 1)).sum(1) / (people - 1)
    features = np.column_stack([matches, counts]) * twice[:, None]

    def expected(sums: Sums) -> Sums:
        by_label = sums[..., 1:]
        n = by_label.sum(-1)
        return np.asarray((by_label * (by_label - 1)).sum(-1) / (n * (n - 1)))

    def statistic(sums: Sums) -> Sums:
        n = sums[..., 1:].sum(-1)
        apart = n * n - (sums[..., 1:] ** 2).sum(-1)
        return np.asarray(1 - (n - 1) * (n - sums[..., 0]) / apart)

    def large_sample(sums: Sums) -> Sums:
        by_label = sums[..., 1:] / sums[..., 1:].sum(-1)[..., None]
        same = sums[..., 0] / sums[..., 1:].sum(-1)
        return beyond(same, np.asarray((by_label**2).sum(-1)))

    return _coefficient(
        "Krippendorff’s α",
        table,
        features,
        twice,
        twice,
        statistic,
        large_sample,
        expected,
        "Gwet 2014",
        _alpha_sentence,
    )


def beyond(same: Sums, chance: Sums) -> Sums:
    """(observed − chance) / (1 − chance)."""
    return np.asarray((same - chance) / (1 - chance))


def _from_pairs(name: str, table: RatingTable, chance: Statistic, say: Sentence) -> Figure:
    labels = table.counts / np.maximum(table.counts.sum(1), 1)[:, None]
    features = np.column_stack([_same(table), table.twice, labels])

    def statistic(sums: Sums) -> Sums:
        return beyond(sums[..., 0] / sums[..., 1], chance(sums))

    def with_pairs_fixed(sums: Sums) -> Sums:
        """Gwet's variance takes the number of items with a pair as given, which widens the interval where gaps are."""
        by_chance = chance(sums)
        return np.asarray((sums[..., 0] - by_chance * sums[..., 1]) / table.n / (1 - by_chance))

    present = np.asarray(table.counts.sum(1) > 0)
    return _coefficient(
        name, table, features, table.twice, present, statistic, with_pairs_fixed, chance, "Gwet 2008", say
    )


def _coefficient(
    name: str,
    table: RatingTable,
    features: FloatArray,
    used: npt.NDArray[np.bool_],
    rows: npt.NDArray[np.bool_],
    statistic: Statistic,
    for_error: Statistic,
    chance: Statistic,
    formula: str,
    say: Sentence,
) -> Figure:
    """The value with its interval: by formula for a simple random sample, else by drawing questions again.

    `used`: the items that count in n; `rows`: those that the figure depends on. `for_error` is `statistic` as the
    published formula of its error sees it.
    """
    n = int(used.sum())
    if not n:
        return undefined(name, "coefficient", _nobody(table))
    weighted = features * table.weights[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        value, by_chance = float(statistic(weighted.sum(0))), float(chance(weighted.sum(0)))
    if not np.isfinite(value):
        return undefined(name, "coefficient", _all_equal(name, table), n=n)
    raw = raw_agreement(table)
    if is_simple(table.clusters[rows], table.weights[rows]):
        low, high, method = _by_formula(weighted[rows], for_error, value, formula)
    else:
        low, high, method = _by_questions(weighted[rows], table.clusters[rows], statistic)
    sentence = say(table, value, by_chance, raw)
    if low is None:
        sentence += " " + (
            "No interval: nothing in this sample disagrees, so look at the raw agreement’s."
            if value > 1 - 1e-12
            else "No interval: the sample is too small or too even for one."
        )
    return Figure(name, "coefficient", n, raw.effective_n, value, low, high, method, sentence)


def _by_formula(rows: FloatArray, statistic: Statistic, value: float, formula: str) -> Limits:
    n = len(rows)
    error = standard_error(rows, statistic) if n > 1 else 0.0
    if error <= 1e-9:
        return None, None, ""
    half = t_of(CONFIDENCE, n - 1) * error
    return value - half, min(1.0, value + half), formula


def _by_questions(rows: FloatArray, clusters: IntArray, statistic: Statistic) -> Limits:
    again = bootstrap(rows, clusters, statistic)
    if again.low is None or again.high is None or not again.error or again.error <= 1e-9:
        return None, None, ""
    return again.low, again.high, f"bootstrap over {counted(again.clusters, 'question')}"


def _same(table: RatingTable) -> FloatArray:
    """Of each item's pairs of people, the share that agrees; 0 where there is no pair."""
    people = table.counts.sum(1)
    return np.asarray((table.counts * (table.counts - 1)).sum(1) / np.maximum(people * (people - 1), 1), dtype=float)


def _shares(sums: Sums) -> Sums:
    """The labels' shares from the sums of `_from_pairs`."""
    labels = sums[..., 2:]
    return np.asarray(labels / labels.sum(-1)[..., None])


def numbered(names: Iterable[Hashable]) -> IntArray:
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


def scaled(weights: FloatArray) -> FloatArray:
    """To an average of 1."""
    return weights / weights.mean() if len(weights) else weights


def _nobody(table: RatingTable) -> str:
    if not len(table.counts):
        return "Nothing is judged here yet."
    judged = counted(len(table.counts), "path")
    return f"{judged} judged, none of them by two people: agreement needs two labels of the same path."


def _all_equal(name: str, table: RatingTable) -> str:
    return (
        f"{name} is undefined: every label given is {table.commonest()[0]}, so chance alone would agree as well and "
        "there is nothing to compare with. Look at raw agreement and AC1."
    )


def _raw_sentence(table: RatingTable, value: float) -> str:
    if table.raters == 2:
        agreed = int(_same(table).sum())
        said = f"Two reviewers agree on {agreed:,} of {counted(table.n, 'path')}"
        return (
            f"{said}."
            if np.ptp(table.weights) == 0
            else f"{said}; weighted by how they were drawn, on {percent(value)}."
        )
    judged = f"{counted(table.n, 'path')} that two or more judged"
    return f"{table.people}: two of them who judge the same path agree {percent(value)} of the time ({judged})."


def _kappa_sentence(table: RatingTable, value: float, by_chance: float, raw: Figure) -> str:
    sentence = (
        f"Of the {percent(1 - by_chance)} that chance leaves open, they reach {decimal(value)}."
        if value >= 0
        else f"They agree less than chance alone would ({percent(by_chance)})."
    )
    label, share = table.commonest()
    if value < LOW and raw.value is not None and raw.value >= HIGH and share >= RARE:
        sentence += (
            f" κ is low because nearly all labels are {label} ({percent(share)}), not because they disagree often "
            "(prevalence): read it beside AC1."
        )
    return sentence


def _ac1_sentence(table: RatingTable, value: float, by_chance: float, raw: Figure) -> str:
    return f"Of the {percent(1 - by_chance)} that chance leaves open, reckoned so that a rare label does not matter, they reach {decimal(value)}."


def _alpha_sentence(table: RatingTable, value: float, by_chance: float, raw: Figure) -> str:
    """Krippendorff's own reading of his figure."""
    if value >= HIGH:
        sense = "0.80 or more: reliable by its author’s rule."
    elif value >= 2 / 3:
        sense = "between 0.67 and 0.80: good for tentative conclusions by its author’s rule."
    else:
        sense = "below 0.67: by its author’s rule not enough to draw conclusions from."
    label, share = table.commonest()
    if value < 2 / 3 and raw.value is not None and raw.value >= HIGH and share >= RARE:
        sense += f" Like κ it falls where nearly all labels are {label}."
    return f"Agreement that also uses paths with gaps; {sense}"
