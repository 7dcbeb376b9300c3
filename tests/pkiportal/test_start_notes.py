"""A process says at its start which variables it does not read, and which settings will hardly be what somebody wants."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.exceptions import ImproperlyConfigured

from pkiportal.start_notes import doubtful, open_files, unread
from tests.deploy.compose import compose
from tests.pkiportal.test_settings import BAD, GOOD, ROOT, production

NAMES = {*BAD, "VAULT_ROLE_ID", "VAULT_SECRET_ID", "VAULT_SECRET_ID_FILE"}


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("PKI_SECOND_FACTOR_ROLE", "PKI_SECOND_FACTOR_ROLES"),
        ("PKI_CRL_VALID_HOUR", "PKI_CRL_VALID_HOURS"),
        ("PKI_OPERATOR_EMAILS_FILE", "PKI_OPERATOR_EMAILS"),  # no secret, so it has no file
        ("PKI_LIVE_NETWORK", "PKI_LIVE_NETWORKS"),
        ("pki_renew_budget", "PKI_RENEW_BUDGET"),
        ("PKI_RENEW_BEFORE_DAY", "PKI_RENEW_BEFORE_DAYS"),
        ("VAULT_ROLEID", "VAULT_ROLE_ID"),
    ],
)
def test_misspelt_variable_is_named_with_the_nearest_setting(misspelt: str, meant: str) -> None:
    """Its default holds, and nothing else would say so."""
    (line,) = unread({misspelt: "zz", meant: "zz"}, NAMES)
    assert line.startswith(f"{misspelt} is set and has no effect")
    assert f"Did you mean {meant}?" in line
    assert "zz" not in line


def test_variable_without_a_likeness_is_named() -> None:
    (line,) = unread({"PKI_COLOUR": "zz"}, NAMES)
    assert "PKI_COLOUR is set and has no effect" in line
    assert "Did you mean" not in line


@pytest.mark.parametrize(
    "name",
    [
        "PKI_PORTAL_HOST",  # of the compose file's proxy
        "PKI_TOKEN",
        "PKI_TEST_DATABASE_URL",
        "PKI_PORTAL_SERVICE_HOST",  # Kubernetes, for a service "pki-portal"
        "PKI_PORTAL_SERVICE_PORT_HTTP",
        "PKI_PORTAL_PORT",
        "PKI_PORTAL_PORT_8000_TCP_ADDR",
        "VAULT_SKIP_VERIFY",  # of Vault's own program
        "VAULT_CAPATH",
        "PATH",
    ],
)
def test_variable_of_another_program_is_left_alone(name: str) -> None:
    assert list(unread({name: "x"}, NAMES)) == []


def test_every_documented_setting_is_read_or_said_to_have_no_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of the environment of a whole installation give no line in its own process."""
    production(monkeypatch)
    assert list(unread(dict.fromkeys(set(BAD) - {"PKI_HOME", "PKI_DEBUG", "PKI_SINGLE_OFFICER"}, "x"))) == []


def test_nothing_that_compose_passes_on_is_without_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    production(monkeypatch)
    services = {name: one.get("environment", {}) for name, one in compose()["services"].items() if one["image"].startswith("pki-portal")}
    assert {name: list(unread(environment)) for name, environment in services.items()} == {name: [] for name in services}


def test_vault_without_a_login_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused at the first key only, long after the start."""
    (line,) = doubtful(SimpleNamespace(**production(monkeypatch)))
    assert "VAULT_ADDR is set without a login" in line
    login = {"VAULT_ROLE_ID": "role", "VAULT_SECRET_ID": "secret"}
    assert list(doubtful(SimpleNamespace(**production(monkeypatch, **login)))) == []
    assert list(doubtful(SimpleNamespace(**production(monkeypatch, VAULT_TOKEN="token")))) == []
    assert list(doubtful(SimpleNamespace(**production(monkeypatch, VAULT_ADDR=None, PKI_VAULT_PKI_ROLE=None)))) == []


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "pki.localhost:8000", "127.0.0.1", "127.1.2.3:80", "[::1]", "[::]"])
def test_address_in_certificates_is_no_clients_own_machine(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would stand in every certificate: each client would ask itself for the CRL."""
    with pytest.raises(ImproperlyConfigured, match=r"^PKI_BASE_URL "):
        production(monkeypatch, PKI_BASE_URL=f"http://{host}")


def test_doubtful_addresses_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = production(monkeypatch, VAULT_TOKEN="token", PKI_BASE_URL="http://pki", PKI_PORTAL_URL="https://localhost")
    lines = list(doubtful(SimpleNamespace(**settings)))
    assert [line.split()[0] for line in lines] == ["PKI_BASE_URL", "PKI_PORTAL_URL"]


def test_mails_come_from_the_portals_own_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    """example.com says that no host may send its mails: receivers would refuse all of them."""
    assert production(monkeypatch)["DEFAULT_FROM_EMAIL"] == "pki-portal@pki.example.com"
    given = production(monkeypatch, PKI_FROM_EMAIL="PKI <pki@corp.example>")
    assert given["DEFAULT_FROM_EMAIL"] == "PKI <pki@corp.example>"
    assert production(monkeypatch, PKI_PORTAL_URL="https://192.0.2.1:8443")["DEFAULT_FROM_EMAIL"] == "pki-portal@example.com"


def test_secrets_that_everybody_can_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the operator finds them: the file of a setting, the sealing key, a token of a CA. A certificate is no secret."""
    names = {"secret_id": 0o644, "role_id": 0o640, "audit.key": 0o606, "token": 0o604, "closed": 0o600, "token.pem": 0o644}
    for name, mode in names.items():
        (tmp_path / name).write_text("zz")
        (tmp_path / name).chmod(mode)
    environment = {"VAULT_SECRET_ID_FILE": str(tmp_path / "secret_id"), "VAULT_ROLE_ID_FILE": str(tmp_path / "role_id")}
    settings = production(monkeypatch, PKI_AUDIT_HOME=str(tmp_path), PKI_CA_CREDENTIALS=str(tmp_path), **environment)
    (line,) = open_files(environment, SimpleNamespace(**settings))
    folder = re.escape(str(tmp_path))
    assert set(re.findall(rf"{folder}/([\w.]*\w)", line)) == {"secret_id", "audit.key", "token"}
    assert "chmod o-rwx" in line
    assert list(open_files({"SECRET_KEY_FILE": "/run/secrets/x"}, SimpleNamespace(**production(monkeypatch)))) == []


@pytest.mark.parametrize(
    "command",
    [
        ["manage.py", "check"],
        ["-m", "gunicorn", "pkiportal.wsgi:application", "--check-config"],
        ["-m", "celery", "-A", "pkiportal", "report"],
    ],
)
def test_every_process_says_it_at_its_start(command: list[str], tmp_path: Path) -> None:
    own = {**GOOD, "PATH": os.environ["PATH"], "HOME": str(tmp_path), "DJANGO_SETTINGS_MODULE": "pkiportal.settings.production"}
    own |= {"PKI_SECOND_FACTOR_ROLE": "zzapprover", "PKI_STATIC_ROOT": str(tmp_path), "PKI_ALARM_EVERY_SECONDS": "0"}
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=own, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr.count("PKI_SECOND_FACTOR_ROLE is set and has no effect") == 1, done.stderr
    assert "zzapprover" not in done.stdout + done.stderr
