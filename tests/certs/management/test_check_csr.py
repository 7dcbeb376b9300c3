"""`manage.py check_csr`: the gate's verdicts as JSON and as lines, exit codes, bounds, and the policy on request."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from certs.management.commands.check_csr import MAX_UNPACKED
from tests.certs.x509.csr.requests import CN, GOOD_ATTRIBUTES, OU, pem, rdn, request, requested, san

CORPUS = Path(__file__).resolve().parents[2] / "corpus" / "csr"
GOOD = CORPUS / "001_good_p256.pem"


def check(*arguments: str) -> tuple[int, str]:
    """(exit code, standard output)."""
    out = io.StringIO()
    try:
        call_command("check_csr", *arguments, stdout=out)
    except SystemExit as exc:
        return int(exc.code or 0), out.getvalue()
    return 0, out.getvalue()


def answers(*arguments: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(check(*arguments, "--json")[1])
    return found


def test_check_csr_all_accepted_ends_with_0() -> None:
    code, out = check(str(GOOD), "--json")
    assert (code, json.loads(out)) == (0, [{"file": str(GOOD), "verdict": "accept", "class": "", "field": "", "reason": ""}])


def test_check_csr_one_refused_among_good_ends_with_1() -> None:
    bad = CORPUS / "076_san_suffix_trick.pem"
    code, out = check(str(GOOD), str(bad), "--json")
    assert code == 1
    assert [(answer["verdict"], answer["class"], answer["field"]) for answer in json.loads(out)] == [
        ("accept", "", ""),
        ("reject", "forbidden_name", "san"),
    ]


def test_check_csr_whole_corpus_gets_its_verdicts() -> None:
    cases: list[dict[str, Any]] = json.loads((CORPUS / "cases.json").read_text())["cases"]
    judged = answers(*(str(CORPUS / case["file"]) for case in cases), "--domain", "example.test")
    assert [(answer["verdict"], answer["class"]) for answer in judged] == [(case["expect"], case["reason"]) for case in cases]


def test_check_csr_missing_file_is_wrong_usage() -> None:
    with pytest.raises(CommandError, match=r"no file .*absent\.pem") as caught:
        call_command("check_csr", str(GOOD), "absent.pem")
    assert caught.value.returncode == 2


def test_check_csr_without_a_file_is_wrong_usage() -> None:
    with pytest.raises(CommandError):
        call_command("check_csr")


def test_check_csr_domain_replaces_the_default_domains() -> None:
    assert [answer["class"] for answer in answers(str(GOOD), "--domain", "other.test")] == ["forbidden_name"]
    assert [answer["verdict"] for answer in answers(str(GOOD), "--domain", "other.test", "--domain", "Example.Test")] == ["accept"]


def test_check_csr_lines_for_people_say_what_is_left_behind(tmp_path: Path) -> None:
    file = tmp_path / "unit.pem"
    file.write_bytes(pem(request(subject=(rdn(OU, b"Web"),), attributes=GOOD_ATTRIBUTES)))
    assert check(str(file)) == (0, f"accept_strip      {file}  Not taken over: the subject's organizational unit.\n")


def test_check_csr_packed_bomb_is_refused_within_its_bound(tmp_path: Path) -> None:
    file = tmp_path / "bomb.gz"
    with gzip.open(file, "wb") as packed:
        for _ in range(MAX_UNPACKED // 1_000_000 + 2):
            packed.write(bytes(1_000_000))
    assert [answer["class"] for answer in answers(str(file))] == ["too_large"]


def test_check_csr_broken_gzip_is_malformed(tmp_path: Path) -> None:
    whole = gzip.compress(GOOD.read_bytes())
    for name, data in (("cut.gz", whole[:-20]), ("none.gz", GOOD.read_bytes())):
        (tmp_path / name).write_bytes(data)
        assert [answer["class"] for answer in answers(str(tmp_path / name))] == ["malformed"]


def test_check_csr_plain_file_beyond_the_limit_is_too_large(tmp_path: Path) -> None:
    file = tmp_path / "long.pem"
    file.write_bytes(b"x" * 70_000 + b"\n" + GOOD.read_bytes())
    assert [answer["class"] for answer in answers(str(file))] == ["too_large"]


def test_check_csr_works_without_a_database(django_db_blocker: Any) -> None:
    with django_db_blocker.block():
        assert check(str(GOOD))[0] == 0


@pytest.mark.django_db
def test_check_csr_policy_without_a_team_says_what_to_run() -> None:
    with pytest.raises(CommandError, match=r"manage\.py bootstrap"):
        call_command("check_csr", str(GOOD), "--policy")


@pytest.mark.django_db
@pytest.mark.usefixtures("twin_portal")
def test_check_csr_policy_refuses_what_the_gate_would_let_pass(tmp_path: Path) -> None:
    named = tmp_path / "named.pem"
    named.write_bytes(pem(request(subject=(rdn(CN, b"a.example.com"),), attributes=(requested(san("a.example.com")),))))
    small = CORPUS / "003_good_rsa2048.pem"
    assert [answer["verdict"] for answer in answers(str(named), str(small))] == ["accept", "accept"]
    judged = answers(str(named), str(small), "--policy")
    assert [(answer["verdict"], answer["field"]) for answer in judged] == [("accept", ""), ("reject", "policy")]
    assert judged[1]["reason"]
