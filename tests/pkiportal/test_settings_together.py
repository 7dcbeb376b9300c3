"""Settings that need each other, and values in quotes, which one way of starting takes away and another keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from pkiportal.bootstrapping import Bootstrap
from tests.pkiportal.test_settings import BAD, EMBEDDED, GOOD, production


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize("name", sorted({*BAD, "PKI_DEFAULT_CA", "SECRET_KEY"} - EMBEDDED))
def test_value_in_quotes_is_refused(name: str, quote: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`docker run --env-file` keeps quotes: a CA's name in quotes would stand in certificates permanently."""
    value = GOOD.get(name, "zzzz")
    with pytest.raises(ImproperlyConfigured, match=f"^{name} "):
        production(monkeypatch, **{name: f"{quote}{value}{quote}"})


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"VAULT_ROLE_ID": "zz"}, "VAULT_SECRET_ID"),
        ({"VAULT_SECRET_ID": "zz"}, "VAULT_ROLE_ID"),
        ({"PKI_VAULT_PKI_ROLE": "zz", "VAULT_ADDR": None}, "VAULT_ADDR"),
        ({"PKI_REST_CA_TOKEN": "zz", "PKI_REST_CA_URL": None}, "PKI_REST_CA_URL"),
        ({"PKI_REST_CA_TOKEN_FILE": "/zz", "PKI_REST_CA_URL": None}, "PKI_REST_CA_URL"),
        ({"PKI_REST_CA_BUNDLE": "/zz", "PKI_REST_CA_URL": None}, "PKI_REST_CA_URL"),
        ({"PKI_OIDC_CLIENT_ID": "zz"}, "PKI_OIDC_ISSUER"),
        ({"PKI_OIDC_CLIENT_SECRET": "zz"}, "PKI_OIDC_ISSUER"),
    ],
)
def test_setting_without_the_one_it_needs_names_both(given: dict[str, str | None], missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a login, or a token for a CA that is not there, would show at the first certificate."""
    with pytest.raises(ImproperlyConfigured) as stopped:
        production(monkeypatch, **given)
    told = str(stopped.value)
    assert told.startswith(f"{next(iter(given))} needs {missing}")
    assert "zz" not in told


def test_broker_with_tls_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "rediss://portal:secret@redis:6380/0?ssl_cert_reqs=required&ssl_ca_certs=/etc/ssl/certs/ca-certificates.crt"
    url = url.replace("/etc/ssl/certs/ca-certificates.crt", str(Path(__file__)))  # a file that is there everywhere
    assert production(monkeypatch, REDIS_URL=url)["CELERY_BROKER_URL"] == url


def test_bootstrap_refuses_a_ca_of_whose_name_no_address_can_be_made(settings: Any) -> None:
    settings.PKI_DEFAULT_CA = "!!!"
    with pytest.raises(ImproperlyConfigured, match=r"^PKI_DEFAULT_CA "):
        Bootstrap(ca_key="ec-p256", report=print).check_settings()
