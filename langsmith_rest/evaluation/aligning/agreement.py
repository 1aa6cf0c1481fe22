"""How far two raters of the same runs agree: pure functions over pairs of labels, standard library only."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from langsmith_rest.paired import Mean, Z, wilson

Label = float | str
SPLIT = "split"  # groups examples by their splits
MOST_LABELS = 50  # with more, scores are measurements: a table of them says nothing, and takes minutes
Pairs = Sequence[tuple[Label, Label]]  # one for each run: the judge's label and the person's


def rate(successes: int, n: int) -> Mean | None:
    """A share with its 95 % Wilson interval; None of nothing."""
    return Mean(n, successes / n, *wilson(successes, n), "Wilson", binary=True) if n else None


def agreement(pairs: Pairs) -> Mean | None:
    return rate(sum(judge == human for judge, human in pairs), len(pairs))


def labels_of(pairs: Pairs) -> list[Label]:
    """Every label that either uses, numbers in their order before texts in theirs."""
    return sorted({label for pair in pairs for label in pair}, key=lambda label: (isinstance(label, str), label))


def confusion(pairs: Pairs) -> list[list[int]]:
    """Counts by the person's label (rows) and the judge's (columns), in the order of `labels_of`; empty of too many."""
    counts, labels = Counter(pairs), labels_of(pairs)
    if len(labels) > MOST_LABELS:
        return []
    return [[counts[judge, human] for judge in labels] for human in labels]


def kappa(pairs: Pairs, *, power: int = 0) -> float | None:
    """Cohen's kappa (1960): 1 is full agreement, 0 what chance would give, below 0 less than that.

    With `power` 1 or 2, disagreements on a scale count by the distance between both numbers, or by its square (Cohen
    1968). None where both only ever use one label, since chance alone would give full agreement then.
    """
    judges, humans = Counter(judge for judge, _ in pairs), Counter(human for _, human in pairs)
    if not power:
        seen, expected = sum(j != h for j, h in pairs), len(pairs) ** 2 - sum(judges[h] * n for h, n in humans.items())
        return 1 - seen * len(pairs) / expected if expected else None
    largest = max((abs(label) for label in labels_of(pairs) if not isinstance(label, str)), default=0) or 1.0

    def cost(one: Label, other: Label) -> float:
        if not isinstance(one, str) and not isinstance(other, str):
            return float(abs(one / largest - other / largest) ** power)  # squares of large numbers have no float
        return float(one != other)

    apart = math.fsum(cost(*pair) for pair in pairs) * len(pairs)
    by_chance = math.fsum(cost(j, h) * m * n for j, m in judges.items() for h, n in humans.items())
    return 1 - apart / by_chance if by_chance else None


def is_scale(pairs: Pairs) -> bool:
    """Whether the labels are a few numbers, between which distances count."""
    labels = labels_of(pairs)
    return 2 < len(labels) <= MOST_LABELS and not any(isinstance(label, str) for label in labels)


def is_yes_or_no(pairs: Pairs) -> bool:
    return {0.0, 1.0}.issuperset(labels_of(pairs))


def sensitivity(pairs: Pairs) -> Mean | None:
    """The share that the judge accepts (1) of what the person accepts."""
    of_accepted = [judge for judge, human in pairs if human == 1]
    return rate(of_accepted.count(1.0), len(of_accepted))


def specificity(pairs: Pairs) -> Mean | None:
    """The share that the judge rejects (0) of what the person rejects."""
    of_rejected = [judge for judge, human in pairs if human == 0]
    return rate(of_rejected.count(0.0), len(of_rejected))


def groups_of(metadata: Mapping[str, Any], by: str | None) -> list[str]:
    """The groups that an example belongs to: its splits, or the value of a key of its metadata."""
    if by is None:
        return []
    value = metadata.get("dataset_split" if by == SPLIT else by)
    return [str(each) for each in (value if isinstance(value, list) else [value]) if each is not None]


def more_labels(pairs: Pairs, margin: float) -> int:
    """About how many more labels it takes to know the agreement to within `margin`, with 95 % certainty."""
    if not 0 < margin < 1:
        raise ValueError(f"precision is {margin:g}, expected a share above 0 and below 1.")
    # One disagreement each way: so that ten labels that all agree are no certainty.
    share = (sum(judge == human for judge, human in pairs) + 1) / (len(pairs) + 2)
    return max(math.ceil((Z / margin) ** 2 * share * (1 - share)) - len(pairs), 0)
