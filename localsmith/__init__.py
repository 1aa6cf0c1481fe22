"""localsmith: an embedded stand-in for LangSmith's REST API over one SQLite file.

with localsmith.serve("localsmith.db") as server:
    print(server.url)
"""

import sys
from importlib.util import find_spec

try:
    for name in ("flask", "waitress"):  # which are loaded when they are first used
        if not find_spec(name):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    from localsmith.app import App, create_app
    from localsmith.server import Server, serve
    from localsmith.store import Store, StoreError, backup
except ModuleNotFoundError as error:
    if sys.argv[:1] != ["-m"]:  # `python -m localsmith`, whose own code is not reached then
        raise
    sys.exit(f"localsmith needs {error.name}: install the extra 'local' (langsmith-rest-experiments[local]).")

__all__ = ["App", "Server", "Store", "StoreError", "backup", "create_app", "serve"]
