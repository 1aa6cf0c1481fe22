"""The route table, and what is answered where it has nothing."""

import re

import pytest
from localsmith_api import Api, new_id
from places import ROOT

from localsmith.api import ROUTES


@pytest.fixture
def api(server):
    return Api(server.url)


def test_docs_list_every_route():
    """docs/clients.md, which the 404 of an unknown route names, lists exactly what is there."""
    listed = re.findall(r"^\| `(/\S+)` \| ([A-Z, ]+) \|$", (ROOT / "docs" / "clients.md").read_text(), re.M)

    documented = {(method, path) for path, methods in listed for method in methods.split(", ")}

    assert documented == {(route.method, re.sub(r"<(\w+)>", r"{\1}", route.path)) for route in ROUTES}


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/feedback/tokens"), ("GET", "/sessions/resolutions"), ("POST", "/runs/group"), ("GET", "/prompts/x")],
)
def test_unknown_routes_are_one_404(api, method, path):
    """A word where an id could stand is a route that is not here, and no malformed id."""
    answer = api.session.request(method, api.url + path, json={} if method == "POST" else None)

    assert answer.status_code == 404
    assert (
        answer.json()["detail"]
        == f"Not Found: {method} {path} is not in this embedded store; docs/clients.md lists what is"
    )


def test_malformed_ids_are_still_told_so(api):
    assert api.session.get(f"{api.url}/datasets/{new_id()[:-1]}").status_code == 422
