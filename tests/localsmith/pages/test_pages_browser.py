"""The pages in a real browser: looks, keyboard, forms, and data that would like to run."""

import uuid

import pytest
import requests
from javascript import node_modules

pytestmark = pytest.mark.browser


def paths(made):
    """Every kind of page."""
    all_six = f"datasets/{made['wide']}/compare?selectedSessions={','.join(made['wide sessions'])}"
    capitals_compare = f"datasets/{made['dataset']}/compare?selectedSessions={made['first']},{made['second']}"
    return {
        "datasets": "",
        "dataset": f"datasets/{made['dataset']}",
        "examples": f"datasets/{made['dataset']}?tab=examples",
        "example": f"datasets/{made['dataset']}/e/{made['examples'][0]}",
        "compare": f"{capitals_compare},{made['third']}",
        "diff": f"{capitals_compare}&diff=baseline",
        "compact": f"{capitals_compare}&view=compact",
        "panel": f"{capitals_compare}&row={made['examples'][0]}",
        "chat": f"datasets/{made['agents']}/compare?selectedSessions={made['agent']}",
        "run": f"projects/p/{made['agent']}/r/{made['step']['id']}",
        "project": f"projects/p/{made['project']}",
        "pairwise": f"datasets/{made['pairs']}/compare?selectedSessions={made['sides']}"
        f"&comparativeExperiment={made['comparative']}",
        "report": f"datasets/{made['dataset']}/compare/report.html?selectedSessions={made['first']},{made['second']}",
        "wide dataset": f"datasets/{made['wide']}",
        "four experiments": f"datasets/{made['wide']}/compare?selectedSessions={','.join(made['wide sessions'][:4])}",
        "six experiments": all_six,
        "six compact": f"{all_six}&view=compact",
        "agreement": f"projects/p/{made['wide sessions'][0]}/agreement"
        "?judge=score_0_of_the_citations&human=score_1_of_the_citations",
        "pair": f"datasets/{made['pairs']}/pairs/{made['comparative']}",
        "review": f"annotation-queues/{made['queue']}",
        "review, open": f"annotation-queues/{made['queue']}?open=1",
        "scored": f"datasets/{made['scored']}/compare?selectedSessions={made['scored session']}",
        "scored panel": f"datasets/{made['scored']}/compare?selectedSessions={made['scored session']}"
        f"&row={made['scored example']}",
        "scored report": f"datasets/{made['scored']}/compare/report.html?selectedSessions={made['scored session']}",
        "scored dataset": f"datasets/{made['scored']}",
        "scored example": f"datasets/{made['scored']}/e/{made['scored example']}",
        "scored project": f"projects/p/{made['scored session']}",
        "scored run": f"projects/p/{made['scored session']}/r/{made['scored run']['id']}",
        "long trace": f"projects/p/{made['agent']}/r/{made['failing']['id']}",
        "not found": "nowhere",
        "empty dataset": f"datasets/{made['empty']}",
        "empty project": f"projects/p/{made['empty project']}",
        "nothing to compare": f"datasets/{made['empty']}/compare?selectedSessions={made['first']}",
        "no agreement": f"projects/p/{made['empty project']}/agreement",
        "bad dataset": f"datasets/{made['bad']}",
        "bad examples": f"datasets/{made['bad']}?tab=examples&q=%3Cscript%3E",
        "bad example": f"datasets/{made['bad']}/e/{made['bad example']}",
        "bad compare": f"datasets/{made['bad']}/compare?selectedSessions={made['bad session']}&diff=reference&q=%22%3E",
        "bad panel": f"datasets/{made['bad']}/compare?selectedSessions={made['bad session']}&row={made['bad example']}",
        "bad project": f"projects/p/{made['bad session']}?filter=%3Cscript%3E",
        "bad run": f"projects/p/{made['bad session']}/r/{made['bad run']['id']}",
        "bad report": f"datasets/{made['bad']}/compare/report.html?selectedSessions={made['bad session']}",
    }


