"""localsmith: an embedded stand-in for LangSmith's REST API over one SQLite file.

with localsmith.serve("localsmith.db") as server:
    print(server.url)
"""

import sys

try:
    from localsmith.app import create_app
    from localsmith.server import Server, serve
    from localsmith.store import Store, StoreError, backup
except ModuleNotFoundError as error:
    if sys.argv[:1] != ["-m"]:  # `python -m localsmith`, whose own code is not reached then
        raise
    sys.exit(f"localsmith needs {error.name}: install the extra 'local' (langsmith-rest-experiments[local]).")

__all__ = ["Server", "Store", "StoreError", "backup", "create_app", "serve"]
