"""Evaluators that LangSmith runs itself: finding, uploading, replacing and deleting them. Each can be repeated."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests

from langsmith_rest import local
from langsmith_rest.connection import LangSmith, call, either, send
from langsmith_rest.errors import NotFound
from langsmith_rest.evaluation.api import PAGE, UUID, find_dataset, find_project, offer, read_dataset

# Fields that a PATCH sends back unchanged: LangSmith does not say whether it keeps omitted ones.
KEPT = (
    *("is_enabled", "dataset_id", "session_id", "filter", "trace_filter", "tree_filter", "extend_only", "transient"),
    *("use_corrections_dataset", "num_few_shot_examples", "add_to_dataset_id", "add_to_dataset_prefer_correction"),
    *("add_to_annotation_queue_id", "include_extended_stats", "group_by", "spend_limit", "alerts", "webhooks"),
)
KINDS = {"code_evaluators": "code", "evaluators": "judge", "evaluator_id": "shared"}

Confirm = Callable[[str], None]  # asks a person; raises LookupError when the answer is no
VIEW = "view --run-evaluators"  # the command that runs those of the local store


@dataclass(frozen=True)
class Target:
    """What an evaluator is attached to."""

    kind: str  # dataset or project
    id: str
    name: str

    @property
    def query(self) -> dict[str, str]:
        return {"dataset_id" if self.kind == "dataset" else "session_id": self.id}

    def __str__(self) -> str:
        return f"the {self.kind} {self.name!r}"


def find_target(api: LangSmith, dataset: str | None, project: str | None) -> Target | None:
    """The dataset or project with exactly this name, or id; raises LookupError with similar names."""
    if dataset is not None:
        found = read_dataset(api, dataset) if UUID.fullmatch(dataset) else find_dataset(api, dataset)
        return Target("dataset", found["id"], found["name"])
    if project is not None:
        found = find_project(api, project)
        return Target("project", found["id"], found["name"])
    return None


# ---------------------------------------------------------------- finding


def list_evaluators(api: LangSmith, target: Target | None) -> list[dict]:
    """The rules that evaluate; other rules send alerts, or add to datasets and queues."""
    return [rule for rule in list_rules(api, **(target.query if target else {})) if kind_of(rule)]


def kind_of(rule: dict) -> str | None:
    """code, judge, shared (LangSmith's reusable evaluators), or None for a rule that evaluates nothing."""
    return next((kind for field, kind in KINDS.items() if rule.get(field)), None)


def target_of(rule: dict) -> str:
    kind, name = ("dataset", "dataset") if rule.get("dataset_id") else ("project", "session")
    return f"{kind} {rule.get(f'{name}_name') or rule.get(f'{name}_id')}"


def find_evaluator(api: LangSmith, name: str, target: Target | None) -> dict:
    """The evaluator with exactly this name, or id.

    Raises LookupError with similar names if there is none, and with all of them if there are several.
    """
    known = list_evaluators(api, target)
    found = [rule for rule in known if rule["display_name"] == name] or [rule for rule in known if rule["id"] == name]
    if len(found) > 1:
        several = "\n".join(f"  {rule['id']}  {target_of(rule)}" for rule in found)
        raise LookupError(
            f"{len(found)} evaluators are named {name!r}: say which with --dataset or --project, or by id.\n{several}"
        )
    if not found:
        where = f" on {target}" if target else ""
        names = list(dict.fromkeys(rule["display_name"] for rule in known))
        raise NotFound(f"No evaluator {name!r}{where}{offer(name, names) or ': there are none.'}")
    return found[0]


# ---------------------------------------------------------------- uploading


def upload(
    api: LangSmith,
    name: str,
    target: Target,
    content: dict[str, Any],
    sampling_rate: float | None = None,
    confirm: Confirm | None = None,
) -> tuple[dict, str]:
    """Attach an evaluator to its target; return the rule, and whether it was created, replaced or unchanged.

    `content` is `{"code_evaluators": [...]}` or `{"evaluators": [...]}`. An existing one is replaced in place, if
    `confirm` agrees: at no moment is there none. Without `confirm`, LookupError says that it exists.
    """
    content = without_nulls(content)  # LangSmith refuses them in a judge
    same_name = [rule for rule in list_evaluators(api, target) if rule["display_name"] == name]
    if not same_name:
        body = {"display_name": name, "sampling_rate": 1.0 if sampling_rate is None else sampling_rate}
        return create_once(api, {**body, "is_enabled": True, **target.query, **content}, target), "created"
    if confirm is None:
        equal = ", with exactly this content" if any(holds(rule, content) for rule in same_name) else ""
        raise LookupError(f"{name!r} exists already on {target}{equal}: nothing was changed (--replace replaces it).")
    rule = find_evaluator(api, name, target)
    if kind_of(rule) not in {KINDS[field] for field in content}:
        raise LookupError(
            f"{name!r} on {target} is a {kind_of(rule)} evaluator, and no other kind can replace it: delete it first."
        )
    rate = rule["sampling_rate"] if sampling_rate is None else sampling_rate
    if holds(rule, content) and rate == rule["sampling_rate"]:
        return rule, "unchanged"
    confirm(f"Replace {name!r} on {target}?")
    kept = {field: rule[field] for field in KEPT if rule.get(field) is not None}
    body = {**kept, "display_name": name, "sampling_rate": rate, **content}
    return update_rule(api, rule["id"], body), "replaced"


def holds(rule: dict, content: dict[str, Any]) -> bool:
    """Whether a rule has this content; a server may add fields of its own to code."""
    codes = [{name: code.get(name) for name in ("language", "code")} for code in rule.get("code_evaluators") or ()]
    found = {**rule, "code_evaluators": codes}
    return all(without_nulls(found.get(field)) == value for field, value in content.items())


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def create_once(api: LangSmith, body: dict[str, Any], target: Target) -> dict:
    """Create a rule; if there are then several, keep the oldest.

    LangSmith chooses the ids of rules, so a request that is repeated because its answer was lost, or two people at the
    same time, create two. Whoever came last sees both, and everybody who sees both keeps the same one.
    """
    content = {field: body[field] for field in KINDS if field in body}
    created = create_rule(api, body)
    listed = [rule for rule in list_evaluators(api, target) if rule["display_name"] == body["display_name"]]
    same = [rule for rule in listed if holds(rule, content)] or [created]
    kept, *others = sorted(same, key=lambda rule: (rule["created_at"], rule["id"]))
    for other in others:
        delete_rule(api, other["id"])
    return kept


def code_content(code: str) -> dict[str, Any]:
    return {"code_evaluators": [{"language": "python", "code": code}]}


# ---------------------------------------------------------------- the calls


def list_rules(api: LangSmith, **query: str) -> list[dict]:
    """All rules, or those of a `dataset_id` or `session_id`, in the v1 form, in which rules are written."""
    v1 = ("GET", "/runs/rules", {"params": query})  # LangSmith serves it until 1 April 2027; it has no pages
    new = {V2_NAMES.get(name, name): value for name, value in query.items()}
    rules: list[dict] = []
    while True:
        v2 = ("GET", "/api/v2/runs/rules", {"params": {**new, "page_size": PAGE}})
        found = either(api, "rules", v1=v1, v2=v2)
        if isinstance(found, list):
            return found
        rules += map(v1_rule, found["items"])
        if not found.get("next_cursor"):
            return rules
        new["cursor"] = found["next_cursor"]


V2_NAMES = {"session_id": "project_id", "session_name": "project_name"}


def v1_rule(rule: dict) -> dict:
    """A rule of the v2 list in the form of v1, where choices are in lower case."""
    renamed = {old: rule[new] for old, new in V2_NAMES.items() if new in rule}
    found = {name: value for name, value in rule.items() if name not in V2_NAMES.values()} | renamed
    if found.get("group_by"):
        found["group_by"] = found["group_by"].lower()
    if found.get("code_evaluators"):
        codes = found["code_evaluators"]
        found["code_evaluators"] = [{**code, "language": code.get("language", "python").lower()} for code in codes]
    return found


def create_rule(api: LangSmith, rule: dict) -> dict:
    return call(api, "POST", "/runs/rules", json=rule, headers=local.token_headers(api.url))


def update_rule(api: LangSmith, rule_id: str, rule: dict) -> dict:
    return call(api, "PATCH", f"/runs/rules/{rule_id}", json=rule, headers=local.token_headers(api.url))


def delete_rule(api: LangSmith, rule_id: str) -> None:
    """Delete a rule; it is fine if it is already gone (an answer was lost)."""
    try:
        send(api, "DELETE", f"/runs/rules/{rule_id}", headers=local.token_headers(api.url))
    except requests.HTTPError as error:
        if error.response.status_code != 404:
            raise


def evaluate_experiment(api: LangSmith, experiment_id: str, rule_id: str) -> dict:
    """Let a rule score the runs that an experiment already has."""
    return call(api, "POST", f"/runs/experiments/{experiment_id}/evaluate", json={"rule_id": rule_id})
