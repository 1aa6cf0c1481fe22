"""A browser, and a served store with something of everything, for all tests that look at pages."""

import json
import shutil

import pytest
from once import once
from pages_seed import CHAT, CHAT_ANSWER, HOSTILE, TENANT, Seed, capitals, four_models, long_trace

import localsmith

CHROMIUM = shutil.which("chromium")
# No sandbox, since tests run as root in containers; the rest keeps Chromium from calling home.
FLAGS = (
    "--no-sandbox --disable-gpu --disable-software-rasterizer --disable-quic --no-first-run"
    " --disable-background-networking --disable-component-update --disable-sync"
).split()
# The last such flag counts, so it repeats what matters of playwright's; no process or frame is made in advance, which
# is a fifth of what a page takes.
FLAGS.append(
    "--disable-features=SpareRendererForSitePerProcess,RenderDocument,AvoidUnnecessaryBeforeUnloadCheckSync,"
    "DestroyProfileOnBrowserClose,HttpsUpgrades,HttpsFirstBalancedModeAutoEnable,LensOverlay,MediaRouter,PaintHolding,"
    "OptimizationHints,NetworkTimeServiceQuerying,PreconnectToSearch,ThirdPartyStoragePartitioning,Translate"
)


@pytest.fixture(scope="session")
def browser():
    """One Chromium for all tests."""
    if not CHROMIUM:
        pytest.skip("there is no 'chromium' on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def app(tmp_path):
    """The pages over a fresh store."""
    app = localsmith.create_app(tmp_path / "pages.db", score_decimals=None)
    yield app
    app.extensions["localsmith"].store.close()


@pytest.fixture
def client(app):
    """Asks for them as a browser would."""
    return app.test_client()


@pytest.fixture
def seed(client):
    """Fills that store."""
    return Seed(client)


@pytest.fixture(scope="session")
def made_site(tmp_path_factory):
    """A folder with a store that has something of everything, and what is in it as JSON."""
    return once(tmp_path_factory, "site", make_site)


def make_site(folder):
    app = localsmith.create_app(folder / "site.db", score_decimals=None)  # pages show whatever is stored
    seed = Seed(app.test_client())
    made = capitals(seed) | agents(seed) | hostile(seed) | pairwise(seed) | wide(seed) | fine(seed) | reviewed(seed)
    made |= four_models(seed) | scored(seed) | empty(seed)
    app.extensions["localsmith"].store.close()
    (folder / "made.json").write_text(json.dumps(made))


@pytest.fixture(scope="module")
def site(made_site, tmp_path_factory):
    """A served store with something of everything, for one module: its address, and what is in it."""
    path = tmp_path_factory.mktemp("site") / "site.db"
    shutil.copy(made_site / "site.db", path)
    with localsmith.serve(path) as server:
        yield server.url, json.loads((made_site / "made.json").read_text())


def agents(seed):
    dataset = seed.dataset("agents")
    (example,) = seed.examples(dataset, [(CHAT, {"answer": "word " * 2000})])
    session = seed.session("agent", dataset)
    root = seed.run(session, example, outputs=CHAT_ANSWER, seconds=4, name="agent")
    step = seed.run(session, parent=root, after=1, seconds=2, outputs={"celsius": 19}, name="weather", run_type="tool")
    (long,) = seed.examples(dataset, [({"task": "a long one"}, None)])
    long_root, failing = long_trace(seed, session, long)
    project = seed.session("production")
    for n in range(3):
        seed.run(project, outputs={"n": n}, after=n, name=f"live-{n}")
    return {
        "agents": dataset,
        "agent": session,
        "root": root,
        "step": step,
        "project": project,
        "long": long_root,
        "failing": failing,
    }


def reviewed(seed):
    """A review queue of hostile answers, with questions of every kind."""
    texts = [text for text in HOSTILE if "\x00" not in text]
    dataset = seed.dataset("reviewed")
    session = seed.session("secret model", dataset)
    examples = seed.examples(dataset, [({"q": text}, {"a": text}) for text in texts])
    runs = [
        seed.run(session, e, outputs={"a": t}, feedback=[{"key": "judge", "score": 1}])
        for e, t in zip(examples, texts, strict=True)
    ]
    configs = {
        "tone": {"type": "categorical", "categories": [{"value": 0, "label": "rude"}, {"value": 1, "label": "kind"}]},
        "stars": {"type": "continuous", "min": 1, "max": 5},
        "why": {"type": "freeform"},
    }
    for key, config in configs.items():
        seed.post("/feedback-configs", {"feedback_key": key, "feedback_config": config})
    rubric = [{"feedback_key": key, "description": texts[0]} for key in configs]
    body = {"name": "hostile queue", "rubric_items": rubric, "rubric_instructions": texts[1]}
    queue = seed.post("/annotation-queues", body)["id"]
    seed.post(f"/annotation-queues/{queue}/runs", [run["id"] for run in runs])
    return {"queue": queue}


def scored(seed):
    """One run with feedback of every kind, and one whose scores are still to come."""
    dataset = seed.dataset("scored")
    examples = seed.examples(dataset, [({"q": 1}, {"a": 2}), ({"q": 2}, {"a": 3})])
    session = seed.session("scored", dataset)
    run = seed.run(session, examples[0], outputs={"a": 2}, error="ValueError: no")
    for source in ("api", "model", "auto_eval", "app"):
        for score in (0, 0.5, 1):
            said = {"comment": f"said by {source}"} if score == 0.5 else {}
            seed.feedback(run, key=f"{source} {score}", score=score, feedback_source={"type": source}, **said)
        seed.feedback(run, key=f"{source} label", value="kind", feedback_source={"type": source})
    seed.feedback(run, key="broken", error=True, comment="TypeError: no judge")
    seed.feedback(run, key="right", correction={"a": 3})
    seed.run(session, examples[1], seconds=None)
    return {"scored": dataset, "scored session": session, "scored run": run, "scored example": examples[0]}


def empty(seed):
    """A dataset and a project without anything in them."""
    return {"empty": seed.dataset("empty"), "empty project": seed.session("empty project")}


def fine(seed):
    """A dataset whose charts have scales of many digits."""
    dataset = seed.dataset("fine")
    (example,) = seed.examples(dataset, [({"q": 1}, {"a": 2})])
    for n in range(3):
        scores = [{"key": "fine", "score": 0.97 + n / 200}, {"key": "huge", "score": (n - 1) * 1.25e16}]
        seed.run(seed.session(f"fine {n}", dataset), example, feedback=scores)
    return {"fine": dataset}


def hostile(seed):
    bad = HOSTILE[3]
    texts = [text for text in HOSTILE if "\x00" not in text]
    dataset = seed.dataset(HOSTILE[0], description=bad)
    examples = seed.examples(dataset, [({text: text}, {"href": text}) for text in texts], split=bad)
    session = seed.session(HOSTILE[1], dataset, description=bad, extra={"metadata": {bad: bad}})
    for example, text in zip(examples, texts, strict=True):
        run = seed.run(session, example, outputs={"text": text}, error=text, name=text[:100], tags=[text])
        seed.feedback(run, key=text, score=1, comment=text)
        seed.feedback(run, key="label", value=text)
    return {"bad": dataset, "bad session": session, "bad example": examples[0], "bad run": run}


def pairwise(seed):
    dataset = seed.dataset("pairs")
    (example,) = seed.examples(dataset, [({"q": 1}, None)])
    sessions = [seed.session(name, dataset) for name in ("left", "right")]
    comparative = seed.post("/datasets/comparative", {"experiment_ids": sessions, "name": "left or right"})["id"]
    for session, score in zip(sessions, (1, 0), strict=True):
        run = seed.run(session, example, outputs={"a": session[:4]})
        seed.feedback(run, key="preference", score=score, comparative_experiment_id=comparative)
    return {"pairs": dataset, "sides": ",".join(sessions), "comparative": comparative}


def wide(seed):
    """More metrics than a screen has room for, with long names; and six experiments with a long revision."""
    dataset = seed.dataset("wide")
    (example,) = seed.examples(dataset, [({"q": "word " * 60}, {"a": "word " * 60})])
    metadata = {"model": "gpt-5-mini", "revision_id": "0123456789abcdef" * 4}
    sessions = [seed.session(f"nightly-run-{n}-of-the-week", dataset, extra={"metadata": metadata}) for n in range(6)]
    for session in sessions:
        scores = [{"key": f"score_{n}_of_the_citations", "score": n / 12} for n in range(12)]
        seed.run(session, example, outputs={"a": "word " * 60}, feedback=scores)
    return {"wide": dataset, "wide sessions": sessions}


def is_expected(message):
    """The browser itself notes that a page is not there, even if the test asks for just that."""
    return "404" in message.text and message.location["url"].endswith("/nowhere")


@pytest.fixture(scope="session")
def tabs(browser):
    """One tab for each way of looking, opened when first wanted: starting one takes longer than a page."""
    found = {}

    def tab(scheme, scripts):
        if (scheme, scripts) not in found:
            context = browser.new_context(color_scheme=scheme, java_script_enabled=scripts)
            page = found[scheme, scripts] = context.new_page()
            page.site, page.complaints = None, []
            page.on("console", lambda message: is_expected(message) or page.complaints.append(message.text))
            page.on("pageerror", lambda error: page.complaints.append(str(error)))
            page.on("request", lambda r: r.url.startswith(page.site) or page.complaints.append(f"asked for {r.url}"))
        return found[scheme, scripts]

    yield tab
    for page in found.values():
        page.context.close()


@pytest.fixture
def open_page(site, tabs):
    """Open a page at a path below the tenant; when the test ends, nothing may have gone wrong or run there."""
    opened = []

    def open_page(path="", *, scheme="light", scripts=True):
        page = tabs(scheme, scripts)
        if page.site != site[0]:  # the page of another module may still ask its server, which is gone
            page.site = "about:blank"
            page.goto(page.site)
            page.context.clear_cookies()
            page.site = site[0]
        page.complaints.clear()
        page.set_viewport_size({"width": 1280, "height": 800})
        page.emulate_media(color_scheme=scheme)
        page.goto(f"{site[0]}/o/{TENANT}/{path}" if path else site[0])
        opened.append(page)
        return page

    yield open_page
    for page in opened:
        assert page.complaints == []
