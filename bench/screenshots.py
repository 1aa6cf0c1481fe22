"""Make the pictures of the documentation, docs/images/*.png, from the real results in fixtures/.

    uv run --group dev bench/screenshots.py

Needs a Chromium on this machine. Each picture is at most 200 KB.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import requests  # noqa: E402
from playwright.sync_api import Page, sync_playwright  # noqa: E402

import localsmith  # noqa: E402

FIXTURES = ROOT / "fixtures"
MODELS = ("6b_finetuning", "175b_finetuning", "175b_verification")
MAX_BYTES = 200_000
WIDTH, HEIGHT = 1280, 720


def fill(url: str) -> None:
    """Record the fixtures in the store at `url`, through the command line as a user would."""
    os.environ.update(LANGSMITH_ENDPOINT=url, LANGSMITH_API_KEY="local")
    from langsmith_rest.commands.main import main

    for model in MODELS:
        file = str(FIXTURES / "gsm8k" / f"{model}.jsonl")
        words = ["record", file, "--dataset", "gsm8k", "--experiment", model, "--metadata", f"model={model}"]
        assert main(words) == 0, f"recording {file} failed"
    load = str(FIXTURES / "production_runs.jsonl")
    assert main(["backtest", "--project", "tweet-writer", "--load", load]) == 0, f"loading {load} failed"


class Store:
    """What the addresses of the pages need: ids by name."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sessions = {item["name"]: item for item in self.get("/sessions")}
        self.datasets = {item["name"]: item["id"] for item in self.get("/datasets")}
        tenant = next(iter(self.get("/datasets")))["tenant_id"]
        self.pages = f"{url}/o/{tenant}"

    def get(self, path: str, **params: str) -> list[dict]:
        answer = requests.get(
            self.url + path, params={"limit": "100", **params}, headers={"x-api-key": "x"}, timeout=30
        )
        answer.raise_for_status()
        return answer.json()

    def compare(self, *names: str, query: str = "") -> str:
        first = self.sessions[names[0]]
        ids = ",".join(self.sessions[name]["id"] for name in names)
        return f"{self.pages}/datasets/{first['reference_dataset_id']}/compare?selectedSessions={ids}{query}"

    def project(self, name: str) -> str:
        return f"{self.pages}/projects/p/{self.sessions[name]['id']}"


def open_worst(page: Page) -> None:
    """Read the worst regression beside the list."""
    page.get_by_role("link", name="regressed").first.click()
    page.wait_for_url("**show=regressed**")
    page.keyboard.press("Enter")
    page.locator("#panel").wait_for()


def open_trace(page: Page) -> None:
    """Look at one step of the first trace in the list."""
    page.locator("tbody th a").first.click()
    step = page.locator(".tree li a").nth(1)
    step.click()
    page.wait_for_url("**/" + str(step.get_attribute("href")))


def pictures(store: Store) -> list[tuple]:
    """(name, address, colours, what to do first)"""
    compared = store.compare("6b_finetuning", "175b_verification")
    lines = store.compare(*MODELS, query="&view=compact#examples")
    return [
        ("compare-light", compared, "light", None),
        ("compare-dark", compared, "dark", None),
        ("row", compared, "light", open_worst),
        ("compact", lines, "light", None),
        ("dataset", f"{store.pages}/datasets/{store.datasets['gsm8k']}", "light", None),
        ("trace", store.project("tweet-writer"), "light", open_trace),
    ]


def take(store: Store, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or sys.exit("There is no 'chromium' on this machine.")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for name, address, colours, first in pictures(store):
            page = browser.new_page(color_scheme=colours, viewport={"width": WIDTH, "height": HEIGHT})
            page.goto(address)
            if first:
                first(page)
            page.evaluate("document.querySelector('.status-line')?.replaceChildren()")
            page.screenshot(path=folder / f"{name}.png")
            page.close()
            size = (folder / f"{name}.png").stat().st_size
            assert size <= MAX_BYTES, f"{name}.png has {size:,} bytes"
            print(f"{name}.png {size // 1000} KB of {urlsplit(address).path}")
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "images")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, localsmith.serve(Path(folder) / "pictures.db") as server:
        fill(server.url)
        take(Store(server.url), arguments.folder)


if __name__ == "__main__":
    main()
