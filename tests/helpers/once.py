"""What takes long to make, and is only read: made once for all processes that run tests."""

import fcntl
import os


def once(tmp_path_factory, name, make):
    """The folder `name` of this test run, which `make(folder)` fills for whoever asks first; the others wait."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # that of all workers
    done = root / f"{name}.done"
    with open(root / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            (root / name).mkdir()
            make(root / name)
            done.touch()
    return root / name
