"""The real parts answer, each test's own, and outlive what a test of crashes does to them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import hvac
import pkcs11
import psycopg
import pytest
import redis
from django.conf import settings
from playwright.sync_api import Error, Page

from tests.harness.plugin.parts import SoftHSMToken, VaultAccess, connect
from tests.harness.postgres import Postgres
from tests.harness.redis import Redis
from tests.harness.vault import Vault


def test_vault_mounts_are_fresh_and_apart(vault_client: hvac.Client, vault_mount: Callable[[str], str]) -> None:
    first, second = vault_mount("transit"), vault_mount("transit")
    vault_client.secrets.transit.create_key("api-example-com", key_type="ecdsa-p256", mount_point=first)
    assert vault_client.secrets.transit.list_keys(mount_point=first)["data"]["keys"] == ["api-example-com"]
    with pytest.raises(hvac.exceptions.InvalidPath):
        vault_client.secrets.transit.list_keys(mount_point=second)


def test_vault_pki_engine_is_there(vault_client: hvac.Client, vault_mount: Callable[[str], str]) -> None:
    mount = vault_mount("pki")
    vault_client.secrets.pki.generate_root("internal", "Test root", mount_point=mount)
    assert vault_client.secrets.pki.read_ca_certificate(mount_point=mount).startswith("-----BEGIN CERTIFICATE-----")


def test_vault_refuses_a_stranger(vault_access: VaultAccess, vault_mount: Callable[[str], str]) -> None:
    stranger = connect(VaultAccess(vault_access.address, vault_access.ca_file, "no-such-token"))
    try:
        with pytest.raises(hvac.exceptions.Forbidden):
            stranger.secrets.transit.list_keys(mount_point=vault_mount("transit"))
    finally:
        stranger.session.close()


def test_own_vault_keeps_its_keys_when_killed(own_vault: Vault) -> None:
    client = connect(VaultAccess(own_vault.address, own_vault.ca_file, own_vault.root_token))
    try:
        client.sys.enable_secrets_engine("transit")
        client.secrets.transit.create_key("kept")
        own_vault.kill()
        own_vault.start()
        with pytest.raises(hvac.exceptions.VaultDown):
            client.secrets.transit.list_keys()
        own_vault.unseal()
        assert client.secrets.transit.list_keys()["data"]["keys"] == ["kept"]
    finally:
        client.session.close()


def test_softhsm_token_is_initialised(softhsm: SoftHSMToken) -> None:
    token = pkcs11.lib(str(softhsm.module)).get_token(token_label=softhsm.label)
    assert pkcs11.TokenFlag.TOKEN_INITIALIZED | pkcs11.TokenFlag.USER_PIN_INITIALIZED in token.flags


def test_browser_shows_a_page_and_reaches_no_foreign_host(page: Page) -> None:
    page.goto("data:text/html,<h1>Certificates</h1>")
    assert page.inner_text("h1") == "Certificates"
    with pytest.raises(Error, match="ERR_NAME_NOT_RESOLVED"):
        page.goto("http://example.com/")


def test_each_worker_has_a_redis_database_of_its_own(worker_id: str) -> None:
    number = 0 if worker_id == "master" else int(worker_id.removeprefix("gw")) + 1
    broker = redis.Redis.from_url(settings.CELERY_BROKER_URL)
    try:
        assert (broker.ping(), broker.get_connection_kwargs()["db"]) == (True, number)
    finally:
        broker.close()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's user can reach too; pytest's `tmp_path` is closed to all but its owner."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Path(name)


def test_postgres_keeps_committed_rows_when_killed(open_folder: Path) -> None:
    postgres = Postgres(open_folder / "postgres")
    postgres.create()
    try:
        postgres.start()
        with psycopg.connect(postgres.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS id")
        postgres.kill()
        postgres.start()
        with psycopg.connect(postgres.url) as connection:
            assert connection.execute("SELECT id FROM kept").fetchall() == [(1,)]
    finally:
        postgres.stop()


def test_postgres_refuses_a_stranger() -> None:
    url = os.environ["PKI_TEST_DATABASE_URL"]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url, password="guess")


def test_redis_is_empty_when_started_again(tmp_path: Path) -> None:
    server = Redis(tmp_path / "redis")
    try:
        server.start()
        client = redis.Redis.from_url(server.url)
        client.set("key", "value")
        client.close()
        server.kill()
        server.start()
        client = redis.Redis.from_url(server.url)
        assert client.get("key") is None
        client.close()
    finally:
        server.stop()


def test_redis_refuses_a_stranger() -> None:
    stranger = redis.Redis(host="127.0.0.1", port=urlsplit(os.environ["PKI_TEST_REDIS_URL"]).port or 0, password="guess")
    try:
        with pytest.raises(redis.AuthenticationError):
            stranger.ping()
    finally:
        stranger.close()
