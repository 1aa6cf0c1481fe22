"""Where results come from: a list, a file or a stream, behind one interface."""

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from langsmith_rest.recording.bodies import default_name, duration, parse_time, short_hash
from langsmith_rest.recording.checking import listed, named, prepare
from langsmith_rest.recording.results import Prepared
from langsmith_rest.recording.tally import Tally

LONGEST_STREAMED = timedelta(hours=1)  # a later result of a stream may take this long

Numbered = tuple[int, Mapping[str, Any], dict[str, str], str]  # number from 1, result, canonical fields, text of them


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

    def __init__(self) -> None:
        self.rejected: list[dict[str, Any]] = []  # {"result": number from 1, "reason": text}
        self.broken: BaseException | None = None

    def __iter__(self) -> Iterator[Prepared]:
        texts = Tally()
        try:
            for number, result, fields, text in self._numbered():
                yield Prepared(number, result, fields, text, texts.add(text))
        except (GeneratorExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self.broken = error

    def default_name(self, dataset_name: str) -> str:
        return default_name(self.prefix or dataset_name, dataset_name, self.hash)

    def _numbered(self) -> Iterator[Numbered]:
        raise NotImplementedError

    def _note_times(self, result: Mapping[str, Any]) -> None:
        start = parse_time(result.get("start_time"))
        self.longest = max(duration(result, start), self.longest)
        if start:
            self.earliest = min(start, self.earliest or start)

    def _check(self, results: Iterable[Any]) -> Iterator[Numbered]:
        """Check every result and yield the sound ones.

        Raises ValueError at the end, with one message that lists every problem by place, field and expectation.
        """
        problems: list[str] = []
        self.count = 0
        for number, result in enumerate(results, 1):
            fields, text, found = prepare(result)
            if found:
                place = getattr(results, "place", f"result {number}")
                problems += [f"{place}: {problem}" for problem in found]
                continue
            self.count += 1
            self.hash = (self.hash + short_hash(text.encode())) % 2**32
            self._note_times(result)
            yield number, result, fields, text
        if problems:
            raise ValueError(listed(problems, self.name))
        if not self.count:
            raise ValueError(f"There is nothing to record in {self.name}, nothing was sent.")


class CheckedList(Source):
    """Results in memory, all checked at once. Raises ValueError for bad ones."""

    def __init__(self, results: Iterable[Any]) -> None:
        super().__init__()
        with uncollected():
            self._results = list(self._check(list(results)))

    def _numbered(self) -> Iterator[Numbered]:
        with uncollected():
            yield from self._results


class CheckedFile(Source):
    """Results that can be read again (those of a `ResultFile`): read once to check them, and once to record them.

    `on_checked` is called with the number of sound results so far, and None.
    """

    def __init__(self, results: Iterable[Any], on_checked: Callable[[int, int | None], None] | None = None) -> None:
        super().__init__()
        self._results = results
        self.name = getattr(results, "name", self.name)
        if hasattr(results, "name"):
            self.prefix = "stdin" if self.name == "standard input" else Path(self.name).stem
        for number, *_ in self._check(results):
            if on_checked:
                on_checked(number, None)

    def _numbered(self) -> Iterator[Numbered]:
        return sound(self._results, self.rejected)


class Stream(Source):
    """Results that come once, in constant memory; what is wrong in one is found when it comes, and listed.

    `count` and `earliest` may be told when they are known; otherwise the first result decides when the experiment
    starts. Raises ValueError when there is no sound result at all.
    """

    is_stable = False  # a generator may use one object again

    def __init__(self, results: Iterable[Any], count: int | None = None, earliest: datetime | None = None) -> None:
        super().__init__()
        self.count, self.earliest = count, earliest
        self._first: list[Numbered] = []
        self._others = sound(results, self.rejected)
        if not earliest:
            self._first = list(islice(self._others, 1))
            if not self._first:
                raise ValueError(f"There is nothing to record. {self.rejected or ''}".strip())
            self._note_times(self._first[0][1])
            if self.earliest or self.longest:
                self.longest = max(self.longest, LONGEST_STREAMED)

    def _numbered(self) -> Iterator[Numbered]:
        yield from self._first
        yield from self._others


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
    return CheckedList(results) if is_iterator or isinstance(results, Sized) else CheckedFile(results)


def sound(results: Iterable[Any], rejected: list[dict[str, Any]]) -> Iterator[Numbered]:
    """Prepare results as they come; those that are not what they should be go to `rejected`."""
    for number, result in enumerate(results, 1):
        fields, text, problems = prepare(result)
        if problems:
            rejected.append({"result": number, "reason": "; ".join(problems)})
        else:
            yield number, result, fields, text


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the garbage collector from going through all that the program holds, again and again.

    Freezing lasts for the whole process, so a program that did it itself is left alone.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
