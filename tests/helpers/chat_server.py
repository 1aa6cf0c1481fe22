"""A stand-in for an OpenAI-compatible server, over real HTTP: it answers what a test tells it to, in order."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def good(verdict, **usage):
    """A chat completion whose text is `verdict`."""
    text = verdict if isinstance(verdict, str) else json.dumps(verdict)
    return 200, completion({"content": text}, **usage)


def completion(message, finish_reason="stop", **usage):
    usage = usage or {"prompt_tokens": 100, "completion_tokens": 10}
    return {"choices": [{"message": {"role": "assistant", **message}, "finish_reason": finish_reason}], "usage": usage}


class ChatServer(ThreadingHTTPServer):
    """`answers`: (status, body), with headers or seconds of delay after them, or a function of the request; the last
    one stays. `.requests` are the bodies received, `.headers` those of the last request."""

    daemon_threads = True

    def __init__(self, *answers):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.requests, self.headers, self.lock = list(answers), [], {}, threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append(body)
            self.server.headers = dict(self.headers)
            answer = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        status, content, *rest = answer(body) if callable(answer) else answer
        time.sleep(next((item for item in rest if isinstance(item, float)), 0))
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        try:
            self.send_response(status)
            for name, value in next((item for item in rest if isinstance(item, dict)), {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:  # the client was not willing to wait so long
            pass

    def log_message(self, *_):
        pass
