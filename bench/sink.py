"""A loopback server that accepts whatever recorders send, as fast as Python can, and keeps nothing.

    python bench/sink.py [--latency-ms 20]

It answers like a LangSmith in which everything is new. GET /__stats tells how many requests came in and how many were
under way at once; POST /__latency/20 sets the milliseconds that every answer takes.
"""

import argparse
import asyncio
import json
import uuid

EVERYTHING = {
    "version": "0.16.2",
    "batch_ingest_config": {
        "use_multipart_endpoint": True,
        "size_limit": 100,
        "size_limit_bytes": 20_971_520,
        "scale_up_qsize_trigger": 1000,
        "scale_up_nthreads_limit": 16,
        "scale_down_nempty_trigger": 4,
    },
    "instance_flags": {
        "dataset_examples_multipart_enabled": True,
        "examples_multipart_enabled": True,
        "zstd_compression_enabled": True,
    },
}


class State:
    latency_s = 0.0
    requests = under_way = most_under_way = runs = examples = 0
    dataset: dict | None = None


def answer(method: str, path: str, body: bytes) -> tuple[int, object]:
    """Status and JSON for one request; names and ids that a client chose come back."""
    route = path.partition("?")[0].removeprefix("/api/v1").removeprefix("/v1/platform")
    if route == "/info":
        return 200, EVERYTHING
    if route.startswith("/runs"):
        State.runs += body.count(b'"dotted_order"')
        return 202, {}
    if method == "GET" and route.startswith("/sessions/"):
        return 200, {"id": route.rpartition("/")[2], "tenant_id": str(uuid.UUID(int=1)), "run_count": State.runs}
    if method == "GET":
        known = State.dataset if route == "/datasets" else None
        return 200, [{**known, "example_count": State.examples}] if known and f"name={known['name']}" in path else []
    if route in ("/datasets", "/sessions"):
        State.runs = 0  # one experiment at a time
        new = {"id": str(uuid.uuid4()), "tenant_id": str(uuid.UUID(int=1)), "created_at": "2026-01-01T00:00:00+00:00"}
        new |= {"start_time": "2026-01-01T00:00:00+00:00", **json.loads(body)}
        if route == "/datasets":
            State.dataset, State.examples = new, 0
        return 200, new
    if route == "/examples/bulk":
        State.examples += body.count(b'"dataset_id"')
    if route.endswith("/examples"):
        return 201, {"count": 0, "example_ids": [], "as_of": "2026-01-01T00:00:00+00:00"}
    return 200, []


class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.parts, self.have, self.needed = transport, [], 0, 0

    def data_received(self, data):
        self.parts.append(data)
        self.have += len(data)
        if self.have >= self.needed:
            self.parse(b"".join(self.parts))

    def parse(self, data):
        head, found, rest = data.partition(b"\r\n\r\n")
        length = 0
        if found:
            lower = head.lower()
            at = lower.find(b"content-length:")
            length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if not found or len(rest) < length:
            self.parts, self.have = [data], len(data)
            self.needed = len(head) + 4 + length if found else 0
            return
        self.parts, self.have, self.needed = [], 0, 0
        method, path = head.split(b" ", 2)[:2]
        self.handle(method.decode(), path.decode(), rest[:length])

    def handle(self, method, path, body):
        if path == "/__stats":
            return self.reply(200, {name: value for name, value in vars(State).items() if name[0] != "_"}, count=False)
        if path.startswith("/__latency/"):
            State.latency_s = float(path.rpartition("/")[2]) / 1000
            State.requests = State.most_under_way = State.runs = 0
            return self.reply(200, {}, count=False)
        State.requests += 1
        State.under_way += 1
        State.most_under_way = max(State.most_under_way, State.under_way)
        found = answer(method, path, body)
        if State.latency_s:
            asyncio.get_running_loop().call_later(State.latency_s, self.reply, *found)
        else:
            self.reply(*found)

    def reply(self, status, value, count=True):
        State.under_way -= count
        body = json.dumps(value).encode()
        head = f"HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)


async def serve(options):
    State.latency_s = options.latency_ms / 1000
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", options.port, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=0)
    try:
        asyncio.run(serve(parser.parse_args()))
    except KeyboardInterrupt:
        pass