KINDS = list(paths({key: "" for key in ("dataset first second third agents agent project pairs sides").split()} | {
    "comparative": "", "queue": "", "empty": "", "empty project": "", "failing": {"id": ""},
    "wide": "", "wide sessions": [""],
    "bad": "", "bad session": "", "bad example": "", "examples": [""], "step": {"id": ""},
    "bad run": {"id": ""}, "scored": "", "scored session": "", "scored example": "", "scored run": {"id": ""},
}))  # fmt: skip

OFTEN = ["bad run"]  # the other pages are looked at where there is time

CUT = """() => [...document.querySelectorAll(".scroll")].filter(box => box.scrollWidth > box.clientWidth).map(
    box => box.id || box.textContent.trim().slice(0, 80)
)"""
LUMINANCE = """element => {
    const [r, g, b] = getComputedStyle(element).backgroundColor.match(/[0-9.]+/g).map(Number);
    return (r + g + b) / 3;
}"""
CONTRAST = """() => {
    const pen = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true}), known = new Map();
    const rgba = text => {  // 0 to 1, of a colour in any notation
        if (!known.has(text)) {
            pen.clearRect(0, 0, 1, 1);
            pen.fillStyle = text;
            pen.fillRect(0, 0, 1, 1);
            known.set(text, [...pen.getImageData(0, 0, 1, 1).data].map(part => part / 255));
        }
        return known.get(text);
    };
    const over = ([r, g, b, a], [r2, g2, b2, a2]) => {  // multiplied by their alpha, as what is below
        const rest = 1 - a;
        return [r + rest * r2 * a2, g + rest * g2 * a2, b + rest * b2 * a2, a + rest * a2];
    };
    const channel = c => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b);
    const weak = [];
    for (const node of document.querySelectorAll("body *:not(svg *)")) {
        const says = [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim());
        if (!says || !node.checkVisibility() || node.closest(":disabled")) continue;
        let text = over([0, 0, 0, 0], rgba(getComputedStyle(node).color)), ground = [0, 0, 0, 0];
        for (let box = node; box; box = box.parentElement) {
            const style = getComputedStyle(box), below = rgba(style.backgroundColor);
            const opacity = Number(style.opacity) || 1;  // 0 until somebody points at it
            [text, ground] = [text, ground].map(layer => over(layer, below).map(part => part * opacity));
        }
        const pair = [text, ground].map(layer => light(over(layer, [1, 1, 1, 1])));
        const ratio = (Math.max(...pair) + .05) / (Math.min(...pair) + .05);
        if (ratio < 4.5) weak.push(`${node.outerHTML.slice(0, 80)} ${ratio.toFixed(2)}`);
    }
    return weak;
}"""


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_numbers_beside_charts_are_whole(open_page, site, width):
    """However many digits a scale has, and however large its letters are on a phone."""
    page = open_page(f"datasets/{site[1]['fine']}")
    page.set_viewport_size({"width": width, "height": 800})

    ticks = page.evaluate("""[...document.querySelectorAll(".chart svg")].flatMap(svg =>
        [...svg.querySelectorAll(".tick")].map(tick => {
            const [mine, all] = [tick.getBoundingClientRect(), svg.getBoundingClientRect()];
            return [tick.textContent, mine.left >= all.left && mine.right <= all.right];
        }))""")

    assert max(len(text) for text, _ in ticks) > 5
    assert [text for text, is_whole in ticks if not is_whole] == []


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_table_that_goes_on_has_a_shadow(open_page, site, scheme):
    """At the edge beyond which there are more columns it looks different than where the table ends; the inputs
    and the baseline stay."""
    page = open_page(paths(site[1])["six experiments"], scheme=scheme)
    box = page.locator("#rows")
    box.evaluate("box => box.scrollIntoView({block: 'end', behavior: 'instant'})")
    place = box.bounding_box()
    bottom = place["y"] + place["height"]

    def edge(side):
        x = place["x"] + (2 if side == "left" else place["width"] - 6)
        return page.screenshot(clip={"x": x, "y": bottom - 24, "width": 4, "height": 4})

    at_start = edge("left"), edge("right")
    inputs = page.locator("#rows tbody .inputs").first
    before = inputs.bounding_box()["x"]
    box.evaluate("box => box.scrollTo({left: box.scrollWidth, behavior: 'instant'})")
    at_end = edge("left"), edge("right")

    assert at_start[1] != at_end[1] == at_start[0] == at_end[0]
    assert inputs.bounding_box()["x"] == before
    assert page.locator("#rows tbody .base").first.bounding_box()["x"] == before + inputs.bounding_box()["width"]


