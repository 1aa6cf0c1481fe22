"""What the tests of evaluators share."""

import pytest

from langsmith_rest.evaluation.evaluators import verdicts


@pytest.fixture(autouse=True)
def no_warnings_yet():
    """Fields that a verdict should not have are reported once in a process, not once for all tests."""
    verdicts.warn_of.cache_clear()
