"""How often the intervals of `compare` hold the true difference, and how often its gate passes too large a loss.

uv run python bench/coverage.py [--simulations 2000] [--markdown]

Every setting draws experiments whose candidate really loses what the limit allows, and no less: a gate that passes
then is wrong. A second draw without any difference counts how often a test at 5 % raises a false alarm. Seeded: the
same numbers every time.
"""

import argparse
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).parent.parent))

from langsmith_rest.paired import LEVEL, SAME, metric_of

COVERAGE, FALSE_PASS, FALSE_ALARM = 0.94, 0.03, 0.06
Draw = Callable[[random.Random, float], tuple[list[list[float]], list[list[float]]]]


@dataclass
class Setting:
    name: str
    pairs: int
    loss: float  # of the candidate, and what the limit allows
    draw: Draw  # the scores of one example on both sides, given the chance and the loss
    size: int = 1  # examples of a cluster, on average
    alike: float = 0.0  # how far the examples of a cluster are alike


# ---------------------------------------------------------------- how examples are scored


def flips(hard: float, repetitions: tuple[int, int] = (1, 1)) -> Draw:
    """Scores of 0 and 1: a share of the examples is hard (right every other time), the others are nearly always right.

    What the candidate loses, it loses on whole examples: they are never right again.
    """

    def draw(chance: random.Random, loss: float) -> tuple[list[float], list[float]]:
        right = 0.5 if chance.random() < hard else 0.99
        expected = 0.5 * hard + 0.99 * (1 - hard)
        broken = chance.random() < loss / expected
        old = [float(chance.random() < right) for _ in range(repetitions[0])]
        new = [float(chance.random() < right and not broken) for _ in range(repetitions[1])]
        return old, new

    return draw


def fading(repetitions: tuple[int, int] = (1, 1)) -> Draw:
    """Scores of 0 and 1: examples of every difficulty, and a candidate that is a little less often right on each."""

    def draw(chance: random.Random, loss: float) -> tuple[list[float], list[float]]:
        right = chance.betavariate(2, 1)
        old = [float(chance.random() < right) for _ in range(repetitions[0])]
        new = [float(chance.random() < right * (1 - 1.5 * loss)) for _ in range(repetitions[1])]
        return old, new

    return draw


def grades(steps: int, stable: float) -> Draw:
    """Grades from 0 to 1 in so many steps; a share is the same on both sides. The candidate loses rarely, but all."""

    def draw(chance: random.Random, loss: float) -> tuple[list[float], list[float]]:
        def grade() -> float:
            return round(chance.betavariate(4, 2) * steps) / steps

        old = grade()
        new = old if chance.random() < stable else grade()
        return [old], [0.0 if chance.random() < loss / MEAN_GRADE[steps] else new]

    return draw


def mean_grade(steps: int) -> float:
    chance = random.Random(1)
    return fmean(round(chance.betavariate(4, 2) * steps) / steps for _ in range(200_000))


MEAN_GRADE = {steps: mean_grade(steps) for steps in (4, 10)}


def similarities(chance: random.Random, loss: float) -> tuple[list[float], list[float]]:
    """Continuous scores within a narrow range, all of them a little lower."""
    base = chance.uniform(0.7, 0.9)
    return [base + chance.uniform(-0.05, 0.05)], [base + chance.uniform(-0.05, 0.05) - loss]


