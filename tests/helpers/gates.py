"""One limit of a gate, checked."""

from langsmith_rest.evaluation.comparing.compare import compare
from langsmith_rest.evaluation.comparing.gate import Limits

CRASH = RuntimeError("no answer")


def only_check(api, *names, **limits):
    """The check of the only limit that is given, for the only candidate."""
    [check] = compare(api, *names, limits=Limits(**limits)).gate.checks
    return check
