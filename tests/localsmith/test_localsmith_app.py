"""The route table, and what is answered where it has nothing."""

import re
from importlib import import_module

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


@pytest.mark.parametrize("handler", sorted({route.handler for route in ROUTES}))
def test_every_route_has_its_handler(handler):
    """They are loaded with the first request, so a wrong name would be found only then."""
    module, _, function = handler.partition(".")

    assert callable(getattr(import_module(f"localsmith.routes.{module}"), function))


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


@pytest.mark.parametrize("path", ["/datasets/", "//datasets", "/api/v1//datasets"])
def test_slashes_too_many_do_no_harm(api, path):
    """An endpoint that ends with a slash works, too."""
    assert api.session.get(api.url + path, allow_redirects=False).json() == []


def test_other_methods_are_told_the_right_ones(api):
    """HEAD is allowed wherever GET is."""
    answer = api.session.request("OPTIONS", f"{api.url}/feedback-configs")

    assert (answer.status_code, answer.headers["Allow"]) == (405, "DELETE, GET, HEAD, PATCH, POST")
    assert api.session.head(f"{api.url}/datasets").status_code == 200
