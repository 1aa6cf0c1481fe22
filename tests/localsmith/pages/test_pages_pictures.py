"""The pictures of the documentation can be made again."""

import shutil
import subprocess
import sys

import pytest
from places import ROOT


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(not shutil.which("chromium"), reason="there is no 'chromium' on this machine")
def test_pictures_are_made_from_the_fixtures(tmp_path):
    """One command makes every picture that docs/ shows, each small enough to be kept."""
    command = [sys.executable, str(ROOT / "bench" / "screenshots.py"), "--folder", str(tmp_path / "images")]

    subprocess.run(command, check=True, cwd=tmp_path, timeout=300)

    made = {file.name for file in (tmp_path / "images").iterdir()}
    assert made == {file.name for file in (ROOT / "docs" / "images").iterdir()}
    assert max(file.stat().st_size for file in (tmp_path / "images").iterdir()) <= 200_000
