"""How what models produce is shown: Markdown, code, JSON, images, attachments, tools; and none of it may run."""

import base64
import json
import re

import pytest
from localsmith_api import multipart
from pages_seed import HOSTILE, TENANT, page, words

from localsmith.pages.blocks import block
from localsmith.pages.json_tree import json_tree
from localsmith.pages.markdown import is_image, markdown

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PICTURE = "data:image/png;base64," + base64.b64encode(PNG).decode()


def run_page(client, seed, **fields):
    session = seed.session("shown")
    run = seed.run(session, **fields)
    return page(client, f"projects/p/{session}/r/{run['id']}")


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("**bold** and `code`", "<strong>bold</strong> and <code>code</code>"),
        ("# Title\ntext", '<p class="h1">Title</p>'),
        ("one **two**\nthree", "<br"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "<td>1</td>"),
        ("```python\nx = '<b>'\n```", "x = '&lt;b&gt;'"),
        ("[text](https://example.com/?a=1&b=2)", 'href="https://example.com/?a=1&amp;b=2" rel="noreferrer'),
        (f"![dot]({PICTURE})", f'<img src="{PICTURE}" alt="dot">'),
        ("![dot](https://example.com/t.png)", '<a href="https://example.com/t.png" rel="noreferrer'),
    ],
)
def test_markdown_is_rendered(text, html):
    """What Markdown means is shown: marks, headings, tables, code, links, and images that it holds itself."""
    assert html in markdown(text)


ATTACKS = [
    *HOSTILE,
    "[x](javascript:window.hacked=1)",
    "[x](JaVaScRiPt:window.hacked=1)",
    "[x](&#106;avascript:window.hacked=1)",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:x) [x](file:///etc/passwd) [x](//evil.example)",
    "![x](data:image/svg+xml;base64,PHN2Zz4=)",
    '![x" onerror="window.hacked=1](https://evil.example/x.png)',
    "![](https://evil.example/pixel.png)",
    '[x](https://evil.example/"onmouseover="window.hacked=1)',
    '[x](https://evil.example "a\\" onmouseover=\\"window.hacked=1")',
    "<https://evil.example/><script>window.hacked=1</script>",
    "<style>body{display:none}</style>",
    "```\n</code></pre><script>window.hacked=1</script>\n```",
    '```"><script>window.hacked=1</script>\nx\n```',
    "| <script> |\n|---|\n| <img src=x onerror=window.hacked=1> |",
    "# <script>window.hacked=1</script>",
    "**" * 400 + "[" * 400 + "`" * 401,
]


@pytest.mark.parametrize("text", ATTACKS, ids=range(len(ATTACKS)))
def test_markdown_runs_and_loads_nothing(text):
    """Tags are text, addresses lead to the web only, and no image is fetched."""
    html = markdown(f"- {text}\n\n{text}")

    tags = re.findall(r"<[^>]*>", html)
    assert not [tag for tag in tags if re.match(r"</?(script|style|svg|iframe|object|form|input)", tag)]
    assert not [tag for tag in tags if re.search(r"\son\w+=", re.sub(r'"[^"]*"', '""', tag))]
    assert all(re.match(r"https?://|mailto:", address) for address in re.findall(r'href="([^"]*)"', html))
    assert all(is_image(source) for source in re.findall(r'src="([^"]*)"', html))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("A plain sentence.", "text"),
        ("2 * 3 * 4 = <<2*3*4=24>>24\nA: 24", "text"),
        ("snake_case and __init__", "text"),
        ("#22 is next", "text"),
        ("- one\n- two", "markdown"),
        ('{"a": [1, 2]}', "json"),
        (" [1, 2]\n", "json"),
        ("{not json}", "text"),
        ("[]", "text"),
        ('"text"', "text"),
        ("Traceback (most recent call last):\n  File", "code"),
        ("TypeError: x\n    at run (/app/index.js:12:3)", "code"),
        (PICTURE, "image"),
        ("data:image/svg+xml;base64,PHN2Zz4=", "text"),
        ("data:text/html;base64,PHN2Zz4=", "text"),
        ("[" * 100_000 + "]" * 100_000, "text"),
    ],
)
def test_texts_are_shown_as_what_they_are(text, kind):
    """Markdown, JSON, tracebacks and images are told from prose, which is left alone."""
    assert block(text).kind == kind
    assert block(text, raw=True).kind == "text"


