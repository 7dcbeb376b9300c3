"""What docker-compose.yml promises: who reaches whom, with which rights, and that each setting has its file."""

from __future__ import annotations

import re
import subprocess
from ipaddress import IPv4Network
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from pkiportal.web.served import Serve
from tests.deploy.compose import FILE, HOST, REQUIRED, VariableMissing, compose

ROOT = Path(__file__).resolve().parents[2]
SERVICES: dict[str, dict[str, Any]] = compose()["services"]
NETWORKS: dict[str, dict[str, Any]] = compose()["networks"]
WORKERS = {"worker-keys", "worker-destroy", "worker-ca", "worker-ca-remote", "worker", "worker-mail", "worker-audit"}
KEY_WORKERS = {"worker-keys", "worker-destroy", "worker-ca", "worker-ca-remote"}
# Who listens, and who may reach it. Everything else shares no network with it.
REACHED_BY = {
    "db": {"web", "ca-api", "status", "beat", "bootstrap"} | WORKERS,
    "redis": {"web", "ca-api", "beat"} | WORKERS,
    "openbao": {"ca-api", "status", "bootstrap"} | KEY_WORKERS,
    "web": {"proxy", "db", "redis"},
    "ca-api": {"proxy", "db", "redis", "openbao"},
    "status": {"proxy", "db", "openbao"},
    "proxy": {"web", "ca-api", "status"},
}
MADE_ELSEWHERE = {"email_url", "tls_certificate", "tls_key"}
ROLES = ("keys", "destroy", "ocsp", "ca")


def neighbours(service: str) -> set[str]:
    own = set(SERVICES[service].get("networks", ()))
    return {other for other, config in SERVICES.items() if other != service and own & set(config.get("networks", ()))}


@pytest.mark.parametrize("service", sorted(REACHED_BY))
def test_service_that_listens_shares_a_network_with_its_clients_only(service: str) -> None:
    """S4"""
    assert neighbours(service) == REACHED_BY[service]


def test_no_service_is_in_the_default_network() -> None:
    """S4: Compose puts a service that names none into one network with all such services."""
    assert [name for name, config in SERVICES.items() if not config.get("networks") and config.get("network_mode") != "none"] == []
    assert {network for config in SERVICES.values() for network in config.get("networks", ())} == set(NETWORKS)


def test_only_the_proxy_and_the_senders_reach_the_outside() -> None:
    """S4: mail and CAs elsewhere are reached by two workers, mail by the alarm in `web`; nothing else can carry data away."""
    assert [name for name, network in NETWORKS.items() if not network.get("internal")] == ["internet", "outgoing", "web-mail"]
    members = {network: {name for name, config in SERVICES.items() if network in config.get("networks", ())} for network in NETWORKS}
    assert members["internet"] == {"proxy"}
    assert members["outgoing"] == {"worker-mail", "worker-ca-remote"}
    assert members["web-mail"] == {"web"}
    assert [name for name, config in SERVICES.items() if config.get("ports")] == ["proxy"]


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_container_has_no_capability_and_writes_nowhere_but_tmp_and_volumes(service: str) -> None:
    """S21"""
    config = SERVICES[service]
    assert config["cap_drop"] == ["ALL"]
    assert "cap_add" not in config
    assert "privileged" not in config
    assert config["security_opt"] == ["no-new-privileges:true"]
    assert config["read_only"] is True
    assert "/tmp" in config["tmpfs"]
    # The portal's image has its own user (USER in the Dockerfile).
    assert config["image"].startswith("pki-portal") or config["user"] not in {"root", "0"}


def test_services_with_a_login_to_the_keys_serve_their_own_paths() -> None:
    """S4"""
    served = {name: config["environment"]["PKI_SERVE"] for name, config in SERVICES.items() if "PKI_SERVE" in config.get("environment", {})}
    assert served == {"web": Serve.PORTAL, "ca-api": Serve.CA, "status": Serve.STATUS}
    assert not any(name.startswith("VAULT") for name in SERVICES["web"]["environment"])


def test_every_secret_file_that_a_setting_names_is_mounted_there() -> None:
    declared = set(compose()["secrets"])
    for name, config in SERVICES.items():
        files = {
            str(value).removeprefix("/run/secrets/") for value in config.get("environment", {}).values() if "/run/secrets/" in str(value)
        } - {"pki-cas"}  # a folder
        assert files <= set(config.get("secrets", ())), name
        assert set(config.get("secrets", ())) <= declared, name
    assert {secret for config in SERVICES.values() for secret in config.get("secrets", ())} == declared


def test_no_password_stands_in_the_compose_file() -> None:
    """S4: the broker's is in a secret file, as the others are."""
    for config in SERVICES.values():
        for value in config.get("environment", {}).values():
            assert not re.search(r"://[^/\s]*:[^/\s]*@", str(value))
    assert all("REDIS_URL" not in config.get("environment", {}) for config in SERVICES.values())


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_missing_variable_stops_compose(name: str) -> None:
    """M3"""
    with pytest.raises(VariableMissing, match=name):
        compose(**{name: ""})


def test_hosts_origins_and_links_follow_from_the_one_host_name() -> None:
    environment = SERVICES["web"]["environment"]
    assert environment["PKI_ALLOWED_HOSTS"] == SERVICES["proxy"]["environment"]["PKI_PORTAL_HOST"] == HOST
    assert environment["PKI_TRUSTED_ORIGINS"] == environment["PKI_PORTAL_URL"] == f"https://{HOST}"
    own = compose(PKI_ALLOWED_HOSTS="a.example,b.example")["services"]["web"]["environment"]
    assert own["PKI_ALLOWED_HOSTS"] == "a.example,b.example"


