"""The command line: `uv run main.py` does what the installed command `langsmith-rest` does."""

from langsmith_rest.__main__ import run

if __name__ == "__main__":
    run()
