"""Markdown as models write it, as HTML that is safe to show.

Raw HTML is off, so tags are shown as text. Nothing is loaded from elsewhere: an image is shown only if the text itself
contains it, and a link leads only to the web or to a mail program, and only on a click.
"""

import re
from collections.abc import MutableMapping, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:  # a tenth of a server's start, and many servers only record
    from markdown_it import MarkdownIt
    from markdown_it.renderer import RendererProtocol
    from markdown_it.token import Token

MAX_CHARACTERS = 40_000  # the time it takes can grow with the square
SIGNS = re.compile(
    r"^(?:#{1,6} \S|```|~~~| {0,3}[-*+] \S| {0,3}\d{1,3}[.)] \S|> ?\S|\|.*\|[ \t]*$)"
    r"|\*\*\S[^*\n]*\*\*|`[^`\n]+`|\[[^\]\n]+\]\([^)\s]+\)",
    re.MULTILINE,
)
IMAGE = re.compile(r"data:image/(?:png|jpe?g|gif|webp|avif);base64,[A-Za-z0-9+/=\s]+")
LINK = re.compile(r"(?:https?://|mailto:)", re.IGNORECASE)


def is_markdown(text: str) -> bool:
    """Whether a text seems to be Markdown. Plain prose is left as it is."""
    return len(text) <= MAX_CHARACTERS and SIGNS.search(text) is not None


@lru_cache(maxsize=1024)
def markdown(text: str) -> Markup:
    return Markup(_converter().render(text))


def is_image(text: str) -> bool:
    """Whether a text is an image of a kind that cannot run anything."""
    return IMAGE.fullmatch(text) is not None


def _image(
    renderer: "RendererProtocol", tokens: "Sequence[Token]", index: int, options: Any, env: MutableMapping[str, Any]
) -> str:
    token = tokens[index]
    source, text = str(token.attrs.get("src", "")), token.content
    if is_image(source):
        return Markup('<img src="{}" alt="{}">').format(source, text)
    return Markup('<a href="{}" rel="noreferrer noopener nofollow" target="_blank">[image: {}]</a>').format(
        source, text or source
    )


def _link(
    renderer: "RendererProtocol", tokens: "Sequence[Token]", index: int, options: Any, env: MutableMapping[str, Any]
) -> str:
    href = escape(str(tokens[index].attrs.get("href", "")))
    return f'<a href="{href}" rel="noreferrer noopener nofollow" target="_blank">'


def _heading(
    renderer: "RendererProtocol", tokens: "Sequence[Token]", index: int, options: Any, env: MutableMapping[str, Any]
) -> str:
    """Not a real heading, which would appear in the page's outline that screen readers use."""
    return f'<p class="{tokens[index].tag}">' if tokens[index].nesting > 0 else "</p>\n"


@cache
def _converter() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    found = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])
    found.validateLink = lambda url: bool(LINK.match(url)) or is_image(url)  # type: ignore[method-assign]
    found.add_render_rule("image", _image)
    found.add_render_rule("link_open", _link)
    found.add_render_rule("heading_open", _heading)
    found.add_render_rule("heading_close", _heading)
    return found
