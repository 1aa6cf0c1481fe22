"""Where results come from: a list, a file or a stream, behind one interface."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

from langsmith_rest.recording.bodies import default_name, duration, parse_time, short_hash
from langsmith_rest.recording.checking import listed, named, prepare
from langsmith_rest.recording.results import Prepared
from langsmith_rest.recording.tally import Tally

LONGEST_STREAMED = timedelta(hours=1)  # a later result of a stream may take this long

# Number from 1, result, its canonical fields, the text that its run's id is made of, and what is wrong with it.
Looked = tuple[int, Mapping[str, Any], dict[str, str], str, list[str]]


def looked_at(results: Iterable[Any]) -> Iterator[Looked]:
    return ((number, result, *prepare(result)) for number, result in enumerate(results, 1))


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

    def __init__(self, results: Iterable[Looked]) -> None:
        self.rejected: list[dict[str, Any]] = []  # {"result": number from 1, "reason": text}
        self.broken: BaseException | None = None
        self._results = results

    def __iter__(self) -> Iterator[Prepared]:
        texts = Tally()
        try:
            for number, result, fields, text, problems in self._results:
                if problems:
                    self.rejected.append({"result": number, "reason": "; ".join(problems)})
                else:
                    yield Prepared(number, result, fields, text, texts.add(text))
        except GeneratorExit:
            raise
        except BaseException as error:
            self.broken = error

    def default_name(self, dataset_name: str) -> str:
        return default_name(self.prefix or dataset_name, dataset_name, self.hash)

    def _note_times(self, result: Mapping[str, Any]) -> None:
        start = parse_time(result.get("start_time"))
        self.longest = max(duration(result, start), self.longest)
        if start:
            self.earliest = min(start, self.earliest or start)

    def _check(self, results: Iterable[Any]) -> Iterator[Looked]:
        """Go through all results; raises ValueError with one message that lists every problem by its place."""
        problems: list[str] = []
        self.count = 0
        for one in looked_at(results):
            number, result, _, text, found = one
            if found:
                place = getattr(results, "place", f"result {number}")
                problems += [f"{place}: {problem}" for problem in found]
                continue
            self.count += 1
            self.hash = (self.hash + short_hash(text.encode())) % 2**32
            self._note_times(result)
            yield one
        if problems:
            raise ValueError(listed(problems, self.name))
        if not self.count:
            raise ValueError(f"There is nothing to record in {self.name}, nothing was sent.")


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
        kept, size = list[Looked](), 0
        for one in self._check(results):
            size += len(one[3])
            if size <= keep:
                kept.append(one)
            else:
                kept.clear()
            if on_checked:
                on_checked(one[0], None)
        super().__init__(kept if kept else looked_at(results))
        self.given: Iterable[Any] = [one[1] for one in kept] if kept else results  # to look at them once more


class Stream(Source):
    """Results that come once, in constant memory; what is wrong in one is found when it comes, and listed.

    `count` and `earliest` may be told when they are known; otherwise the first result decides when the experiment
    starts. Raises ValueError when there is no sound result at all.
    """

    is_stable = False  # a generator may use one object again

    def __init__(self, results: Iterable[Any], count: int | None = None, earliest: datetime | None = None) -> None:
        coming, begun = looked_at(results), list[Looked]()
        self.count, self.earliest = count, earliest
        if not earliest:
            while (first := next(coming, None)) and first[-1]:
                begun.append(first)
            if not first:
                raise ValueError(f"There is nothing to record. {[one[-1] for one in begun] or ''}".strip())
            self._note_times(first[1])
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
