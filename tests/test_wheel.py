"""Test what an installed package gives: the command, the Python names, the sample files, and nothing of a checkout."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from places import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nothing_set")]
RECORD = """
from langsmith_rest import connect, record_langsmith_experiment
from recorder import record_langsmith_experiment as the_same

assert the_same is record_langsmith_experiment
recording = record_langsmith_experiment("d", [{"inputs": {"q": 1}, "outputs": {"a": 2}}])
print(recording.runs_recorded)
"""


def uv(*arguments, **options):
    """Run uv; returns what it printed to stdout."""
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    done = subprocess.run(
        ["uv", *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=300, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--wheel", "--out-dir", folder, ROOT)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def bin_folder(wheel, tmp_path_factory):
    """The programs of a fresh environment that holds the wheel with its extras."""
    environment = tmp_path_factory.mktemp("fresh") / "venv"
    uv("venv", "--python", sys.executable, environment)
    folder = environment / ("Scripts" if os.name == "nt" else "bin")
    uv("pip", "install", "--python", folder / "python", f"{wheel}[local]")
    return folder


def run(program, *arguments, **environment):
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "UV")}
    return subprocess.run(
        [program, *arguments], env=variables | environment, capture_output=True, text=True, timeout=120
    )


def test_wheel_claims_four_names_and_holds_the_samples(wheel):
    """Nothing of the tests or the documentation is installed."""
    names = zipfile.ZipFile(wheel).namelist()

    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert top == {"recorder.py", "rest.py", "langsmith_rest", "localsmith"}
    assert "langsmith_rest/fixtures/results.jsonl" in names and "localsmith/schema.sql" in names


@pytest.mark.parametrize("command", [["langsmith-rest"], ["python", "-m", "langsmith_rest"]], ids=" ".join)
def test_installed_command_records_the_samples_from_any_folder(bin_folder, command):
    """Modules of the user's, such as a package `evaluation`, are left alone; hints name the command as typed."""
    Path("evaluation").mkdir()
    Path("evaluation", "__init__.py").write_text("raise SystemExit('this is the package of the user')")

    done = run(bin_folder / command[0], *command[1:])

    assert done.returncode == 0, done.stderr
    assert "fixtures/results.jsonl: 5 results recorded" in done.stderr
    assert f"{' '.join(command)} view" in done.stderr and "main.py" not in done.stdout + done.stderr
    assert re.search(r"selectedSessions=[0-9a-f-]{36}$", done.stdout.strip())


def test_demo_of_backtest_is_installed(bin_folder):
    """It needs sample files as well."""
    done = run(bin_folder / "langsmith-rest", "backtest", "--demo")

    assert done.returncode in (0, 1), done.stderr
    assert "candidate" in done.stdout and "selectedSessions=" in done.stdout


def test_installed_package_records_from_python(bin_folder, server):
    """Both import paths are the same function."""
    done = run(bin_folder / "python", "-c", RECORD, LANGSMITH_ENDPOINT=server.url)

    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_core_needs_two_packages(wheel, server, tmp_path):
    """Without the extras, `requests` and `python-dotenv` (with what they need) record in LangSmith."""
    environment = tmp_path / "core"
    uv("venv", "--python", sys.executable, environment)
    uv("pip", "install", "--python", environment / "bin" / "python", wheel)

    done = run(environment / "bin" / "python", "-c", RECORD, LANGSMITH_ENDPOINT=server.url)
    installed = uv("pip", "freeze", "--python", environment / "bin" / "python")

    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    of_requests = {"certifi", "charset-normalizer", "idna", "urllib3"}
    names = {re.split("[ =@]", line)[0] for line in installed.splitlines()}
    assert names - of_requests == {"langsmith-rest-experiments", "python-dotenv", "requests"}


def test_uvx_records_the_samples(wheel):
    """`uvx --from PATH langsmith-rest` gets what the local store needs by itself."""
    done = run("uvx", "--from", wheel, "langsmith-rest")

    assert done.returncode == 0, done.stderr
    assert "5 results recorded" in done.stderr and "selectedSessions=" in done.stdout
