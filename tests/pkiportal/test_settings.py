"""Every setting is validated before the first lasting effect; an error names it and never repeats its value."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from certs.enums import Role
from pkiportal.bootstrapping import Bootstrap
from pkiportal.logs import redacted

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ("base", "production", "embedded")
GOOD = {
    "SECRET_KEY": "k" * 50,
    "DATABASE_URL": "postgres://portal:secret@db/portal",
    "REDIS_URL": "redis://portal:secret@redis:6379/0",
    "EMAIL_URL": "smtp+tls://user:secret@mail.example.com:587",
    "PKI_ALLOWED_HOSTS": "pki.example.com",
    "PKI_TRUSTED_ORIGINS": "https://pki.example.com",
    "PKI_BASE_URL": "http://pki.example.com",
    "PKI_OPERATOR_EMAILS": "operators@example.com",
}
URLS = ("DATABASE_URL", "REDIS_URL", "EMAIL_URL")
NUMBERS = ("", "-1", "1.5", "zz9", "²", "9" * 20, "0x10")
SWITCHES = ("ja", "2", "tru e")
# Octets that are no UTF-8, as Python reads them from the environment; characters that nobody sees.
UNSEEN = ("zz\udcff", "zz\u202ezz", "zz\u200bzz", "zz\u2028zz")
NAMES = ("zz" * 40, "zz\x01", "", *UNSEEN)
MOUNTS = ("zz top", "../zz", "zz?", "zz\u00e4", "", "/")
FILES = ("/nonexistent/zzfile", "/etc", "/etc/passwd")
TOKENS = ("zz" * 10 + "\n" + "zz", "zz\u00e4" * 10, "zz zz" * 5, *(one * 8 for one in UNSEEN))
ADDRESSES = ("vault.zz:8200", "ftp://zz.example", "https://", "https://zz.example:port", "https://zz.example/v1", "https://zz\n.example")

# Values that must be refused. Where one has a part that must not be seen, that part is zz, or the value itself.
BAD: dict[str, tuple[str, ...]] = {
    "DATABASE_URL": (
        "",
        "postgres://portal:p/zz@db/portal",
        "postgres://portal:p?zz@db/portal",
        "postgres://portal:p#zz@db/portal",
        "postgres://portal:zz@db:port/portal",
        "postgres://portal:zz@db:99999/portal",
        "postgres://portal:zz@db/",
        "mysql://portal:zz@db/portal",
        "sqlite:///zz.sqlite3",
        "host=db password=zz",
        "postgres://portal:z z@db/portal",
        "postgres://portal:secret@db/portal?zzoption=1",
        "postgres://portal:zz\udcff@db/portal",
    ),
    "REDIS_URL": (
        "",
        "redis:6379",
        "zz:6379/0",
        "http://zz:6379",
        "redis://:p/zz@redis:6379/0",
        "redis://:p#zz@redis:6379/0",
        "redis://:p?zz@redis:6379/0",
        "redis://:zz@redis:port/0",
        "redis://:zz@/0",
        "redis://:zz@redis:6379/name",
        "redis://:zz@redis:6379/0?db=zz",
        "redis://:zz@redis:6379/0?zz=1",
        "redis://:zz@redis:6379/0?ssl_cert_reqs=required",
        "rediss://:zz@redis:6379/0?ssl_zz=1",
        "rediss://:zz@redis:6379/0?ssl_cert_reqs=zz",
        "rediss://:zz@redis:6379/0?ssl_ca_certs=/nonexistent/zz",
    ),
    "EMAIL_URL": (
        "",
        "mail.zz.example:587",
        "imap://user:zz@mail.example.com",
        "smtp+tls://user:p/zz@mail.example.com:587",
        "smtp+tls://user:p?zz@mail.example.com:587",
        "smtp+tls://user:p#zz@mail.example.com:587",
        "smtp+tls://user:zz@mail.example.com:smtp",
        "smtp+tls://user:zz@mail.example.com:465",
        "smtps://user:zz@mail.example.com:587",
        "dummymail://zz",
        "filemail:///etc/passwd",
    ),
    "PKI_ALLOWED_HOSTS": (
        "https://zz.example",
        "zz.example:443",
        "zz.example/",
        "a.example;zz.example",
        "a.example zz.example",
        "zzä.example",
        "zz.example.",
        "*.zz.example",
        "999.1.1.1",
    ),
    "PKI_TRUSTED_ORIGINS": ("zz.example", "ftp://zz.example", "https://zz.example/login", "https://a.example;https://zz.example"),
    "PKI_TRUSTED_PROXIES": ("proxy.zz", "10.0.0.300", "10.0.0.1/8", "10.0.0.1;10.0.0.2", "0.0.0.0/0", "::/0", "::ffff:10.0.0.0/104"),
    "PKI_BASE_URL": (
        "zz.example",
        "https://zz.example",
        "http://",
        "http://zz.example/pki",
        "http://zz.example:port",
        "http://user@zz.example/x",
        "http://user:zz@zz.example",
        "http://zz.example?zz",
        "http://zz example",
        "http://zzä.example",
        "/",
        "http://zz.example:",
        "http://[fe80::1%25zz]",
        "http://localhost",
        "http://zz.localhost:8000",
        "http://127.0.0.1",
        "http://[::1]",
    ),
    "PKI_PORTAL_URL": (
        "/",
        "zz.example",
        "ftp://zz.example",
        "https://zz.example/portal",
        "https://zz.example:port",
        "https://",
    ),
    "PKI_OPERATOR_EMAILS": ("a@example.com;zz@example.com", "a@example.com zz@example.com", "zz", "zz@", ",", "zz@example.com\nBcc: a@b.c"),
    "PKI_REPORT_EMAILS": ("a@example.com;zz@example.com", "zz", "zz@", "zz@example.com\nBcc: a@b.c"),
    "PKI_CA_NETWORKS": ("zz", "10.0.0.300", "10.0.0.1/8", "10.0.0.1;10.0.0.2", "::ffff:10.0.0.0/104"),
    "PKI_LIVE_NETWORKS": ("zz", "10.0.0.300", "10.0.0.1/8", "10.0.0.1;10.0.0.2", "::ffff:10.0.0.0/104"),
    "PKI_WEBHOOK_NETWORKS": ("proxy.zz", "10.0.0.300", "10.0.0.1/8", "10.0.0.1;10.0.0.2", "::ffff:10.0.0.0/104"),
    "PKI_FROM_EMAIL": ("zz", "zz@", "Portal <zz>", "zz@example.com\nBcc: a@b.c", "<zz@example.com", "zz@example.com, a@b.example"),
    "PKI_METRICS_TOKEN": ("zzshort", *TOKENS),
    "PKI_REST_CA_TOKEN": TOKENS,
    "VAULT_TOKEN": TOKENS,
    "VAULT_ROLE_ID": ("zz\nzz", *UNSEEN),
    "VAULT_SECRET_ID": ("zz\nzz", *UNSEEN),
    "VAULT_ADDR": ADDRESSES,
    "VAULT_CACERT": FILES,
    "VAULT_NAMESPACE": ("zz\nzz", *(mount for mount in MOUNTS if mount.strip("/"))),
    "PKI_REST_CA_URL": (
        *(address for address in ADDRESSES if not address.endswith("/v1")),
        "https://user:zz@ca.example",
        "https://ca.example?zz",
    ),
    "PKI_REST_CA_BUNDLE": FILES,
    "PKI_REST_CA_CHAIN": FILES,
    "PKI_DEFAULT_DOMAINS": ("", "https://zz.example", "zz.example;b.example", "zz", "*.zz.example", "10.0.0.1"),
    "PKI_PRIVATE_SUFFIXES": ("10.0.0.1", ".zz", "zz;corp", "zz corp", "zzä"),
    "PKI_LOG_LEVEL": ("zz", ""),
    "PKI_NL_PROVIDER": ("zz",),
    "PKI_NL_MODEL": ("zz\nzz",),
    "PKI_SERVE": ("zz", ""),
    "PKI_AUDIT_HOME": ("zz\nzz", "zz", "", "/etc/passwd"),
    "PKI_STATIC_ROOT": ("zz\nzz", "zz", "", "/etc/passwd"),
    "PKI_WORKER_PROGRESS_FILE": ("zz\nzz", "zz", ""),
    "PKI_OIDC_ISSUER": (
        *(address for address in ADDRESSES if not address.endswith("/v1")),
        "http://zz.example",
        "https://user:zz@id.example",
        "https://id.example?zz",
    ),
    "PKI_OIDC_CLIENT_ID": ("zz\x01", "zz-without-an-issuer", *UNSEEN),
    "PKI_OIDC_CLIENT_SECRET": ("zz\nzz", *UNSEEN),
    "PKI_OIDC_SCOPES": ("profile,email", "openid zz", "", 'openid,"zz"', "openid,zzä", *UNSEEN),
    "PKI_OIDC_CA_BUNDLE": FILES,
    "PKI_SECOND_FACTOR_ROLES": ("zz", "approver,zzoperator", "approver;operator", "security_officer", "superuser", *UNSEEN),
    "SECRET_KEY_FALLBACK": ("zzshort", "zz" * 20 + "\n" + "zz", "zz\udcff" * 20),
    "SECRET_KEY": ("zzshort", "zz" * 20 + "\n" + "zz", "zz\udcff" * 20),
    "PKI_HOME": ("/dev/null/zz", "zz\nzz"),
    "PKI_CA_CREDENTIALS": ("zz/relative", "/etc/passwd"),
    "PKI_AUDIT_TILES": ("zz", "zzhashes", "zz,entries"),
    "PKI_AUDIT_WITNESSES": ("zz", "zz https://witness.example", "witness.example/w1+aabbccdd+BA== https://witness.example"),
}
BAD |= dict.fromkeys(
    (
        "PKI_DEBUG",
        "PKI_SINGLE_OFFICER",
        "PKI_ALLOW_LOCAL_KEYS",
        "PKI_BEHIND_PROXY",
        "PKI_CA_API_INLINE",
        "PKI_OIDC_LINK_VERIFIED_EMAIL",
        "PKI_OIDC_SIGN_UP",
        "PKI_SSL_REDIRECT",
        "PKI_WEBHOOK_ALLOW_HTTP",
    ),
    SWITCHES,
)
BAD |= dict.fromkeys(
    (
        "PKI_LEAF_KEY_BACKEND",
        "PKI_CA_KEY_BACKEND",
        "PKI_ROOT_KEY_BACKEND",
        "PKI_OCSP_KEY_BACKEND",
        "PKI_DEFAULT_CA",
        "PKI_DEFAULT_POLICY",
        "PKI_OIDC_GROUPS_CLAIM",
        "PKI_OIDC_NAME",
    ),
    NAMES,
)
BAD |= dict.fromkeys(("PKI_REST_CA_NAME", "PKI_VAULT_PKI_NAME"), (*NAMES, "Internal-CA-Prod"))
BAD |= {
    "PKI_VAULT_PKI_ROLE": (*filter(None, NAMES), "zz/zz", "../zz", "zz zz", "zz?", "zz\u00e4"),
    "PKI_CA_ORGANIZATION": tuple(filter(None, NAMES)),
}
BAD |= dict.fromkeys([f"PKI_VAULT_{mount}_MOUNT" for mount in ("LEAF", "CA", "ROOT", "OCSP", "PKI")], MOUNTS)


def read_in_settings(kind: str) -> set[str]:
    """The variables that the settings read, by the functions that read them."""
    sources = "".join((ROOT / "pkiportal" / "settings" / f"{name}.py").read_text() for name in SETTINGS)
    return set(re.findall(rf'{kind}\(\s*"([A-Z_]+)"', sources))


# A time beyond what a date can hold would fail at the first certificate, CRL or sweep, not at the start.
BAD |= {name: (*NUMBERS, "99999999") for name in read_in_settings("env_int") if re.search("_(DAYS|HOURS|MINUTES|LEASE_SECONDS)$", name)}
BAD["PKI_CRL_EVERY_HOURS"] += ("0", "96")
BAD |= {name: NUMBERS for name in read_in_settings("env_int") if name not in BAD}


def load(monkeypatch: pytest.MonkeyPatch, module: str, **environment: str | None) -> dict[str, Any]:
    """The settings as a new process would load them with nothing else in its environment."""
    for name in list(os.environ):
        if name.startswith(("PKI_", "VAULT_")) or name in GOOD:
            monkeypatch.delenv(name)
    for name, value in environment.items():
        if value is not None:
            monkeypatch.setenv(name, value)
    monkeypatch.delitem(sys.modules, "pkiportal.settings.base", raising=False)
    return runpy.run_module(f"pkiportal.settings.{module}")


def production(monkeypatch: pytest.MonkeyPatch, **environment: str | None) -> dict[str, Any]:
    # What is read only where another setting asks for it.
    optional = {"PKI_REST_CA_URL": "https://ca.example.com", "PKI_VAULT_PKI_ROLE": "portal", "VAULT_ADDR": "https://openbao:8200"}
    return load(monkeypatch, "production", **{**GOOD, **optional, **environment})


def test_every_variable_that_the_settings_read_has_bad_values_here() -> None:
    """M3, M4: a setting that nobody tried with a bad value is one that fails later."""
    assert read_in_settings(r"env_\w+") == set(BAD), "add values that must be refused to BAD"


def test_every_variable_is_documented() -> None:
    """M3: an error that names a setting is of use to somebody who can look it up."""
    text = (ROOT / "docs" / "operations" / "settings.md").read_text()
    assert {name for name in BAD if f"`{name}`" not in text} == set()


EMBEDDED = {"PKI_DEBUG", "PKI_HOME", "PKI_SINGLE_OFFICER"}
CASES = [(name, value) for name, values in sorted(BAD.items()) for value in values]


@pytest.mark.parametrize(("name", "value"), CASES)
def test_bad_value_stops_the_start_and_is_not_repeated(name: str, value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """M3, M4"""
    home = {"PKI_HOME": str(tmp_path / "home")}
    with pytest.raises(ImproperlyConfigured) as stopped:
        _ = load(monkeypatch, "embedded", **home | {name: value}) if name in EMBEDDED else production(monkeypatch, **{name: value})
    told = str(stopped.value)
    assert name in told
    assert "zz" not in told
    assert stopped.value.__cause__ is None
    assert stopped.value.__suppress_context__ or stopped.value.__context__ is None, "a traceback would show the value"
    assert not (tmp_path / "home").exists(), "nothing lasting was made before"


def test_misspelt_role_is_answered_with_the_roles_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule for nobody would leave the officers without a second factor, and nothing would say so."""
    with pytest.raises(ImproperlyConfigured) as stopped:
        production(monkeypatch, PKI_SECOND_FACTOR_ROLES="aprover,operator")
    assert all(str(role) in str(stopped.value) for role in (*Role, "administrator"))
    found = production(monkeypatch, PKI_SECOND_FACTOR_ROLES="Approver, Security Officer,administrator")
    assert found["PKI_SECOND_FACTOR_ROLES"] == ["approver", "security officer", "administrator"]
    assert production(monkeypatch, PKI_SECOND_FACTOR_ROLES="")["PKI_SECOND_FACTOR_ROLES"] == []