def test_json_folds_and_stays_json():
    """A tree holds every value, its text is JSON again, and nothing in it is markup."""
    value = {"items": [{"n": n, "<b>": '"</script><script>' * 3} for n in range(40)], "long": "x" * 200, "none": None}

    html = json_tree(value)

    assert "<b>&#34;&lt;b&gt;" in html or "&lt;b&gt;" in html
    assert "<script" not in html and html.count("<details") > 40
    text = re.sub(r"<[^>]*>", "", html)
    assert (
        json.loads(text.replace("&#34;", '"').replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")) == value
    )


def test_folded_json_says_how_much_it_holds():
    """One key, two items."""
    html = json_tree({"rows": ["word " * 30, "word " * 30]})

    assert 'data-n="1 key"' in html and 'data-n="2 items"' in html


@pytest.mark.browser
def test_each_paragraph_has_the_direction_of_its_script(open_page, site):
    """The full stop of an Arabic or Hebrew sentence stands at its left end."""
    made = site[1]
    page = open_page(f"datasets/{made['dataset']}/e/{made['examples'][0]}")

    at_the_left = page.locator(".text").first.evaluate("""text => {
        text.textContent = "שלום.";
        const left = (from, to) => {
            const range = document.createRange();
            range.setStart(text.firstChild, from), range.setEnd(text.firstChild, to);
            return range.getBoundingClientRect().left;
        };
        return left(4, 5) < left(0, 1);
    }""")
    assert at_the_left


@pytest.mark.parametrize("value", [[0] * 6000, json.loads("[" * 60 + "]" * 60)], ids=["large", "deep"])
def test_what_is_too_large_for_a_tree_is_shown_plain(client, seed, value):
    """Such JSON is shown as text, in the time it takes to print it."""
    assert json_tree(value) is None
    assert 'class="json' in run_page(client, seed, outputs={"deep": value})


TOOLS = {
    "anthropic": [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {"q": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "found it"}]},
    ],
    "responses": [
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"q": 1}'},
        {"type": "function_call_output", "call_id": "c1", "output": "found it"},
    ],
}


@pytest.mark.parametrize("kind", TOOLS)
def test_results_of_tools_stand_beside_their_calls(client, seed, kind):
    """A result that is a message of its own is shown with the call that it answers."""
    text = words(run_page(client, seed, outputs={"output": TOOLS[kind]}))

    assert re.search(r'calls look \w+ {"q": 1} result found it', text)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": PICTURE}},
        {"type": "input_image", "image_url": PICTURE},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE.split(",")[1]}},
        {"inline_data": {"mime_type": "image/png", "data": PICTURE.split(",")[1]}},
    ],
    ids=["openai", "responses", "anthropic", "google"],
)
def test_images_in_messages_are_shown(client, seed, part):
    """Images that a message holds are shown, in each of the ways in which they are sent."""
    html = run_page(client, seed, inputs={"messages": [{"role": "user", "content": [part]}]})

    assert f'<img class="picture" src="{PICTURE}"' in html


@pytest.mark.parametrize("url", ["https://evil.example/x.png", "data:image/svg+xml;base64,PHN2Zz4=", "javascript:1"])
def test_images_from_elsewhere_are_named_not_loaded(client, seed, url):
    """Showing a run asks nobody on the web for anything."""
    part = {"type": "image_url", "image_url": {"url": url}}

    html = run_page(client, seed, inputs={"messages": [{"role": "user", "content": [part]}]})

    assert "<img" not in html and f"[image not shown: {url}]" in html


def attach(client, run, name, kind, data):
    parts = [(f"attachment.{run['id']}.{name}", data)]
    body, headers = multipart(parts)
    body = body.replace(b"application/octet-stream", kind.encode())
    answer = client.post("/runs/multipart", data=body, headers={**headers, "x-api-key": "any"})
    assert answer.status_code == 202, answer.text


def test_attachments_are_shown_or_offered(client, seed):
    """Images are shown with the run, on its page and in lists; every other file is a download, SVG and HTML too."""
    dataset = seed.dataset("pictures")
    (example,) = seed.examples(dataset, [({"q": 1}, None)])
    session = seed.session("painter", dataset)
    run = seed.run(session, example, outputs={"a": 1})
    attach(client, run, "dot", "image/png", PNG)
    attach(client, run, "bad", "image/svg+xml", b"<svg onload='window.hacked=1'/>")

    for path in (f"projects/p/{session}/r/{run['id']}", f"datasets/{dataset}/compare?selectedSessions={session}"):
        html = page(client, path)
        (source,) = re.findall(r'<img class="picture" loading="lazy" src="([^"]*)"', html)
        assert 'download="bad"' in html
    shown = client.get(source)
    assert shown.data == PNG and shown.mimetype == "image/png"
    assert "sandbox" in shown.headers["Content-Security-Policy"]
    other = client.get(source.replace("name=dot", "name=bad"))
    assert other.mimetype == "application/octet-stream" and other.headers["Content-Disposition"] == "attachment"
    assert client.get(f"/o/{TENANT}/attachments/{run['id']}?name=none").status_code == 404


def test_texts_can_be_shown_as_stored(client, seed):
    """One link shows what was really received, and one leads back."""
    text = "# Not a *title*"
    session = seed.session("raw")
    run = seed.run(session, outputs={"a": text, "b": '{"c": 1}'})
    path = f"projects/p/{session}/r/{run['id']}"

    assert "Show texts as stored" in page(client, path) and 'class="h1"' in page(client, path)
    raw = page(client, f"{path}?raw=1")
    assert 'class="h1"' not in raw and text in words(raw) and "Show texts rendered" in raw


@pytest.mark.slow
@pytest.mark.browser
def test_blocks_are_copied_as_stored(open_page, site):
    """The button of a block copies its text as it was received: Markdown with its marks, JSON in full."""
    made = site[1]
    page = open_page(f"projects/p/{made['agent']}/r/{made['root']['id']}")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])

    block = page.locator(".call .copyable").first
    block.hover()
    said = "new MutationObserver(() => block.dataset.said = 'yes')"  # "Copied", for a moment only
    block.evaluate(f"block => {said}.observe(block, {{childList: true, subtree: true}})")
    block.get_by_role("button", name="Copy").click()
    page.locator(".copyable[data-said]").first.wait_for()

    assert page.evaluate("navigator.clipboard.readText().then(JSON.parse)") == {"city": "Lima"}
