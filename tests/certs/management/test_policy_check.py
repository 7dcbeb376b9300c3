"""`policy_check` as CI runs it: its exit code says whether the policy is fine, has faults, or could not be checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection

from audit.log import Actor
from db.clock import database_now
from policy.drafting import draft_version
from policy.models import PolicyVersion
from policy.presets import DEFAULT_V2_3
from policy.publishing import publish_version
from policy.rules import ruleset_from_dict
from policy.texts.yaml_text import MOST_BYTES, ruleset_to_yaml
from tests.certs.replay.test_verdicts import stricter
from tests.portal.commands import run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
ROOT = Path(__file__).resolve().parents[3]
FINE, FAULTS, NOT_CHECKED = 0, 1, 2
SYSTEM = Actor("system", "test")


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A file with a policy of 45 days."""
    file = tmp_path / "policy.yaml"
    file.write_text(ruleset_to_yaml(ruleset_from_dict(stricter(max_validity={"days": 45}))))
    return file


@pytest.fixture
def in_force() -> PolicyVersion:
    now = database_now()
    return publish_version(draft_version("default", DEFAULT_V2_3, actor=SYSTEM, now=now), actor=SYSTEM, now=now)


def test_policy_without_faults_is_compared_and_replayed(policy: Path, in_force: PolicyVersion) -> None:
    code, answer = run("policy_check", str(policy))
    assert (code, answer["success"], answer["checked"]) == (FINE, True, True)
    assert answer["compared_with"] == in_force.version
    assert "max_validity" in {one["rule"] for one in answer["changes"]}
    assert set(answer["replay"].values()) == {0}
    code, answer = run("policy_check", str(policy), "--no-replay")
    assert (code, answer["compared_with"], answer["replay"]) == (FINE, in_force.version, None)


def test_database_without_a_policy_in_force_is_not_success(policy: Path) -> None:
    code, answer = run("policy_check", str(policy))
    assert (code, answer["success"], answer["checked"]) == (NOT_CHECKED, False, False)
    assert "nothing to compare with" in answer["error"]
    assert "bootstrap" in answer["next_step"]
    assert "--no-compare" in answer["next_step"]


def test_comparison_is_left_out_where_that_is_asked(policy: Path) -> None:
    code, answer = run("policy_check", str(policy), "--no-compare")
    assert (code, answer["success"], answer["compared_with"]) == (FINE, True, None)


def test_database_that_fails_during_the_replay_is_not_success(policy: Path, in_force: PolicyVersion) -> None:
    def lost(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if "certs_certificate" in sql:
            raise OperationalError("server closed the connection unexpectedly\nLINE 1: SELECT secret")
        return execute(sql, *rest)

    with connection.execute_wrapper(lost):
        code, answer = run("policy_check", str(policy))
    assert (code, answer["success"]) == (NOT_CHECKED, False)
    assert "server closed the connection" in answer["error"]
    assert "secret" not in json.dumps(answer)


def test_stored_policy_that_is_corrupt_is_not_success(policy: Path) -> None:
    now = database_now()
    draft = draft_version("default", DEFAULT_V2_3, actor=SYSTEM, now=now)
    draft.digest, draft.state = "0" * 64, PolicyVersion.State.PUBLISHED
    draft.published_at = draft.effective_from = now
    draft.published_by = "somebody at the table"
    draft.save()
    code, answer = run("policy_check", str(policy))
    assert (code, answer["success"], answer["checked"]) == (NOT_CHECKED, False, False)
    assert "do not match their digest" in answer["error"]


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("version: [v1\nrules: {", 2, "This is not YAML"),
        ("version: v1\nrules:\n  no_such_rule: {}\n", 3, "no_such_rule"),
        (BOMB, 1, "Anchors and aliases"),
        ("[" * 5000, 1, "nested"),
        ("!!python/object/apply:os.system [id]", 1, "Tags"),
        ("", 0, "empty"),
        ("\x00", 0, "not YAML"),
    ],
    ids=["broken", "unknown rule", "bomb", "deep", "tag", "empty", "no text"],
)
def test_text_with_faults_names_them(text: str, line: int, message: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    code, answer = run("policy_check", str(file))
    assert (code, answer["success"], answer["checked"]) == (FAULTS, False, True)
    assert any(message in f"{one['field']} {one['message']}" and one["line"] == line for one in answer["faults"]), answer


@pytest.mark.parametrize("size", [MOST_BYTES + 1, 10_000_000])
def test_text_that_is_too_long_is_not_read_whole(size: int, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_bytes(b"#" * size)
    code, answer = run("policy_check", str(file))
    assert (code, answer["faults"][0]["message"]) == (FAULTS, "The text is too long: a policy has at most 65,536 bytes.")


def test_what_cannot_be_read_is_not_checked(tmp_path: Path) -> None:
    for path, why in ((tmp_path, "Is a directory"), (tmp_path / "none.yaml", "No such file")):
        code, answer = run("policy_check", str(path))
        assert (code, answer["success"], answer["checked"]) == (NOT_CHECKED, False, False)
        assert why in answer["error"]
        assert answer["next_step"]
