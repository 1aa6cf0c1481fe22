"""One event loop for the process: clients made at module level work in every call."""

import asyncio
import concurrent.futures
import multiprocessing

import pytest
from own_loop import run_async
from squares import ROWS, runs_of, scores_of, square

from langsmith_rest.evaluation.loops import PROCESS, run_here
from langsmith_rest.evaluation.running.evaluate import aevaluate, evaluate


class Client:
    """Belongs to the loop that it is first used in, as connection pools do."""

    def __init__(self):
        self.loop = None

    async def ask(self, answer):
        self.loop = self.loop or asyncio.get_running_loop()
        if self.loop.is_closed() or self.loop is not asyncio.get_running_loop():
            raise RuntimeError("Event loop is closed")
        await asyncio.sleep(0.001)
        return answer


@pytest.mark.slow
def test_a_client_of_the_module_works_in_several_evaluations(api, run):
    """Its connections belong to one loop, which has to be there for the next call."""
    client = Client()

    async def judge(outputs):
        return await client.ask(1)

    async def target(inputs):
        return await client.ask(square(inputs))

    for name in ("first", "second"):
        found = run(target, [judge], experiment_name=name)
        again = run(name, [judge], data=None)
        assert (found.evaluator_errors, found.errors, again.evaluator_errors) == (0, 0, 0)
    assert set(scores_of(api, "second", "judge").values()) == {1}


@pytest.mark.slow
def test_an_openai_client_of_the_module_works_in_several_evaluations(run):
    """The real client, with a pool of connections that stay open between the calls."""
    openai = pytest.importorskip("openai")
    from chat_server import ChatServer, good

    with ChatServer(good("yes")) as server:
        client = openai.AsyncOpenAI(base_url=server.url, api_key="k")

        async def polite(outputs):
            said = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "?"}])
            return said.choices[0].message.content == "yes"

        found = [run(square, [polite], experiment_name=name) for name in ("first", "second", "third")]
        run_here(client.close())

    assert [(one.evaluator_errors, one.scores.as_json()["polite"]["mean"]) for one in found] == [(0, 1.0)] * 3


@pytest.mark.slow
def test_it_works_under_a_running_loop(api):
    """As in a notebook: `evaluate` in a cell, and `aevaluate` twice with one client."""
    client, clients = Client(), Client()
    options = {"dataset_name": "squares", "langsmith": api}

    async def judge(outputs):
        return await client.ask(1)

    async def judge_here(outputs):
        return await clients.ask(1)

    async def cell():
        found = [evaluate(square, ROWS, [judge], experiment_name="cell", **options)]
        for name in ("first", "second"):
            found.append(await aevaluate(square, ROWS, [judge_here], experiment_name=name, **options))
        return found

    assert [one.evaluator_errors for one in run_async(cell())] == [0, 0, 0]


def test_a_task_that_exits_does_not_end_the_loop():
    """Code under test may start tasks of its own, and these may raise anything."""

    async def starts_a_task():
        async def exits():
            raise SystemExit(3)

        asyncio.ensure_future(exits())
        await asyncio.sleep(0.01)
        return 1

    async def answers():
        return 2

    assert run_here(starts_a_task()) == 1
    assert run_here(answers()) == 2


async def alone(inputs):
    await asyncio.sleep(0)
    return {"n": inputs["n"] ** 2, "loop": id(asyncio.get_running_loop())}


def test_a_process_of_an_executor_has_one_loop_of_its_own(api, run):
    """Async targets in another process share one loop there, too."""
    context = multiprocessing.get_context("fork")
    assert PROCESS.get()
    with concurrent.futures.ProcessPoolExecutor(1, context) as executor:
        found = run(alone, [], executor=executor)

    loops = {some[0]["outputs"]["loop"] for some in runs_of(api).values()}
    assert (found.errors, len(loops)) == (0, 1)