def subnet(network: str) -> str:
    (config,) = NETWORKS[network]["ipam"]["config"]
    return str(config["subnet"])


def test_client_addresses_are_read_from_the_proxy_alone() -> None:
    trusted = IPv4Network(SERVICES["web"]["environment"]["PKI_TRUSTED_PROXIES"])
    fixed = {name for name, network in NETWORKS.items() if "ipam" in network}
    within = {name for name in fixed if IPv4Network(subnet(name)).subnet_of(trusted)}
    assert within == set(SERVICES["proxy"]["networks"]) - {"internet"}


def test_no_two_networks_have_addresses_in_common() -> None:
    """Docker makes no network whose pool overlaps with another one, and starts nothing."""
    fixed = [IPv4Network(subnet(name)) for name, network in NETWORKS.items() if "ipam" in network]
    assert [(one, other) for one, other in combinations(fixed, 2) if one.overlaps(other)] == []
    text = (ROOT / "docs" / "operations" / "schedules.md").read_text()
    assert set(re.findall(r"172[0-9./]+", text)) == {subnet("web-mail")}


def test_worker_that_calls_added_cas_has_their_tokens() -> None:
    """The wizard's first step names a file in this folder."""
    for name, config in SERVICES.items():
        mounted = [one for one in config.get("volumes", ()) if ":/run/secrets/pki-cas" in one]
        assert mounted == (["./secrets/cas:/run/secrets/pki-cas:ro"] if name == "worker-ca-remote" else [])
    assert SERVICES["worker-ca-remote"]["environment"]["PKI_CA_CREDENTIALS"] == "/run/secrets/pki-cas"


def test_roles_without_a_second_factor_are_a_choice_that_compose_passes_on() -> None:
    """An empty value switches the rule off; one that is not set does not."""
    assert "approver" in SERVICES["web"]["environment"]["PKI_SECOND_FACTOR_ROLES"]
    assert compose(PKI_SECOND_FACTOR_ROLES="operator")["services"]["web"]["environment"]["PKI_SECOND_FACTOR_ROLES"] == "operator"


def test_example_of_the_environment_has_every_variable_that_compose_reads_and_works_as_it_is() -> None:
    text = (ROOT / "deploy" / "env.example").read_text()
    read = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", FILE.read_text()))
    assert set(re.findall(r"^#?([A-Z_]+)=", text, re.MULTILINE)) == read
    given = dict(re.findall(r"^([A-Z_]+)=(.+)$", text, re.MULTILINE))
    assert set(given) == set(REQUIRED)
    assert compose(**given)["services"]["proxy"]["environment"]["PKI_PORTAL_HOST"] == given["PKI_PORTAL_HOST"]
    documented = (ROOT / "docs" / "operations" / "settings.md").read_text() + (ROOT / "docs" / "operations" / "production.md").read_text()
    assert {name for name in read if name.removesuffix("_FILE") not in documented} == set()


def test_openbao_speaks_tls_only() -> None:
    """S21"""
    config = (ROOT / "deploy" / "openbao" / "config.hcl").read_text()
    assert "tls_disable" not in config
    assert set(re.findall(r"/run/secrets/(\w+)", config)) <= set(SERVICES["openbao"]["secrets"])
    for service in SERVICES.values():
        assert service.get("environment", {}).get("VAULT_ADDR", "https://").startswith("https://")


def test_app_roles_are_bound_to_the_addresses_of_their_services_and_end() -> None:
    """S21: a stolen secret id is worth nothing elsewhere, and no token is renewed permanently."""
    text = (ROOT / "docs" / "vault" / "README.md").read_text().replace("\\\n", " ")
    roles = dict(re.findall(r"^bao write auth/approle/role/portal-(\w+) +(.+)$", text, re.MULTILINE))
    assert set(roles) == set(ROLES)
    networks = {"keys": ["workers-keys"], "destroy": ["workers-keys"], "ca": ["workers-keys", "ca-api-keys"], "ocsp": ["status-keys"]}
    for role, options in roles.items():
        given = dict(option.split("=", 1) for option in options.split())
        addresses = ",".join(subnet(network) for network in networks[role])
        assert given["token_policies"] == f"portal-{role}"
        assert given["secret_id_bound_cidrs"] == given["token_bound_cidrs"] == addresses
        assert {"token_ttl", "token_max_ttl", "secret_id_ttl"} <= set(given)
        assert "token_period" not in given


def test_make_secrets_makes_every_file_that_chance_can_make_and_changes_none(tmp_path: Path) -> None:
    """S4, S21"""
    env = {"PATH": "/usr/bin:/bin", "PKI_SECRETS_GROUP": "0"}
    first: dict[str, bytes] = {}
    for _ in range(2):
        subprocess.run([ROOT / "deploy" / "make-secrets"], cwd=tmp_path, env=env, check=True)
        made = {path.name: path.read_bytes() for path in (tmp_path / "secrets").iterdir() if path.is_file()}
        assert made == (first or made)
        first = made
    roles = {f"{role}_{kind}_id" for role in ROLES for kind in ("role", "secret")}
    assert set(first) == set(compose()["secrets"]) - MADE_ELSEWHERE - roles
    for path in (tmp_path / "secrets").iterdir():
        assert path.stat().st_mode & 0o777 == (0o750 if path.name == "cas" else 0o640)
    chain = ["openssl", "verify", "-CAfile", "secrets/openbao_ca", "-verify_hostname", "openbao", "secrets/openbao_certificate"]
    subprocess.run(chain, cwd=tmp_path, check=True, capture_output=True)
    assert first["database_password"].strip() in first["database_url"]
    (password,) = re.findall(rb"on >(\w+) ", first["redis_acl"])
    assert password in first["redis_url"]
