"""Charts as numbers for an inline SVG: means over experiments, with error bars."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10

from langsmith_rest.paired import Mean
from localsmith.pages.render import number

WIDTH, HEIGHT = 560, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 28
DIGIT, SIGN = 11.5, 17  # widths on narrow screens, where letters are larger


@dataclass(frozen=True)
class Point:
    x: float
    y: float
    low: float | None
    high: float | None
    label: str
    name: str
    mean: Mean
    href: str


@dataclass(frozen=True)
class Chart:
    """All numbers are in units of the SVG; `ticks` are (y, value), `labels` (x, text)."""

    metric: str
    width: int
    height: int
    left: int
    right: int
    bottom: int
    points: list[Point]
    ticks: list[tuple[float, float]]
    labels: list[tuple[float, str]]


MAX_VALUE = 1e100  # beyond it, distances on a scale stop being numbers


def chart(metric: str, given: list[tuple[str, str, Mean | None, str]]) -> Chart | None:
    """Lay out one metric over experiments, given as (label, name, mean, href); a mean of None leaves a gap.

    None if nothing can be drawn.
    """
    means = [mean for _, _, mean, _ in given if mean]
    if not means or any(abs(end or 0) > MAX_VALUE for mean in means for end in (mean.low, mean.mean, mean.high)):
        return None
    low = min(mean.mean if mean.low is None else mean.low for mean in means)
    high = max(mean.mean if mean.high is None else mean.high for mean in means)
    marks = ticks(low, high)
    bottom, top = marks[0], marks[-1]

    def y_of(value: float) -> float:
        return round(HEIGHT - BOTTOM - (value - bottom) / (top - bottom) * (HEIGHT - TOP - BOTTOM), 1)

    left = max(LEFT, ceil(max(_width(number(tick)) for tick in marks)) + 10)
    step = (WIDTH - left - RIGHT) / len(given)
    points, labels = [], []
    every = ceil(len(given) / 12)
    for index, (label, name, mean, href) in enumerate(given):
        x = round(left + (index + 0.5) * step, 1)
        if index % every == 0:
            labels.append((x, label))
        if mean:
            ends = [None if end is None else y_of(end) for end in (mean.low, mean.high)]
            points.append(Point(x, y_of(mean.mean), ends[0], ends[1], label, name, mean, href))
    return Chart(
        metric, WIDTH, HEIGHT, left, WIDTH - RIGHT, HEIGHT - BOTTOM, points, [(y_of(t), t) for t in marks], labels
    )


def _width(text: str) -> float:
    """Of a number on a narrow screen."""
    return DIGIT * len(text) + (SIGN - DIGIT) * sum(map(text.count, "−+"))


def ticks(low: float, high: float) -> list[float]:
    """Three to six round values around low..high."""
    if high - low < 1e-9:
        room = 0.5 * abs(high) if abs(high) > 1e-6 else 0.5
        low, high = low - room, high + room
    rough = (high - low) / 4
    power = 10.0 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]


def ranges(values: Collection[float]) -> list[tuple[float, float]]:
    """A few round ranges around values, which touch each other; none for values beyond `MAX_VALUE`."""
    if not values or max(map(abs, values)) > MAX_VALUE:
        return []
    return list(pairwise(ticks(min(values), max(values))))
