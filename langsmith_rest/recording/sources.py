"""Where results come from: a list, a file or a stream, behind one interface."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

from langsmith_rest.recording.bodies import default_name, short_hash
from langsmith_rest.recording.checking import named, prepare
from langsmith_rest.recording.results import Prepared
from langsmith_rest.recording.tally import Tally
from langsmith_rest.wording import nothing_sent

LONGEST_STREAMED = timedelta(hours=1)  # a later result of a stream may take this long


def prepared(results: Iterable[Any]) -> Iterator[Prepared]:
    return (prepare(result, number) for number, result in enumerate(results, 1))


class Source:
    """The results of one experiment, and what is known of all of them before the first request.

    Iterate once. What breaks a source is kept in `broken`, so that what it gave before can be recorded first.
    """

    name = "the results"
    prefix = ""  # of the experiment's default name; the dataset's name when empty
    count: int | None = None  # None when it is not known beforehand
    earliest: datetime | None = None  # None when no result says when it started
    longest = timedelta(0)
    hash = 0  # the sum of the short hashes of all results
    is_stable = True  # whether a result stays as it is once it was given

    def __init__(self, results: Iterable[Prepared]) -> None:
        self.rejected: list[dict[str, Any]] = []  # {"result": number from 1, "reason": text}
        self.broken: BaseException | None = None
        self._results = results

    def __iter__(self) -> Iterator[Prepared]:
        texts = Tally()
        try:
            for result in self._results:
                if result.problems:
                    self.rejected.append({"result": result.number, "reason": "; ".join(result.problems)})
                else:
                    result.occurrence = texts.add(result.text)
                    yield result
        except GeneratorExit:
            raise
        except BaseException as error:
            self.broken = error

    def default_name(self, dataset_name: str) -> str:
        return default_name(self.prefix or dataset_name, dataset_name, self.hash)

    def _note_times(self, result: Prepared) -> None:
        self.longest = max(result.took, self.longest)
        if result.start:
            self.earliest = min(result.start, self.earliest or result.start)


class Checked(Source):
    """Results that are all checked before the first request. Raises ValueError for bad ones.

    They stay in memory until they are recorded; those of more than `keep` characters are read a second time instead.
    `on_checked` is called with the number of results so far, and None.
    """

    def __init__(
        self,
        results: Iterable[Any],
        on_checked: Callable[[int, int | None], None] | None = None,
        keep: float = math.inf,
    ) -> None:
        if hasattr(results, "name"):
            self.name = results.name
            self.prefix = "stdin" if self.name == "standard input" else Path(self.name).stem
        kept, size, hashes, problems = deque[Prepared](), 0, 0, list[tuple[str, str]]()
        self.count = 0
        for result in prepared(results):
            if result.problems:
                place = getattr(results, "place", f"result {result.number}")
                problems += [(place, problem) for problem in result.problems]
                continue
            self.count += 1
            self._note_times(result)
            hashes += short_hash(result.text.encode())
            size += len(result.text)
            if size <= keep:
                kept.append(result)
            else:
                kept.clear()
            if on_checked:
                on_checked(result.number, None)
        if problems or not self.count:
            raise nothing_sent(problems, self.name)
        self.hash = hashes % 2**32
        self.given: Iterable[Any] = [result.given for result in kept] or results  # to look at them once more
        # What was recorded is let go.
        super().__init__((kept.popleft() for _ in range(len(kept))) if kept else prepared(results))


class Stream(Source):
    """Results that come once, in constant memory; what is wrong in one is found when it comes, and listed.

    `count` and `earliest` may be told when they are known; otherwise the first result decides when the experiment
    starts. Raises ValueError when there is no sound result at all.
    """

    is_stable = False  # a generator may use one object again

    def __init__(self, results: Iterable[Any], count: int | None = None, earliest: datetime | None = None) -> None:
        coming, begun = prepared(results), list[Prepared]()
        self.count, self.earliest = count, earliest
        if not earliest:
            while (first := next(coming, None)) and first.problems:
                begun.append(first)
            if not first:
                problems = [(f"result {one.number}", problem) for one in begun for problem in one.problems]
                raise nothing_sent(problems, self.name)
            self._note_times(first)
            if self.earliest or self.longest:
                self.longest = max(self.longest, LONGEST_STREAMED)
            begun.append(first)
        super().__init__(chain(begun, coming))


def source_of(results: Any, is_named: bool) -> Source:
    """The source that fits `results`: only an iterator whose experiment has a name is streamed.

    Raises ValueError for what holds no results, or bad ones.
    """
    if isinstance(results, Source):
        return results
    if results is None or isinstance(results, str | bytes | dict):
        raise ValueError(f"results is {named(results)}, expected a list or a generator of results.")
    is_iterator = iter(results) is results
    if is_named and is_iterator:
        return Stream(results)
    # What has a length may still come only once (a progress bar's), or be changed meanwhile.
    if is_iterator or isinstance(results, Sized):
        return Checked(list(results))
    return Checked(results, keep=0)  # it may use one object again and again
