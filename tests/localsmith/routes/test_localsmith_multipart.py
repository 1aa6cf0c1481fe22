"""Multipart ingest: parts, lengths, compression, duplicates, and what is refused."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from localsmith_api import Api, multipart, new_id, run

import localsmith.wire
from localsmith.multipart import parse_parts
from localsmith.wire import ApiError, decompress, parse_json

zstandard = pytest.importorskip("zstandard")


@pytest.fixture
def api(server):
    return Api(server.url)


def send(api, parts, encode=None, encoding=None):
    body, headers = multipart(parts)
    if encode:
        body, headers = encode(body), {**headers, "Content-Encoding": encoding}
    return api.send("POST", "/runs/multipart", data=body, headers=headers)


def feedback(run, **fields):
    return {"id": new_id(), "run_id": run["id"], "trace_id": run["trace_id"], "key": "k", "score": 1, **fields}


@pytest.mark.parametrize(
    ("encode", "encoding"),
    [(None, None), (gzip.compress, "gzip"), (zstandard.compress, "zstd")],
    ids=["plain", "gzip", "zstd"],
)
def test_run_with_out_of_band_fields_feedback_and_attachment(api, encode, encoding):
    """One request brings a run in pieces, its feedback and a file."""
    session = api.experiment()
    sent = run(session)
    pieces = {name: sent.pop(name) for name in ("inputs", "outputs")}
    mark = feedback(sent)
    parts = [(f"post.{sent['id']}", sent)]
    parts += [(f"post.{sent['id']}.{name}", value) for name, value in pieces.items()]
    parts += [(f"feedback.{mark['id']}", mark), (f"attachment.{sent['id']}.note", b"\x00\r\n--b0\xff")]

    response = send(api, parts, encode, encoding)

    got = api.get(f"/runs/{sent['id']}")
    assert response.status_code == 202
    assert {name: got[name] for name in pieces} == pieces
    assert got["feedback_stats"]["k"]["n"] == 1
    link = got["s3_urls"]["attachment.note"]["presigned_url"]
    assert api.session.get(link).content == b"\x00\r\n--b0\xff"


def test_info_announces_zstd_only_where_it_works(api, monkeypatch):
    assert api.get("/info")["instance_flags"]["zstd_compression_enabled"] is True

    monkeypatch.setattr("localsmith.wire.zstd_available", lambda: False)

    response = send(api, [("post.x", {})], zstandard.compress, "zstd")
    assert response.status_code == 415


def test_feedback_named_after_its_run_is_accepted(api):
    """The contract names the part after the run, the SDK after the feedback; a retry adds nothing to either."""
    session = api.experiment()
    sent = run(session)
    api.runs([sent])
    body = {"trace_id": sent["id"], "key": "spec", "score": 1}

    for _ in range(2):
        assert send(api, [(f"feedback.{sent['id']}", body)]).status_code == 202

    assert [one["key"] for one in api.get("/feedback", run=sent["id"])] == ["spec"]


def test_known_feedback_alone_is_accepted_and_the_first_stays(api):
    session = api.experiment()
    sent = run(session)
    api.runs([sent])
    mark = feedback(sent)

    statuses = [send(api, [(f"feedback.{mark['id']}", {**mark, "score": score})]).status_code for score in (1, 1, 0)]

    assert statuses == [202, 202, 202]
    assert [one["score"] for one in api.get("/feedback", run=sent["id"])] == [1]


def test_feedback_that_overtakes_its_run_is_kept(api):
    """Ingest acknowledges it, so it is there when the run is."""
    session = api.experiment()
    sent = run(session)
    mark = feedback(sent)
    send(api, [(f"feedback.{mark['id']}", mark)])

    api.runs([sent])

    assert [one["id"] for one in api.get("/feedback", session=session)] == [mark["id"]]
    assert api.get(f"/sessions/{session}", include_stats="true")["feedback_stats"]["k"]["n"] == 1


def test_known_runs_alone_are_a_conflict(api):
    sent = run(api.experiment())
    send(api, [(f"post.{sent['id']}", sent)])

    assert send(api, [(f"post.{sent['id']}", sent)]).status_code == 409
    mark = feedback(sent)
    assert send(api, [(f"post.{sent['id']}", sent), (f"feedback.{mark['id']}", mark)]).status_code == 202


def test_create_and_update_in_one_request(api):
    sent = run(api.experiment(), end_time=None, outputs=None)
    end = run()["end_time"]

    send(api, [(f"post.{sent['id']}", sent), (f"patch.{sent['id']}", {"end_time": end, "session_id": None})])

    assert api.get(f"/runs/{sent['id']}")["status"] == "success"


RUN = run()
BAD_REQUESTS = {
    "no length": (
        b'--b\r\nContent-Disposition: form-data; name="post.x"\r\nContent-Type: a/b\r\n\r\n{}\r\n--b--',
        "length",
    ),
    "wrong length": (
        b'--b\r\nContent-Disposition: form-data; name="post.x"\r\nContent-Type: a/b; length=9\r\n\r\n{}\r\n--b--',
        "says 9",
    ),
    "encoded part": (
        b'--b\r\nContent-Disposition: form-data; name="post.x"\r\nContent-Type: a/b\r\nContent-Length: 2\r\n'
        b"Content-Encoding: gzip\r\n\r\n{}\r\n--b--",
        "Content-Encoding",
    ),
    "no name": (b"--b\r\nContent-Type: a/b; length=2\r\n\r\n{}\r\n--b--", "no name"),
    "cut off": (multipart([("post.x", {})], boundary="b")[0][:-6], "closing boundary"),
    "empty": (b"", "closing boundary"),
    "unknown part": (multipart([("put.x", {})], boundary="b")[0], "unknown part"),
    "no main part": (multipart([("post.x.inputs", {})], boundary="b")[0], "has no part"),
    "other id": (multipart([(f"post.{new_id()}", RUN)], boundary="b")[0], "holds the run"),
    "not JSON": (multipart([("post.x", b"{")], boundary="b")[0], "JSON"),
    "no trace_id": (multipart([(f"feedback.{new_id()}", {"key": "k"})], boundary="b")[0], "trace_id"),
    "dot in name": (multipart([(f"attachment.{new_id()}.a.b", b"x")], boundary="b")[0], "without dots"),
}


@pytest.mark.parametrize("body_and_words", BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_broken_multipart_is_refused_in_words(api, body_and_words):
    body, words = body_and_words

    response = api.send(
        "POST", "/runs/multipart", data=body, headers={"Content-Type": "multipart/form-data; boundary=b"}
    )

    assert response.status_code in (400, 422)
    assert words in response.json()["error"]


@pytest.mark.parametrize(("encode", "encoding"), [(gzip.compress, "gzip"), (zstandard.compress, "zstd")])
def test_decompression_stops_at_the_limit(encode, encoding):
    """A small body cannot become a large one."""
    bomb = encode(b"0" * 50_000_000)

    with pytest.raises(ApiError) as caught:
        decompress(bomb, encoding, 1_000_000)

    assert caught.value.status == 413


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "br"])
def test_broken_compression_is_refused(encoding):
    with pytest.raises(ApiError) as caught:
        decompress(b"not compressed at all", encoding, 1000)

    assert caught.value.status in (400, 415)


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_truncated_gzip_is_refused(cut):
    with pytest.raises(ApiError, match="ends early"):
        decompress(gzip.compress(b"x" * 100)[:-cut], "gzip", 1000)


@pytest.mark.slow
def test_too_many_parts_are_refused():
    body, headers = multipart([("post.x", b"")] * (localsmith.multipart.MAX_PARTS + 1))

    with pytest.raises(ApiError) as caught:
        parse_parts(body, headers["Content-Type"], lengths=True)

    assert caught.value.status == 413


@pytest.mark.slow
@given(parts=st.lists(st.tuples(st.from_regex(r"[a-z.]{1,20}", fullmatch=True), st.binary(max_size=60)), max_size=5))
def test_parts_come_back_byte_for_byte(parts):
    """Whatever bytes a part holds, line ends and dashes included."""
    body, headers = multipart(parts, boundary="a-boundary-of-its-own")

    found = parse_parts(body, headers["Content-Type"], lengths=True)

    assert [(part.name, part.data) for part in found] == parts


@given(
    body=st.binary(max_size=200), content_type=st.sampled_from(["multipart/form-data; boundary=b", "multipart/x", ""])
)
def test_any_bytes_are_parts_or_a_refusal(body, content_type):
    for data in (body, b"--b\r\n" + body + b"\r\n--b--"):
        try:
            parse_parts(data, content_type, lengths=True)
        except ApiError as error:
            assert error.status in (400, 413)


@given(
    data=st.one_of(
        st.binary(max_size=100),
        st.text(alphabet='{}[]":,0123456789eE.-\\ud8a nulNaInfity', max_size=80).map(str.encode),
    )
)
def test_any_bytes_are_json_or_a_refusal(data):
    """What is accepted can be written to the database and sent again."""
    try:
        value = parse_json(data)
    except ApiError as error:
        assert error.status in (400, 422)
    else:
        localsmith.wire.dumps(value).encode()


@pytest.mark.parametrize(
    "text", ["9223372036854775808", "99999999999999999999", "-9223372036854775809", "1e400", "NaN"]
)
def test_numbers_that_no_column_holds_are_refused(text):
    """Also integers that the fast decoder would make floats of."""
    with pytest.raises(ApiError) as caught:
        parse_json(b'{"a": [' + text.encode() + b"]}")

    assert caught.value.status == 422


@pytest.mark.parametrize(
    "text", ["1e20", "-0.0", "-9223372036854775808", "1e-7", '"\\u00e9\\ud83d\\ude00"', '{"a":1,"a":2}']
)
def test_json_means_what_it_means_to_python(text):
    """Whichever decoder reads it."""
    assert repr(parse_json(text.encode())) == repr(json.loads(text))


@pytest.mark.parametrize("depth", [129, 1_000, 100_000])
def test_deep_json_is_refused(depth):
    with pytest.raises(ApiError, match="nested deeper") as caught:
        parse_json(b'{"a":' * depth + b"1" + b"}" * depth)

    assert caught.value.status == 400
