"""`python -m langsmith_rest` does what the command `langsmith-rest` does."""

import signal


def run() -> None:
    """Run the command line. Until it has been loaded, Ctrl-C just ends the process, without a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from langsmith_rest.commands.main import run

    run()


if __name__ == "__main__":
    run()
