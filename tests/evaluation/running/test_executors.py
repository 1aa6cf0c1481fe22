"""Targets that run in threads, in processes and on a cluster."""

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
from squares import fails_on_odd, square

from langsmith_rest.evaluation.running.evaluation import ExecutorError
from langsmith_rest.evaluation.running.files import load_function


@pytest.mark.parametrize("kind", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_the_target_runs_in_an_executor(run, kind):
    """Any executor of concurrent.futures; errors come back as errors of the target."""
    if kind == "threads":
        executor = ThreadPoolExecutor(2)
    else:
        executor = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))
    with executor:
        found = run(load_function(f"{Path(__file__)}:fails_on_odd"), executor=executor)

    assert (found.done, found.errors) == (6, 3)


def dies_on_four(inputs):
    if inputs["n"] == 4:
        time.sleep(0.5)  # the others are back by then
        os._exit(1)
    return square(inputs)


@pytest.mark.slow
def test_a_worker_that_dies_is_no_answer_of_the_target(run):
    """What was finished is recorded, and the message says how to go on."""
    target = load_function(f"{Path(__file__)}:dies_on_four")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        with pytest.raises(ExecutorError, match="BrokenProcessPool.*experiment name 'first'"):
            run(target, executor=executor, max_concurrency=1)

    found = run()
    assert (found.existing, found.done, found.errors) == (4, 2, 0)


@pytest.mark.slow
def test_the_target_runs_on_a_dask_cluster(run):
    """Dask's executor spreads a target over machines; here over two local workers."""
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, processes=False)
    with cluster, distributed.Client(cluster) as client:
        found = run(fails_on_odd, executor=client.get_executor())

    assert (found.done, found.errors) == (6, 3)
