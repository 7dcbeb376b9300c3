"""The embedded default as a stranger meets it: real commands in real processes on SQLite, with their JSON and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.certs.api.test_issue import pem_csr
from tests.certs.x509.certificate.checkers import assert_certificate_is_sound
from tests.portal.forked import Loaded

ROOT = Path(__file__).resolve().parents[2]
SENTENCE = "Issue TLS certificate for api.example.com with RSA 4096, 90-day validity"


class Home:
    """A home folder of its own, and the commands run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def env(self) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PKI_", "DJANGO_"))}
        return {**env, "PKI_HOME": str(self.folder)}

    def run(self, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, ROOT / "manage.py", *arguments],
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return done.returncode, done.stdout, done.stderr

    def json(self, *arguments: str, stdin: str = "") -> tuple[int, Any]:
        code, out, err = self.run(*arguments, "--json", stdin=stdin)
        assert out, err
        return code, json.loads(out)


class HomeInUse(Home):
    """A home that was set up: its commands are forked from one process that has loaded the portal."""

    def __init__(self, folder: Path, loaded: Loaded) -> None:
        super().__init__(folder)
        self._loaded = loaded

    def run(self, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
        return self._loaded.run(*arguments, stdin=stdin)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = Home(tmp_path_factory.mktemp("home"))
    code, out, err = made.run("up", "--demo", "--no-serve")
    assert code == 0, err
    assert "login: demo   password:" in out
    with Loaded(made.env) as loaded:
        yield HomeInUse(made.folder, loaded)


def test_demo_answers_as_the_design_says_and_again_with_the_same(home: Home) -> None:
    code, first = home.json("up", "--demo", "--no-serve")
    assert code == 0
    assert first.keys() == {"success", "cert_id", "certificate", "serial_number", "expires_at", "audit_reference"}
    assert home.json("up", "--demo", "--no-serve") == (0, first)
    certificate = x509.load_pem_x509_certificate(first["certificate"].encode())
    assert certificate.public_key().key_size == 4096  # type: ignore[union-attr]


def test_issued_certificate_passes_strict_checkers(home: Home) -> None:
    _, told = home.json("issue", "Certificate for sound.example.com, P-256, 30 days")
    code, chain, err = home.run("shell", "-v", "0", "-c", "from certs.models import Chain; print(Chain.objects.get().pem)")
    assert code == 0, err
    leaf = x509.load_pem_x509_certificate(told["certificate"].encode())
    links = x509.load_pem_x509_certificates(chain.encode())
    ders = tuple(link.public_bytes(Encoding.DER) for link in links)
    assert_certificate_is_sound(leaf.public_bytes(Encoding.DER), ders, "sound.example.com", at=leaf.not_valid_before_utc)


def test_refusal_of_the_policy_is_exit_1_with_reason_version_and_suggestion(home: Home) -> None:
    code, told = home.json("issue", "Issue TLS certificate for api.example.com with RSA 2048")
    assert code == 1
    assert {name: told[name] for name in ("success", "error", "policy_version", "suggestion")} == {
        "success": False,
        "error": "Policy violation: Key size 2048 below minimum 3072",
        "policy_version": "v2.3",
        "suggestion": "Use RSA key size ≥ 3072 bits",
    }


def test_dry_run_shows_the_plan_and_makes_nothing(home: Home) -> None:
    before = home.run("shell", "-v", "0", "-c", "from certs.models import *; print(CertificateRequest.objects.count())")[1]
    code, told = home.json("issue", "Issue certificates for api-1 through api-3, all RSA 4096, 90 days", "--dry-run")
    assert (code, told["decision"], told["policy_version"], told["suggestion"]) == (0, "allow", "v2.3", None)
    planned = told["plan"][0]
    assert datetime.fromisoformat(planned.pop("expires_at")).tzinfo is not None
    assert planned == {
        "common_name": "api-1.example.com",
        "sans": ["api-1.example.com"],
        "key": "rsa-4096",
        "validity_days": 90,
        "not_after": None,
        "profile": "tls-server",
    }
    assert home.run("shell", "-v", "0", "-c", "from certs.models import *; print(CertificateRequest.objects.count())")[1] == before


def test_words_that_are_not_understood_say_where_and_what_works(home: Home) -> None:
    code, told = home.json("issue", "Issue TLS certificate for api.example.com with a banana")
    assert (code, told["success"]) == (1, False)
    assert {"error", "position", "example"} <= told.keys()


def test_csr_from_standard_input_is_issued_without_a_key(home: Home) -> None:
    code, told = home.json("issue", "--csr", "-", "--validity-days", "30", stdin=pem_csr("own.example.com"))
    assert (code, told["success"]) == (0, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("issue",),
        ("issue", "words", "--cn", "x"),
        ("issue", "--csr", "/no/such/file"),
        ("issue", "x", "--as", "nobody"),
        ("issue", "--cn", "a", "--team", "nope"),
        ("resume",),
        ("check_csr", "/no/such/file"),
        ("renew",),
        ("renew", "cert-1", "--new-key", "--keep-key"),
        ("revoke", "cert-1"),
        ("revoke", "cert-1", "--reason", "superseded", "--release"),
        ("revoke", "cert-1", "--reason", "superseded", "--as", "nobody"),
        ("ask",),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_2_and_says_what_is_right(home: Home, arguments: tuple[str, ...]) -> None:
    code, _, err = home.run(*arguments)
    assert (code, bool(err.strip()), "Traceback" in err) == (2, True, False)


@pytest.mark.parametrize("name", ["a", "a b.example.com", "evil.org", "-x.example.com", "x" * 300, "<script>", "*.com"])
def test_bad_names_are_refused_with_field_and_advice(home: Home, name: str) -> None:
    code, told = home.json("issue", f"--cn={name}")
    assert (code, told["success"]) == (1, False)
    assert told["error"]


def test_resume_of_nonsense_is_refused(home: Home) -> None:
    code, told = home.json("resume", "resume-nonsense")
    assert (code, told["type"]) == (1, "notFound")


def issued(home: Home, name: str) -> str:
    code, told = home.json("issue", f"Certificate for {name}, P-256, 30 days")
    assert code == 0, told
    return str(told["cert_id"])


def test_renew_answers_as_issuing_does_and_once(home: Home) -> None:
    cert_id = issued(home, "renewed.example.com")
    code, first = home.json("renew", cert_id)
    assert (code, first["renewed_from"], first["key"], first["already"]) == (0, cert_id, "kept", False)
    assert {"success", "cert_id", "certificate", "serial_number", "expires_at", "audit_reference"} <= first.keys()
    code, again = home.json("renew", cert_id)
    assert (code, again["cert_id"], again["already"]) == (0, first["cert_id"], True)
    code, refused = home.json("renew", cert_id, "--new-key")
    assert (code, refused["success"]) == (1, False)
    assert first["cert_id"] in refused["next_step"] + refused["error"]
    code, rotated = home.json("renew", first["serial_number"], "--new-key")
    assert (code, rotated["renewed_from"], rotated["key"]) == (0, first["cert_id"], "new")


def test_revoke_is_confirmed_by_the_own_ca_and_its_key_refused_and_destroyed(home: Home) -> None:
    cert_id = issued(home, "leaked.example.com")
    _, renewed = home.json("renew", cert_id)
    code, told = home.json("revoke", cert_id, "--reason", "key compromise", "--destroy-key")
    assert (code, told["status"], told["reason"], told["confirmed"]) == (0, "revoked", "keyCompromise", True)
    assert (told["key_blocked"], told["also_revoked"], told["key_destroyed"]) == (True, [renewed["cert_id"]], True)
    assert told["receipt"]["backend"] == "local"
    code, told = home.json("renew", cert_id)
    assert (code, told["type"]) == (1, "conflict")


def test_hold_is_released_by_command(home: Home) -> None:
    cert_id = issued(home, "held.example.com")
    assert home.json("revoke", cert_id, "--reason", "certificateHold")[1]["status"] == "revoked"
    code, told = home.json("revoke", cert_id, "--release")
    assert (code, told["status"], told["released"]) == (0, "good", True)
    code, told = home.json("revoke", cert_id, "--release")
    assert (code, told["type"]) == (1, "conflict")


def test_ask_shows_the_plan_of_each_workflow_and_does_it_with_yes(home: Home) -> None:
    cert_id = issued(home, "asked.example.com")
    code, plan = home.json("ask", "Certificate for words.example.com, P-256, 30 days")
    assert (code, plan["action"], plan["done"], plan["decision"]) == (0, "issue", False, "allow")
    assert home.json("ask", "Certificate for words.example.com, P-256, 30 days", "--yes")[1]["success"] is True
    code, plan = home.json("ask", f"Renew {cert_id} with a new key")
    assert (code, plan["action"], plan["key"], plan["done"]) == (0, "renew", "new", False)
    assert home.json("ask", f"Renew {cert_id} with a new key", "--yes")[1]["key"] == "new"
    sentence = f"Revoke certificate {cert_id} - reason: key compromise"
    code, plan = home.json("ask", sentence)
    assert (code, plan["action"], plan["reason"], plan["status"], plan["done"]) == (0, "revoke", "keyCompromise", "good", False)
    code, told = home.json("ask", sentence, "--yes")
    assert (code, told["status"], told["reason"]) == (0, "revoked", "keyCompromise")


def test_check_expiry_renews_what_is_due(home: Home) -> None:
    cert_id = issued(home, "due.example.com")
    move = (
        "from certs.models import Certificate as C; from datetime import timedelta as T; c=C.objects.get(cert_id='%s');"
        "C.objects.filter(pk=c.pk).update(not_before=c.not_before-T(25), not_after=c.not_after-T(25), alert_at=c.alert_at-T(25))"
    )
    assert home.run("shell", "-v", "0", "-c", move % cert_id)[0] == 0
    code, told = home.json("check_expiry")
    assert (code, told["success"], told["refused"], told["asked"]) == (0, True, [], [])
    (renewed,) = told["renewed"]
    assert (renewed["cert_id"], renewed["state"]) == (cert_id, "completed")
    assert renewed["renewed_by"].startswith("cert-")
    assert home.json("check_expiry")[1]["renewed"] == []


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (("revoke", "cert-5678", "--reason", "keyCompromise"), "notFound"),
        (("revoke", "4A:3F:2B", "--reason", "superseded"), "notFound"),
        (("revoke", "123456789", "--reason", "superseded"), "notFound"),
        (("revoke", "nonsense!", "--reason", "superseded"), "notFound"),
        (("revoke", "cert-5678", "--release"), "notFound"),
        (("renew", "cert-5678"), "notFound"),
        (("ask", "Renew cert-5678"), "notFound"),
        (("ask", "Revoke cert-5678 - superseded", "--yes"), "notFound"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_what_is_not_there_is_refused_with_its_kind(home: Home, arguments: tuple[str, ...], kind: str) -> None:
    code, told = home.json(*arguments)
    assert (code, told["success"], told["type"]) == (1, False, kind)
    assert told["next_step"]


def test_audit_verifies_and_a_change_behind_its_back_is_named(home: Home) -> None:
    assert home.run("seal_audit")[0] == 0
    code, told = home.json("verify_audit")
    assert (code, told["success"], told["first_bad"]) == (0, True, None)
    change = (
        "from django.db import connection as c; k=c.cursor();"
        "t=[r[0] for r in k.execute(\"select name from sqlite_master where type='trigger' and tbl_name='audit_event'\").fetchall()];"
        "[k.execute(f'drop trigger {n}') for n in t];"
        "k.execute(\"update audit_event set actor_name='somebody else' where id=(select min(id)+3 from audit_event)\")"
    )
    assert home.run("shell", "-v", "0", "-c", change)[0] == 0
    code, told = home.json("verify_audit")
    assert (code, told["success"]) == (1, False)
    assert told["first_bad"]["event_id"] is not None


def test_a_portal_that_was_never_set_up_says_what_to_run(tmp_path: Path) -> None:
    code, _, err = Home(tmp_path).run("issue", SENTENCE)
    assert (code, "bootstrap" in err, "Traceback" in err) == (1, True, False)


def test_many_in_one_sentence_are_an_order_with_progress(home: Home) -> None:
    words = "Issue certificates for many-1 through many-7, all P-256, 30 days"
    code, told = home.json("issue", words)
    assert (code, told["success"], told["total"], told["issued"], told["failed"]) == (0, True, 7, 7, 0)
    assert told["bulk_id"].startswith("bulk-")
    assert [one["success"] for one in told["certificates"]] == [True] * 7
    assert told["certificates"][6]["certificate"].startswith("-----BEGIN CERTIFICATE-----")
    code, told = home.json("ask", words.replace("many", "more"), "--yes")
    assert (code, told["issued"], told["bulk_id"].startswith("bulk-")) == (0, 7, True)
    code, out, err = home.run("issue", words.replace("many", "shown"))
    assert (code, "7/7 issued" in err, '"issued": 7' in out) == (0, True, True)
    code, told = home.json("issue", words.replace("P-256", "RSA 2048").replace("many", "weak"))
    assert (code, told["failed"], told["certificates"][0]["error"]) == (1, 7, "Policy violation: Key size 2048 below minimum 3072")
