"""The filter language of LangSmith, read into a tree.

and(eq(run_type, "llm"), gte(latency, "5s"), eq(feedback_key, "correct"), lt(feedback_score, 0.5))
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from localsmith.wire import ApiError

MAX_LENGTH = 20_000
MAX_DEPTH = 24
MAX_CONDITIONS = 400  # SQLite's own limits on expressions lie above

TOKEN = re.compile(
    r"""\s*(?:(?P<name>[A-Za-z_][A-Za-z0-9_.]*)|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
        |(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<sign>[(),\[\]]))""",
    re.VERBOSE | re.DOTALL,
)
CONSTANTS = {"null": None, "true": True, "false": False}


def bad_filter(message: str, text: str, at: int) -> ApiError:
    rest = text[at : at + 30]
    return ApiError(400, f"Invalid filter at position {at}: {message}, {f'near {rest!r}' if rest else 'at the end'}")


@dataclass
class Name:
    text: str
    at: int


@dataclass
class Value:
    value: Any
    at: int


@dataclass
class Node:
    """A call such as eq(name, "x"): its arguments are nodes, names, values or lists of values."""

    name: str
    args: list[Any]
    at: int


def parse(text: str) -> Node:
    """Read a filter; 400 with the position of the first thing that does not fit."""
    if len(text) > MAX_LENGTH:
        raise ApiError(400, f"Invalid filter: longer than {MAX_LENGTH} characters")
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.conditions = 0
        self.kind, self.word, self.start = "", "", 0
        self.advance()

    def advance(self) -> None:
        rest = len(self.text) - len(self.text[self.at :].lstrip())
        match = TOKEN.match(self.text, self.at)
        if match is None:
            if rest < len(self.text):
                raise bad_filter("unexpected character", self.text, rest)
            self.kind, self.word, self.start = "end", "", len(self.text)
            return
        self.kind = match.lastgroup or ""
        self.word = match[self.kind]
        self.start, self.at = match.start(self.kind), match.end()

    def fail(self, expected: str) -> ApiError:
        return bad_filter(f"expected {expected}", self.text, self.start)

    def take(self, sign: str) -> None:
        if self.word != sign or self.kind != "sign":
            raise self.fail(f"'{sign}'")
        self.advance()

    def whole(self) -> Node:
        node = self.argument(0)
        if not isinstance(node, Node):
            raise bad_filter('expected a condition such as eq(name, "x")', self.text, 0)
        if self.kind != "end":
            raise self.fail("the end of the filter")
        return node

    def argument(self, depth: int) -> Any:
        kind, word, start = self.kind, self.word, self.start
        if kind in ("text", "number") or word == "[":
            return Value(self.value(), start)
        if kind != "name":
            raise self.fail("a condition, a field or a value")
        self.advance()
        if self.word == "(" and self.kind == "sign":
            return self.call(word, start, depth + 1)
        return Value(CONSTANTS[word], start) if word in CONSTANTS else Name(word, start)

    def call(self, name: str, start: int, depth: int) -> Node:
        self.conditions += 1
        if depth > MAX_DEPTH:
            raise bad_filter(f"nested deeper than {MAX_DEPTH} levels", self.text, start)
        if self.conditions > MAX_CONDITIONS:
            raise bad_filter(f"more than {MAX_CONDITIONS} conditions", self.text, start)
        self.take("(")
        args = [self.argument(depth)]
        while self.word == "," and self.kind == "sign":
            self.advance()
            args.append(self.argument(depth))
        self.take(")")
        return Node(name, args, start)

    def value(self) -> Any:
        kind, word, start = self.kind, self.word, self.start
        if kind == "sign":
            return self.values()
        if kind == "name" and word not in CONSTANTS or kind not in ("name", "text", "number"):
            raise self.fail("a value")
        self.advance()
        if kind == "text":
            return self.unquoted(word, start)
        if kind == "name":
            return CONSTANTS[word]
        return float(word) if re.search(r"[.eE]", word) else int(word)

    def unquoted(self, word: str, start: int) -> str:
        """The text between quotes: JSON's escapes in double ones, a backslash before any character in both."""
        try:
            text = str(json.loads(word, strict=False))
            text.encode()
        except UnicodeEncodeError:
            raise bad_filter("lone surrogate", self.text, start) from None
        except ValueError:
            return re.sub(r"\\(.)", r"\1", word[1:-1], flags=re.DOTALL)
        return text

    def values(self) -> list[Any]:
        self.take("[")
        found: list[Any] = []
        while self.word != "]" or self.kind != "sign":
            if found:
                self.take(",")
            if self.word == "[":
                raise self.fail("a value")
            found.append(self.value())
        self.advance()
        return found