@pytest.mark.parametrize("name", sorted(GOOD))
def test_missing_setting_names_itself(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """M3: PKI_BASE_URL too, whose default would stand in certificates permanently."""
    if name == "PKI_TRUSTED_ORIGINS":
        assert production(monkeypatch, PKI_TRUSTED_ORIGINS=None)["CSRF_TRUSTED_ORIGINS"] == []
        return
    with pytest.raises(ImproperlyConfigured, match=f"^{name} "):
        production(monkeypatch, **{name: None})


@pytest.mark.parametrize("name", ["SECRET_KEY", "DATABASE_URL", "VAULT_SECRET_ID"])
def test_secret_file_that_cannot_be_read_names_the_setting_only(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """M4: somebody put the secret itself where its file belongs; or the file is no text."""
    binary = tmp_path / "zzbinary"
    binary.write_bytes(b"zz\xff\xfe")
    for value in ("zzsecret", str(binary), str(tmp_path / "zz")):
        with pytest.raises(ImproperlyConfigured) as stopped:
            production(monkeypatch, **{name: None, f"{name}_FILE": value})
        assert f"{name}_FILE" in str(stopped.value)
        assert "zz" not in str(stopped.value)


@pytest.mark.parametrize("name", URLS)
def test_password_with_a_reserved_character_is_told_how_to_write_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """M4"""
    for reserved in "/?#":
        url = GOOD[name].replace("secret", f"pass{reserved}word")
        with pytest.raises(ImproperlyConfigured, match=r"%2F.*%3F.*%23"):
            production(monkeypatch, **{name: url})


def test_percent_encoded_passwords_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """M4"""
    found = production(monkeypatch, **{name: GOOD[name].replace("secret", "a%2Fb%3Fc%23d%40e%2Bf+g") for name in URLS})
    assert found["DATABASES"]["default"]["PASSWORD"] == "a/b?c#d@e+f+g"
    assert found["EMAIL_HOST_PASSWORD"] == "a/b?c#d@e+f+g"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtps://u:p@mail.example.com:465", {"EMAIL_USE_SSL": True, "EMAIL_PORT": 465}),
        ("smtps://u:p@mail.example.com", {"EMAIL_USE_SSL": True, "EMAIL_PORT": 465}),
        ("smtp+ssl://u:p@mail.example.com:465", {"EMAIL_USE_SSL": True, "EMAIL_PORT": 465}),
        ("smtp+tls://u:p@mail.example.com", {"EMAIL_USE_TLS": True, "EMAIL_PORT": 587}),
        ("smtp://mail.example.com", {"EMAIL_PORT": 25}),
    ],
)
def test_mail_url_says_which_kind_of_tls(url: str, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """M4: on port 465 TLS begins with the first octet."""
    found = production(monkeypatch, EMAIL_URL=url)
    tls = {"EMAIL_USE_SSL", "EMAIL_USE_TLS", "EMAIL_PORT"}
    assert {name: value for name, value in found.items() if name in tls} == expected
    assert found["EMAIL_HOST"] == "mail.example.com"


@pytest.mark.parametrize("empty", ["", " ", "\u00a0"])
def test_empty_switch_is_its_default(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """M4: what Compose leaves of a variable that is not set must not switch the redirect to https off."""
    assert production(monkeypatch, PKI_SSL_REDIRECT=empty)["SECURE_SSL_REDIRECT"] is True
    assert production(monkeypatch, PKI_BEHIND_PROXY=empty)["SECURE_PROXY_SSL_HEADER"] is None


def test_embedded_default_ca_has_the_name_of_its_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = load(monkeypatch, "embedded", PKI_HOME=str(tmp_path), PKI_DEFAULT_CA="Plant CA")
    assert list(found["CA_CLIENTS"]) == ["Plant CA"]


@pytest.mark.parametrize("name", ["PKI_LEAF_KEY_BACKEND", "PKI_CA_KEY_BACKEND", "PKI_OCSP_KEY_BACKEND"])
def test_bootstrap_refuses_a_key_backend_that_is_not_there(name: str, settings: Any) -> None:
    """M3: every request would wait for its key."""
    setattr(settings, name, "zz")
    with pytest.raises(ImproperlyConfigured, match=f"^{name} "):
        Bootstrap(ca_key="ec-p256", report=print).check_settings()


def test_origins_are_compared_in_the_form_that_browsers_send(monkeypatch: pytest.MonkeyPatch) -> None:
    """M4: a form would be refused for a final slash, capital letters or the usual port."""
    found = production(
        monkeypatch, PKI_TRUSTED_ORIGINS="https://PKI.example.com/, https://a.example:443,http://b.example:80,https://c.example:8443"
    )
    expected = ["https://pki.example.com", "https://a.example", "http://b.example", "https://c.example:8443"]
    assert found["CSRF_TRUSTED_ORIGINS"] == expected


def test_links_have_an_address_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """M6: derived from the trusted origins, then from the hosts, unless PKI_PORTAL_URL gives it; PKI_BASE_URL stays in certificates."""
    base = {"PKI_BASE_URL": "http://crl.example.com"}
    assert production(monkeypatch, **base)["PKI_PORTAL_URL"] == "https://pki.example.com"
    assert (
        production(monkeypatch, **base, PKI_TRUSTED_ORIGINS="https://pki.example.com:8443/")["PKI_PORTAL_URL"]
        == "https://pki.example.com:8443"
    )
    assert production(monkeypatch, **base, PKI_TRUSTED_ORIGINS=None)["PKI_PORTAL_URL"] == "https://pki.example.com"
    given = production(monkeypatch, **base, PKI_PORTAL_URL="https://portal.example.com/")
    assert (given["PKI_PORTAL_URL"], given["PKI_BASE_URL"]) == ("https://portal.example.com", "http://crl.example.com")


@pytest.mark.parametrize(
    ("base", "host"),
    [
        ("http://crl.example.com", "crl.example.com"),
        ("http://[2001:db8::1]:80", "[2001:db8::1]"),
        ("http://192.0.2.1", "192.0.2.1"),
        ("http://crl.example.com.", "crl.example.com"),
    ],
)
def test_address_in_certificates_is_an_allowed_host(base: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """CA certificates are fetched under it."""
    assert production(monkeypatch, PKI_BASE_URL=base)["ALLOWED_HOSTS"] == ["pki.example.com", host]


def test_empty_address_is_none_and_never_stands_in_a_certificate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """M3: what `PKI_BASE_URL=` in an environment file, or a variable that Compose could not put in, leaves behind."""
    found = load(monkeypatch, "embedded", PKI_HOME=str(tmp_path), PKI_BASE_URL="", PKI_PORTAL_URL=" ")
    assert found["PKI_BASE_URL"] == found["PKI_PORTAL_URL"] == "http://127.0.0.1:8000"
    with pytest.raises(ImproperlyConfigured, match=r"^PKI_BASE_URL "):
        production(monkeypatch, PKI_BASE_URL="")


def test_embedded_links_follow_the_port_while_certificates_keep_their_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """M6: `up` writes where it serves into PKI_HOME; commands of other processes read it."""
    assert load(monkeypatch, "embedded", PKI_HOME=str(tmp_path))["PKI_PORTAL_URL"] == "http://127.0.0.1:8000"
    (tmp_path / "base_url").write_text("http://127.0.0.1:8003\n")
    (tmp_path / "portal_url").write_text("http://127.0.0.1:8009\n")
    found = load(monkeypatch, "embedded", PKI_HOME=str(tmp_path))
    assert (found["PKI_BASE_URL"], found["PKI_PORTAL_URL"]) == ("http://127.0.0.1:8003", "http://127.0.0.1:8009")
    given = load(monkeypatch, "embedded", PKI_HOME=str(tmp_path), PKI_PORTAL_URL="https://pki.example.com")
    assert given["PKI_PORTAL_URL"] == "https://pki.example.com"


def test_nothing_is_pickled_into_a_store_that_others_can_write_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """S4: no cache but this process's own memory, sessions and messages as JSON, and JSON alone in the broker."""
    found = production(monkeypatch)
    assert {"CACHES", "SESSION_ENGINE", "SESSION_SERIALIZER", "MESSAGE_STORAGE"} & set(found) == set()
    assert (found["CELERY_ACCEPT_CONTENT"], found["CELERY_TASK_SERIALIZER"]) == (["json"], "json")
    code = [path for room in ("audit", "keys", "policy", "certs", "pkiportal") for path in (ROOT / room).rglob("*.py")]
    assert [path.name for path in code if re.search(r"import pickle|core\.cache|picklefield", path.read_text())] == []


COMMANDS = {
    "bootstrap": ["manage.py", "bootstrap"],
    "web": ["-m", "gunicorn", "pkiportal.wsgi:application", "--bind", "127.0.0.1:0"],
    "worker": ["-m", "celery", "-A", "pkiportal", "worker"],
    "beat": ["-m", "celery", "-A", "pkiportal", "beat", "--schedule", "/dev/null"],
}


@pytest.mark.parametrize("process", sorted(COMMANDS))
def test_every_process_stops_with_the_name_of_the_setting(process: str) -> None:
    """M3, M4: whatever is started first, and in what it prints no part of the password."""
    bad = {**GOOD, "DATABASE_URL": "postgres://portal:first#second@db/portal"}
    env = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "pkiportal.settings.production", **bad}
    command = [sys.executable, *COMMANDS[process]]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)
    told = done.stdout + done.stderr
    assert done.returncode != 0
    assert "DATABASE_URL" in told
    assert "first" not in told
    assert "second" not in told
    if process == "bootstrap":
        assert "Traceback" not in told


def test_log_lines_have_no_password_of_a_url() -> None:
    """M4: the last net; kombu and psycopg name the server that they cannot reach."""
    assert "secret" not in redacted(f"cannot reach {GOOD['REDIS_URL']}")
