"""Fixtures for the real Vault, the SoftHSM token and Chromium."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import hvac
import pytest
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from tests.harness.console import in_ci
from tests.harness.vault import Vault

# The background-network switches keep Chromium from calling home at every start; the resolver rule keeps a page from reaching out.
# Scripts of a page run once and not for long: what V8's optimising compilers take is an eighth of all that Chromium does here.
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--js-flags=--no-opt --no-maglev",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
]


def needed(name: str) -> str:
    """The variable's value; without it the test is left out with the reason, or fails where CI must run everything."""
    value = os.environ.get(name, "")
    if not value:
        reason = f"{name} is not set: run `make test T=<path>`, which starts what it stands for"
        (pytest.fail if in_ci() else pytest.skip)(reason)
    return value


@dataclass(frozen=True)
class VaultAccess:
    """Where the run's Vault is. `token` is the root token: code under test should be given less."""

    address: str
    ca_file: Path
    token: str


@pytest.fixture(scope="session")
def vault_access() -> VaultAccess:
    return VaultAccess(needed("PKI_TEST_VAULT_ADDR"), Path(needed("PKI_TEST_VAULT_CACERT")), needed("PKI_TEST_VAULT_TOKEN"))


def connect(access: VaultAccess) -> hvac.Client:
    """A client with the root token. REQUESTS_CA_BUNDLE would override `verify`, so the session takes nothing from the environment."""
    client = hvac.Client(url=access.address, token=access.token, verify=str(access.ca_file))
    client.session.trust_env = False
    # OpenSSL's queue of errors is the thread's: what other code has left in it, the next handshake takes for its own, once.
    client.session.mount("https://", HTTPAdapter(max_retries=Retry(total=1, connect=0, read=0, redirect=0, status=0, other=1)))
    return client


@pytest.fixture(scope="session")
def vault_client(vault_access: VaultAccess) -> Iterator[hvac.Client]:
    client = connect(vault_access)
    yield client
    client.session.close()


@pytest.fixture
def vault_mount(vault_client: hvac.Client, worker_id: str) -> Iterator[Callable[[str], str]]:
    """`vault_mount("transit")` makes a fresh engine under a name that no other test has, and gives the name; unmounted at the end."""
    made: list[str] = []

    def mount(engine: str) -> str:
        path = f"{engine}-{worker_id}-{next(_MOUNT_NUMBERS)}-{os.getpid()}"
        vault_client.sys.enable_secrets_engine(backend_type=engine, path=path)
        made.append(path)
        return path

    yield mount
    for path in made:
        vault_client.sys.disable_secrets_engine(path)


_MOUNT_NUMBERS = count(1)


@pytest.fixture
def own_vault(tmp_path: Path) -> Iterator[Vault]:
    """A Vault for this test alone, unsealed, to be sealed, killed and started again without disturbing the others."""
    vault = Vault(tmp_path / "vault", Path(needed("PKI_TEST_VAULT_PROGRAM")))
    try:
        vault.start()
        vault.initialise()
        yield vault
    finally:
        vault.stop()


@dataclass(frozen=True)
class SoftHSMToken:
    """The run's token. Objects on it are shared by all workers: give each a label or id of its own."""

    module: Path
    label: str
    pin: str


@pytest.fixture(scope="session")
def softhsm() -> SoftHSMToken:
    needed("SOFTHSM2_CONF")
    return SoftHSMToken(Path(needed("PKI_TEST_SOFTHSM_MODULE")), needed("PKI_TEST_SOFTHSM_TOKEN_LABEL"), needed("PKI_TEST_SOFTHSM_PIN"))


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, object]:
    """pytest-playwright's own fixture, pointed at the Chromium of the machine."""
    # Playwright's synchronous API keeps an event loop running in the test's thread, which Django would take for asynchronous code.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    return {"executable_path": needed("PKI_TEST_CHROMIUM"), "args": CHROMIUM_ARGUMENTS}