AXE = """async () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
    for (const step of document.querySelectorAll(".tree li:nth-of-type(n + 21)")) step.remove();  // as the first 20
    const rules = {"color-contrast": {enabled: false}};
    const found = await axe.run(document, {resultTypes: ["violations"], rules});
    return found.violations.map(({id, nodes}) => `${id}: ${nodes.slice(0, 3).map(node => node.html.slice(0, 120))}`);
}"""
LARGE = ("four experiments", "six compact")  # as "six experiments" and "compact"


NAMELESS = """() => [...document.querySelectorAll(
    "input:not([type=hidden]), select, textarea, button, a"
)].filter(node => !(node.labels && node.labels.length && [...node.labels].some(l => l.textContent.trim()))
    && !node.getAttribute("aria-label") && !node.textContent.trim()).map(node => node.outerHTML)"""


@pytest.mark.parametrize("kind", [pytest.param(k, marks=() if k in OFTEN else pytest.mark.slow) for k in KINDS])
def test_everybody_can_read_the_page(open_page, site, kind):
    """Every page fits on a desk and on a phone, and nothing stored ever runs. Every text has a contrast of at least
    4.5 to its ground in both themes, with everything unfolded; every rule of axe-core holds; there is one heading, and
    controls, links and columns have names."""
    page = open_page(paths(site[1])[kind])

    assert not page.locator("[onerror], [onload], a[href^=javascript]").count()
    check_width(page, kind)
    if not kind.startswith("bad"):
        check_names(page, kind)
        check_contrast(page)
    assert page.evaluate("window.hacked") is None


