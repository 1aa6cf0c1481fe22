"""localsmith: an embedded stand-in for LangSmith's REST API over one SQLite file.

with localsmith.serve("localsmith.db") as server:
    print(server.url)
"""

from localsmith.app import create_app
from localsmith.server import Server, serve
from localsmith.store import Store, StoreError

__all__ = ["Server", "Store", "StoreError", "create_app", "serve"]
