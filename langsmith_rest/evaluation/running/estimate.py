"""What model judges would cost: their questions are made and counted, and no model is asked."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from typing import Any

from langsmith_rest.connection import LangSmith
from langsmith_rest.evaluation.evaluators import judge
from langsmith_rest.evaluation.evaluators.calling import score
from langsmith_rest.evaluation.evaluators.records import Run
from langsmith_rest.evaluation.evaluators.signatures import PAIRWISE, RUN, Evaluator, bind
from langsmith_rest.evaluation.loops import run_here
from langsmith_rest.evaluation.running.data import as_result, is_file, load_data, read_rows
from langsmith_rest.evaluation.running.pairwise import experiments_to_judge, pairs_of, prefer
from langsmith_rest.evaluation.running.preferences import Pair, Preferences
from langsmith_rest.evaluation.running.reading import as_example, read_runs, values_of
from langsmith_rest.evaluation.running.scoring import experiment_and_dataset
from langsmith_rest.wording import counted

VERDICT_TOKENS = 100  # what a judge writes: a sentence or two, and the verdict


@dataclass
class Estimate:
    """How much judges would read and write; tokens are estimated from characters."""

    answers: int = 0  # that would be judged, or pairs of them
    calls: int = 0
    cached: int = 0  # verdicts that are known already
    input_tokens: int = 0
    output_tokens: int = 0
    dollars: float | None = None  # at the given price
    uses_references: bool = False  # the answers are not known yet: references stand in for them

    def as_json(self) -> dict[str, Any]:
        return {"estimate": asdict(self)}

    def __str__(self) -> str:
        tokens = f"about {self.input_tokens:,} tokens in and {self.output_tokens:,} out"
        cost = "" if self.dollars is None else f", about ${self.dollars:,.4f}"
        cached = f"; {counted(self.cached, 'verdict')} from the cache" if self.cached else ""
        return f"{counted(self.calls, 'judge call')} on {counted(self.answers, 'answer')}: {tokens}{cost}{cached}"


def estimate(
    api: LangSmith,
    target: Any,
    data: Any,
    evaluators: Sequence[Callable[..., Any]],
    *,
    splits: list[str] | None = None,
    limit: int | None = None,
    repetitions: int = 1,
    price: tuple[float, float] | None = None,
) -> Estimate:
    """Count what the model judges among `evaluators` would be asked; other evaluators, and the target, do not run.

    `price` is in dollars for a million tokens read, and written. If the target has not answered yet, references stand
    in for its answers.
    """
    judges = [function for function in evaluators if getattr(function, "asks_a_model", False)]
    found = Estimate(uses_references=not isinstance(target, str | list | tuple))
    with judge.estimating() as questions:
        for ask in islice(answers(api, target, data, judges, splits), limit):
            found.answers += 1
            ask()
    times = repetitions if found.uses_references else 1
    found.answers *= times
    found.cached = sum(is_known for _, is_known in questions) * times
    found.calls = len(questions) * times - found.cached
    found.input_tokens = sum(characters for characters, is_known in questions if not is_known) * times // 4
    found.output_tokens = found.calls * VERDICT_TOKENS
    if price:
        found.dollars = (found.input_tokens * price[0] + found.output_tokens * price[1]) / 1e6
    return found


def answers(
    api: LangSmith, target: Any, data: Any, judges: Sequence[Callable[..., Any]], splits: list[str] | None
) -> Iterator[Callable[[], Any]]:
    """Yield, for each answer or pair of answers, what shows it to all judges."""
    if isinstance(target, list | tuple):
        bound = [bind(function, PAIRWISE) for function in judges]
        dataset, sessions = experiments_to_judge(api, list(target), bound)
        for pair in pairs_of(api, dataset["id"], sessions, Preferences("", "", [], ""), with_steps=False):
            yield partial(show_pair, bound, pair)
        return
    bound = [bind(function, RUN) for function in judges]
    if isinstance(target, str):
        session, dataset = experiment_and_dataset(api, target, data)
        pairs = read_runs(api, dataset["id"], session, with_steps=any(one.wants("run") for one in bound))
    else:
        found = map(as_example, examples(api, data, splits))
        pairs = ((Run(outputs=example.outputs or {}), example) for example in found)
    for run, example in pairs:
        yield partial(show, bound, values_of(run, example))


def show_pair(judges: Sequence[Evaluator], pair: Pair) -> None:
    for one in judges:
        prefer(one, pair, pair.runs, run_here)


def show(judges: Sequence[Evaluator], values: dict[str, Any]) -> None:
    for one in judges:
        score(one, values)


def examples(api: LangSmith, data: Any, splits: list[str] | None) -> list[dict[str, Any]]:
    """The examples that the target would run on; those of a file, without creating a dataset."""
    if not isinstance(data, str) or not is_file(data):
        return load_data(api, data, splits, None)[1]
    rows = [as_result(row) for row in read_rows(data)]
    sound = (row for row in rows if isinstance(row, dict))
    return [{"inputs": row.get("inputs"), "outputs": row.get("reference_outputs")} for row in sound]
