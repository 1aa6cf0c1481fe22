"""Write the golden files that every port is checked against: python tests/vectors.py [FOLDER]

fixtures/vectors.json pins ids down by rule, fixtures/transcript.json all requests for fixtures/results.jsonl. The tests
hold today's code, and the standard library's and rfc8785's own answers, against the committed files.
"""

import contextlib
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import recorder  # noqa: E402
from langsmith_rest.commands import dry_run, record  # noqa: E402
from langsmith_rest.recording import bodies, sending  # noqa: E402
from langsmith_rest.recording.canonical import canonical  # noqa: E402
from langsmith_rest.recording.checking import is_time  # noqa: E402
from langsmith_rest.recording.files import ResultFile  # noqa: E402
from langsmith_rest.recording.results import Prepared  # noqa: E402
from langsmith_rest.recording.sources import Checked  # noqa: E402

FIXTURES = ROOT / "fixtures"
DATASET_ID = "26d0b944-a286-4a7f-bb5f-3d86268ecc45"
TENANT_ID = "f51e8722-c21b-4092-a8ce-6f2410645d51"
NOW = datetime(2026, 8, 21, 9, 15, 30, 123456, UTC)

CANONICAL = {
    "empty object": "{}",
    "empty array and string": '{"a": [], "b": ""}',
    "nested nulls": '{"a": null, "b": [null, {"c": null}]}',
    "booleans": '{"yes": true, "no": false}',
    "keys sorted": '{"b": 1, "a": 2, "A": 3, "10": 4, "9": 5}',
    "white space": ' { "a" : [ 1 , 2 ] }\t',
    "small float": '{"x": 1e-7}',
    "smallest plain float": '{"x": 0.000001}',
    "whole float": '{"x": 1.0}',
    "minus zero": '{"x": -0.0}',
    "minus zero as an integer": '{"x": -0}',
    "float that needs an exponent": '{"x": 1e21}',
    "largest float that is written as an integer": '{"x": 9223372036854774784.0}',
    "shortest digits": '{"x": [0.1, 0.30000000000000004, 5e-324, 1.7976931348623157e308, 4.50, 2e-3]}',
    "integer 2**53": '{"x": 9007199254740992}',
    "integer beyond 2**53, in its plain digits": '{"x": 9007199254740993}',
    "largest integers": '{"x": [9223372036854775807, -9223372036854775808]}',
    "escapes": '{"x": "quote \\" backslash \\\\ slash / tab \\t newline \\n return \\r"}',
    "control characters": '{"x": "bell \\u0007 unit \\u001f delete \\u007f"}',
    "control characters in keys": '{"\\u007f": 1, "\\u001f": 2}',
    "two-letter escapes": '{"x": "\\b\\f"}',
    "combining characters are not normalised": '{"composed": "\\u00e9", "combining": "e\\u0301"}',
    "astral characters": '{"x": "\\ud83d\\ude00 \\ud835\\udd4f"}',
    "keys sorted by UTF-16 code units, not by code points": '{"\\ufb01": 1, "\\ud83d\\ude00": 2, "\\u20ac": 3, "e": 4}',
    "line separators": '{"x": "\\u2028\\u2029"}',
    "text that looks like a number": '{"x": "1.0"}',
}
RESULTS = {
    "inputs only": {"inputs": {"q": "1+1"}, "outputs": {"a": "2"}},
    "empty reference is no reference": {"inputs": {"q": "1+1"}, "outputs": {"a": "2"}, "reference_outputs": {}},
    "with reference": {"inputs": {"q": "1+1"}, "outputs": {"a": "3"}, "reference_outputs": {"a": "2"}},
    "nulls and feedback do not count": {
        "inputs": {"q": "1+1"},
        "outputs": {"a": "2"},
        "reference_outputs": None,
        "error": None,
        "feedback": {"correct": 1},
    },
    "feedback that is null is not sent": {
        "inputs": {"q": "1+1"},
        "outputs": {"a": "3"},
        "feedback": [
            {"key": "correct", "score": None},
            {"key": "correct", "score": 1},
            {"key": "correct", "error": True},
            {"key": "correct", "value": "yes"},
        ],
    },
    "numbers": {"inputs": {"x": [1e-7, 1.0, -0.0, 1e21, 9007199254740993]}, "outputs": {"y": 0.5}},
    "unicode": {"inputs": {"é": "e\u0301 \U0001f600"}, "outputs": {"\U0001f600": 1, "\ufb01": 2}},
    "times of its own": {
        "inputs": {"q": "1+1"},
        "outputs": {"a": "2"},
        "start_time": "2026-08-21T09:15:31.5Z",
        "end_time": "2026-08-21T11:15:33+02:00",
    },
    "times before the session": {
        "inputs": {"q": "1+1"},
        "outputs": {"a": "2"},
        "start_time": "2025-01-01T00:00:00",
        "end_time": "2025-01-01T00:00:02.25",
        "child_runs": [
            {
                "inputs": {},
                "outputs": {"n": 1},
                "run_type": "tool",
                "start_time": "2025-01-01T00:00:01",
                "end_time": "2025-01-01T00:00:02",
                "feedback": [{"key": "useful", "score": True}, {"key": "useful", "score": False}],
            },
            {"inputs": {}, "error": "timeout", "child_runs": [{"inputs": {}, "outputs": {}}]},
        ],
    },
    "feedback of a child that starts later": {
        "inputs": {"q": "1+1"},
        "outputs": {"a": "2"},
        "start_time": "2025-01-01T00:00:00Z",
        "child_runs": [
            {
                "inputs": {},
                "outputs": {},
                "start_time": "2025-01-01T00:00:01.5Z",
                "feedback": {"useful": 0},
                "latency": 1,
            }
        ],
    },
    "a start before the session, and no end": {
        "inputs": {"q": "1+1"},
        "outputs": {"a": "2"},
        "start_time": "2025-01-01T00:00:00.5Z",
        "metadata": {"row": 1},
    },
    "digits beyond microseconds are dropped, as are microseconds in ids": {
        "inputs": {"q": "1+1"},
        "outputs": {"a": "2"},
        "start_time": "2026-08-21T09:15:31.9999999Z",
        "end_time": "2026-08-21T09:15:32.0000009Z",
    },
    "an example that is there already": {
        "inputs": {"q": "one and one?"},
        "outputs": {"a": "2"},
        "example_id": "63d2e490-85ef-4430-ad03-8db4de383784",
        "reference_outputs": {"a": "2"},
    },
    "what belongs to the example": {
        "inputs": {"q": "1+1"},
        "outputs": {"a": "2"},
        "reference_outputs": {"a": "2"},
        "split": ["test", "hard"],
        "example_metadata": {"row": 7, "note": None},
    },
    "names, types and tags": {
        "inputs": {"q": "1+1"},
        "outputs": {"a": "2"},
        "name": "adder",
        "run_type": "tool",
        "tags": ["x", "y"],
        "child_runs": [{"inputs": {}, "outputs": {}, "run_type": "parser"}, {"inputs": {}, "outputs": {}, "name": "z"}],
    },
    "every kind of feedback": {
        "inputs": {"q": "1+1"},
        "outputs": {"a": "2"},
        "feedback": [
            {"key": "score", "score": 0.33333, "comment": "a third"},
            {"key": "value", "value": {"kind": "short"}},
            {"key": "comment", "comment": "only this"},
            {"key": "failed", "error": True, "comment": "timeout", "score": None},
            {"key": "score", "score": 1, "error": False},
            {"key": "corrected", "score": 0, "correction": {"a": "3"}, "feedback_source": {"type": "model"}},
        ],
    },
    "a latency instead of an end": {
        "inputs": {"q": "1+1"},
        "outputs": {"a": "2"},
        "start_time": "2025-01-01T00:00:00Z",
        "latency": 1.2345675,
        "child_runs": [{"inputs": {}, "outputs": {}, "latency": 0.5}],
    },
    "the short form of feedback": {
        "inputs": {"q": "1+1"},
        "outputs": {"a": "2"},
        "feedback": {"tone": "kind", "good": True, "grade": 0.25, "later": None},
    },
}
TIMES = [
    *("2026-11-20T09:00:00Z", "2026-11-20T09:00:00.123456789+01:00", "2026-11-20t09:00:00z", "2026-11-20 09:00:00"),
    *("2026-11-20T09:00", "2026-11-20T09:00Z", "2026-11-20", "2026-11-20T09:00:00,5Z", "2026-11-20T09:00:00+0100"),
    *("2026-11-20T09:00:00-01", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.9999999Z", "2024-02-29T23:59:59Z"),
    *("20261120T090000Z", "2026-W47-5", "2026-324", "2026-11-20T09", "2026-11-20T24:00:00Z", "2026-11-20T09:00:60Z"),
    *("2026-02-29T09:00:00Z", "2026-11-20T09:00:00+24:00", "2026-11-20T09:00:00 Z", " 2026-11-20T09:00:00Z", ""),
    *("1763629200", "2026-11-20T09:00:00.Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "2026-11-20Z"),
]
SENT_ONCE = ("/sessions", "/examples/bulk", "/runs/batch")
GIVEN_SCORES = [0.3333333333333333, 0.03125, 0.09375, 0.00005, 1.00005, 2.5e-5, -0.00004, -0.03125, 1.0, 0.99995]
SESSION_STARTS = {
    "fresh results: the first start, in whole seconds": ("2026-08-21T08:00:00.900000+00:00", 3.5),
    "old results: now, less the longest": ("2025-01-01T00:00:00+00:00", 90.0),
    "no times: now": (None, 0.0),
    "no starts: now, less the longest": (None, 90.0),
    "a trace longer than the window": ("2025-01-01T00:00:00+00:00", 400_000.0),
}


def prepared(result: dict, occurrence: int = 0) -> Prepared:
    fields = bodies.canonical_fields(result)
    start, took = bodies.times(result)
    return Prepared(result, 1, fields, bodies.run_text(fields), start, took, occurrence=occurrence)


def trace_of(result: dict, session: dict, occurrence: int = 0) -> list:
    """The runs of a result, tied to its example in the dataset of the vectors."""
    one = prepared(result, occurrence)
    one.example = bodies.example(DATASET_ID, one)
    return bodies.trace(session, one)


def time_of(text: str) -> dict:
    """A text, and the time that is meant by it as it is sent, if it is one."""
    return {"text": text, **({"sent": bodies.timestamp(bodies.parse_time(text))} if is_time(text) else {})}


def vector(name: str, result: dict, session: dict) -> dict:
    """What must come of a result: its ids and its bodies, and the id of its root when it comes a second time."""
    one = prepared(result)
    example = bodies.example(DATASET_ID, one)
    runs = trace_of(result, session)
    return {
        "name": name,
        "result": result,
        "canonical": one.text,
        "example_id": example.id,
        "example": json.loads(example.body) if example.body else None,
        "runs": [json.loads(run.body) for run in runs],
        "feedback": [item for run in runs for item in bodies.feedback_bodies(run)],
        "second_time": trace_of(result, session, 1)[-1].id,
    }


def recorded_at_once() -> dict:
    """All results in one call, some of them again: the experiment, the examples and the runs that are sent."""
    api = dry_run.connect({"id": DATASET_ID, "tenant_id": TENANT_ID})
    names = [name for name, result in RESULTS.items() if "example_id" not in result]
    names += names[:2]
    with still():
        recorder.record_langsmith_experiment("capitals", [RESULTS[name] for name in names], langsmith=api)
    sent = dry_run.sent_requests(api)
    found = {path: [one["body"] for one in sent if one["path"] == path and "body" in one] for path in SENT_ONCE}
    return {
        "results": names,
        "session": found["/sessions"][0],
        "example_ids": [example["id"] for body in found["/examples/bulk"] for example in body],
        "run_ids": [run["id"] for body in found["/runs/batch"] for run in body["post"]],
    }


def vectors() -> dict:
    session_start = bodies.parse_time("2026-08-21T09:15:30+00:00")
    session_id = bodies.experiment_id(DATASET_ID, "capitals-1a2b3c4d")
    session = {"id": session_id, "start_time": bodies.timestamp(session_start)}
    return {
        "about": "See PORTING.md. 'json' is a text to parse; everything else is what a port must come to.",
        "canonical": [
            {
                "name": name,
                "json": text,
                "canonical": (made := canonical(json.loads(text))),
                "utf8": made.encode().hex(),
            }
            for name, text in CANONICAL.items()
        ],
        "uuid5": [{"name": text, "id": bodies.uuid5(text)} for text in ("", "python.org", "Zürich 😀")],
        "experiment": {
            "dataset_id": DATASET_ID,
            "experiment_name": "capitals-1a2b3c4d",
            "id": session_id,
            "start_time": bodies.timestamp(session_start),
        },
        "results": [vector(name, result, session) for name, result in RESULTS.items()],
        "recorded_at_once": recorded_at_once(),
        "times": [time_of(text) for text in TIMES],
        "scores": [{"given": score, "sent": bodies.rounded(score)} for score in GIVEN_SCORES],
        "hash_of_all": f"{(all_results := Checked(list(RESULTS.values()))).hash:08x}",
        "default_name": {
            "prefix": "answers",
            "dataset_name": "capitals",
            "name": bodies.default_name("answers", "capitals", all_results.hash),
        },
        "session_starts": [
            {
                "name": name,
                "now": bodies.timestamp(NOW),
                "earliest": earliest,
                "longest_s": longest,
                "start_time": bodies.timestamp(
                    bodies.session_start(bodies.parse_time(earliest), timedelta(seconds=longest), NOW)
                ),
            }
            for name, (earliest, longest) in SESSION_STARTS.items()
        ],
    }


class Clock(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz=None):
        return NOW


@contextlib.contextmanager
def still():
    """The clock stands still for what is recorded."""
    with mock.patch.object(recorder, "datetime", Clock), mock.patch.object(sending, "datetime", Clock):
        yield


def transcript() -> dict:
    """All requests for fixtures/results.jsonl into a new dataset, and what is answered to them."""
    api = dry_run.connect({"id": DATASET_ID, "tenant_id": TENANT_ID})
    with open(FIXTURES / "results.jsonl", "rb") as file, still():
        results = ResultFile("results.jsonl", file)
        recording = recorder.record_langsmith_experiment(record.DATASET, Checked(results), langsmith=api)
    return {
        "about": "Requests in the order of PORTING.md; POST /sessions and POST /examples/bulk may overlap.",
        "clock": bodies.timestamp(NOW),
        "dataset": {"id": DATASET_ID, "tenant_id": TENANT_ID},
        "experiment_name": recording.experiment_name,
        "url": recording.url,
        "requests": [{k: v for k, v in sent.items() if k != "bytes"} for sent in dry_run.sent_requests(api)],
    }


def written(document: dict) -> str:
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FIXTURES
    (folder / "vectors.json").write_text(written(vectors()), encoding="utf-8")
    (folder / "transcript.json").write_text(written(transcript()), encoding="utf-8")
