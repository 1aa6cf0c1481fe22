"""What the tests of evaluations share."""

import pytest
from squares import ROWS, square

from langsmith_rest import connection
from langsmith_rest.evaluation.evaluators.answers import exact_match
from langsmith_rest.evaluation.running.evaluate import evaluate


@pytest.fixture
def api(server):
    return connection.connect(server.url)


@pytest.fixture
def run(api):
    """Evaluate over six numbers, in the dataset `squares`."""

    def run(target=square, evaluators=(exact_match,), data=ROWS, **options):
        options = {"experiment_name": "first", "dataset_name": "squares", "langsmith": api, **options}
        return evaluate(target, data, evaluators, **options)

    return run
