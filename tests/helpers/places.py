"""Where things are."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
MAIN = ROOT / "main.py"
FIXTURES = ROOT / "fixtures"
SHARED = ROOT.parent / "shared"  # real data and the official contract; tests that need it skip where it is absent
