"""`python -m langsmith_rest` does what the command `langsmith-rest` does."""

from langsmith_rest.commands.main import run

if __name__ == "__main__":
    run()