def check_width(page, kind):
    """The page is as wide as the screen, and no table is cut but for the rows of many experiments on a desk."""
    for width in (390, 800, 1024, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        may_scroll = width == 1024 or (kind.startswith("six") and width == 1280)
        assert [box for box in page.evaluate(CUT) if not (may_scroll and box == "rows")] == []


def check_names(page, kind):
    assert page.locator("h1").count() == 1 and page.locator("main").count() == 1
    assert page.evaluate(NAMELESS) == []
    assert page.locator("table").count() == page.locator("table:has(thead th[scope=col])").count()
    if kind not in LARGE:
        page.evaluate((node_modules() / "axe-core" / "axe.min.js").read_text())
        assert page.evaluate(AXE) == []


def check_contrast(page):
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(CONTRAST) == []
        assert (page.locator("body").evaluate(LUMINANCE) > 128) == (scheme == "light")


@pytest.mark.slow
@pytest.mark.parametrize(
    "style, is_weak",
    [
        ("color: #767676", False),
        ("color: #777", True),
        ("color: #0008", True),
        ("opacity: .5", True),
        ("color: #fff; background: color-mix(in srgb, #000 40%, transparent)", True),
        ("color: #fff; background: color-mix(in oklab, #000 80%, transparent)", False),
    ],
)
def test_weak_contrasts_are_found(browser, style, is_weak):
    """Also where the text or its ground is mixed with what is below."""
    with browser.new_page() as page:
        page.set_content(f'<body style="color: black"><div style="{style}"><p>text</p></div>')

        assert bool(page.evaluate(CONTRAST)) == is_weak


@pytest.mark.slow
def test_keyboard_reaches_the_content(open_page):
    """The first Tab offers to skip the header, and Enter does."""
    page = open_page()

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")

    page.locator("main:focus").wait_for()


@pytest.mark.slow
def test_experiments_are_picked_and_compared_by_keyboard(open_page, site):
    """Space chooses experiments, the button says how many, Enter compares them; who goes back finds them chosen."""
    page = open_page(f"datasets/{site[1]['dataset']}")
    assert page.get_by_role("button", name="Compare selected").is_disabled()

    for name in ("first", "second"):
        page.get_by_label(f"Select {name}").focus()
        page.keyboard.press("Space")
    page.get_by_role("button", name="Compare 2 experiments").focus()
    page.keyboard.press("Enter")

    page.wait_for_url("**/compare?**")
    assert page.get_by_role("heading", level=1).inner_text() == "2 experiments of capitals"
    page.go_back()
    page.locator("button:enabled", has_text="Compare 2 experiments").wait_for()
    page.get_by_role("button", name="Clear").click()


@pytest.mark.slow
def test_chosen_experiments_stay_chosen(open_page, site):
    """While their list is searched or sorted, until they are cleared; those that it does not show count, too."""
    page = open_page(f"datasets/{site[1]['wide']}")
    page.get_by_label("Select nightly-run-1").check()

    page.get_by_role("link", name="Runs").click()
    page.get_by_role("button", name="Compare 1 experiment").wait_for()
    assert page.get_by_label("Select nightly-run-1").is_checked()
    page.goto(f"{page.url}&q=nightly-run-5")
    page.get_by_label("Select nightly-run-5").check()
    page.get_by_role("button", name="Compare 2 experiments (1 not listed here)").click()
    page.wait_for_url("**/compare?**")
    assert page.get_by_role("heading", level=1).inner_text() == "2 experiments of wide"
    page.go_back()
    page.get_by_role("button", name="Clear").click()

    assert page.get_by_role("button", name="Compare selected").is_disabled()
    assert page.locator("input:checked").count() == 0 and page.get_by_role("button", name="Clear").is_hidden()


def test_underlines_leave_underscores_to_be_seen(open_page, site):
    """A link to sort by is named after a score, as `exact_match`: its underline is below what an underscore reaches."""
    page = open_page(paths(site[1])["four experiments"])

    below, reach = page.locator(".sorts a").first.evaluate("""link => {
        const style = getComputedStyle(link), canvas = document.createElement("canvas").getContext("2d");
        canvas.font = style.font;
        return [parseFloat(style.textUnderlineOffset), canvas.measureText("_").actualBoundingBoxDescent];
    }""")
    assert below > reach > 0


@pytest.mark.slow
def test_filters_live_in_the_address(open_page, site):
    """What a person filters stands in the address, without empty parts, and survives going back."""
    made = site[1]
    page = open_page(f"datasets/{made['dataset']}/compare?selectedSessions={made['first']},{made['second']}")

    page.get_by_label("Show").select_option("regressed")
    page.get_by_role("button", name="Apply").click()

    page.wait_for_url("**show=regressed**")
    assert not any(part in page.url for part in ("q=", "min=", "cols="))
    assert page.locator("table.compare tbody tr").count() == 1
    page.locator(".columns summary").click()
    page.get_by_label("latency", exact=True).uncheck()
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url("**cols=reference**")
    assert "show=regressed" in page.url and "cols=latency" not in page.url
    assert not page.get_by_label("latency", exact=True).is_checked()
    assert page.locator("#rows [title=latency]").count() == 0
    page.go_back()
    page.go_back()
    assert page.get_by_label("Show").input_value() == "" and page.get_by_label("Show").is_enabled()


@pytest.mark.slow
def test_j_and_k_go_through_the_examples(open_page, site):
    """j and k move the focus from example to example, unless somebody is typing."""
    made = site[1]
    page = open_page(f"datasets/{made['dataset']}/compare?selectedSessions={made['first']}")

    for key in "jjk":
        page.keyboard.press(key)

    assert page.evaluate("document.activeElement.textContent") == "#1"
    page.get_by_label("Text", exact=True).press("j")
    assert page.get_by_label("Text", exact=True).input_value() == "j"


@pytest.mark.parametrize(
    "scripts",
    [pytest.param(True, id="with scripts"), pytest.param(False, id="without scripts", marks=pytest.mark.slow)],
)
def test_a_score_by_hand(open_page, site, scripts):
    """A person opens the form, gives a score with a comment, and finds it where it was given."""
    made = site[1]
    key = f"taste-{uuid.uuid4().hex[:6]}"
    path = f"datasets/{made['dataset']}/compare?selectedSessions={made['second']}&dir=desc"
    page = open_page(path, scripts=scripts)

    page.locator("a.open").first.click()
    form = page.locator("#panel details.give").first
    form.locator("summary").click()
    form.get_by_label("Feedback key").fill(key)
    form.get_by_label("Score").fill("0.75")
    form.get_by_label("Comment").fill("close <i>enough</i>")
    form.get_by_role("button", name="Save").click()

    chip = page.locator("#panel details.chip", has_text=key)
    chip.wait_for()
    page.wait_for_load_state()
    assert "dir=desc" in page.url and ("#r-" in page.url) != scripts
    assert page.locator("#rows details.chip", has_text=key).count() == 1
    chip.locator("summary").click()
    assert "0.75 by hand" in chip.inner_text() and "close <i>enough</i>" in chip.inner_text()

    asked = {"headers": {"x-api-key": "any"}, "timeout": 60}
    given = requests.get(f"{site[0]}/feedback", params={"session": made["second"], "key": key}, **asked).json()
    requests.delete(f"{site[0]}/feedback/{given[0]['id']}", **asked)  # other tests look at the same pages


@pytest.mark.slow
def test_a_long_text_unfolds(open_page, site):
    """Long texts show their beginning; one click or Enter shows the rest."""
    made = site[1]
    page = open_page(f"datasets/{made['agents']}/compare?selectedSessions={made['agent']}")
    fold = page.locator("td.reference details")
    assert len(fold.inner_text()) < 600

    fold.locator("summary").focus()
    page.keyboard.press("Enter")

    assert len(fold.inner_text()) > 9000


@pytest.mark.slow
def test_tree_leads_to_its_steps(open_page, site):
    """Each step of a trace is a link; the one that is shown says so."""
    made = site[1]
    page = open_page(f"projects/p/{made['agent']}/r/{made['root']['id']}")

    page.get_by_role("link", name="weather").click()

    page.wait_for_url(f"**/r/{made['step']['id']}")
    assert "weather" in page.locator(".tree [aria-current=page]").inner_text()
    assert page.get_by_role("link", name="example", exact=True).count() == 1


@pytest.mark.slow
def test_report_opens_from_a_file(open_page, site, tmp_path, browser):
    """The downloaded report looks the same without a server."""
    made = site[1]
    page = open_page(f"datasets/{made['dataset']}/compare?selectedSessions={made['first']},{made['second']}")
    with page.expect_download() as download:
        page.get_by_role("link", name="report.html").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)

    offline = browser.new_context(offline=True, color_scheme="dark")
    alone = offline.new_page()
    complaints = []
    alone.on("console", lambda message: complaints.append(message.text))
    alone.goto(file.as_uri())

    assert "2 experiments of capitals" in alone.inner_text("h1")
    assert alone.locator("body").evaluate(LUMINANCE) < 60
    assert complaints == []
    offline.close()