SETTINGS = [
    *(Setting("0/1, few flips", n, 0.02, flips(0.1)) for n in (20, 39, 100, 200)),
    *(Setting("0/1, many flips", n, 0.05, fading()) for n in (20, 39, 100, 200)),
    *(Setting("0/1, 3 repetitions", n, 0.02, flips(0.1, (3, 3))) for n in (10, 20, 39, 100)),
    *(Setting("0/1, 3 repetitions, fading", n, 0.05, fading((3, 3))) for n in (10, 39, 100)),
    *(Setting("0/1, 10 repetitions", n, 0.02, flips(0.1, (10, 10))) for n in (20, 39)),
    *(Setting("0/1, 1 against 5", n, 0.05, fading((1, 5))) for n in (20, 39, 100)),
    *(Setting("0/1, 1 against 5, few flips", n, 0.02, flips(0.1, (1, 5))) for n in (20, 39, 100)),
    *(Setting("grades in quarters", n, 0.02, grades(4, 0.8)) for n in (6, 20, 39, 100)),
    *(Setting("grades in tenths", n, 0.05, grades(10, 0.3)) for n in (20, 39, 200)),
    *(Setting("similarities", n, 0.005, similarities) for n in (20, 100)),
    *(Setting(f"clusters of 5, alike {alike:g}", 100, 0.05, fading(), 5, alike) for alike in (0.2, 0.5)),
    Setting("clusters of 1 to 9, alike 0.5", 200, 0.05, fading(), -5, 0.5),
]


def drawn(setting: Setting, chance: random.Random, loss: float) -> Iterator[tuple[list[float], list[float], int]]:
    """Scores of both sides and the cluster, example by example; alike examples repeat the first of their cluster."""
    cluster, left = -1, 0
    for _ in range(setting.pairs):
        if not left:
            cluster += 1
            left = setting.size if setting.size > 0 else chance.randint(1, -2 * setting.size - 1)
            first = setting.draw(chance, loss)
        left -= 1
        yield (*(first if chance.random() < setting.alike**0.5 else setting.draw(chance, loss)), cluster)


def measured(setting: Setting, simulations: int) -> tuple[float, float, float]:
    """The coverage, the false passes and the false alarms of a setting, as shares of the simulations."""
    chance = random.Random(f"{setting.name} {setting.pairs}")
    covered = passed = alarms = 0
    for _ in range(simulations):
        metric = metric_drawn(setting, chance, setting.loss)
        if metric.low is not None and metric.high is not None:
            covered += metric.low <= -setting.loss <= metric.high
            passed += -metric.low <= setting.loss + SAME
        else:
            covered += 1
        alarms += (metric_drawn(setting, chance, 0.0).p_alone or 1.0) < LEVEL
    return covered / simulations, passed / simulations, alarms / simulations


def metric_drawn(setting: Setting, chance: random.Random, loss: float):
    rows = {str(i): row for i, row in enumerate(drawn(setting, chance, loss))}
    sides = [{i: fmean(row[side]) for i, row in rows.items()} for side in (0, 1)]
    single = tuple({i: row[side] for i, row in rows.items() if len(row[side]) > 1} for side in (0, 1))
    clusters = {i: row[2] for i, row in rows.items()} if setting.size != 1 else None
    return metric_of("score", *sides, single=single, clusters=clusters)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--markdown", action="store_true", help="print a table for the documentation")
    parser.add_argument("--only", default="", metavar="NAME", help="settings whose name has this in it")
    options = parser.parse_args()
    line = "| {} | {} | {} | {} | {} | {} |" if options.markdown else "{:32} {:>5} {:>6} {:>9} {:>11} {:>11} {}"
    print(line.format("scores", "pairs", "loss", "coverage", "false pass", "false alarm", ""))
    if options.markdown:
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
    missed = 0
    for setting in SETTINGS:
        if options.only not in setting.name:
            continue
        coverage, passed, alarm = measured(setting, options.simulations)
        wrong = coverage < COVERAGE or passed > FALSE_PASS or alarm > FALSE_ALARM
        missed += wrong
        shares = (f"{share:.1%}".replace("%", " %") for share in (coverage, passed, alarm))
        print(
            line.format(setting.name, setting.pairs, f"{setting.loss:g}", *shares, "missed" if wrong else ""),
            flush=True,
        )
    return min(missed, 1)


if __name__ == "__main__":
    sys.exit(main())
