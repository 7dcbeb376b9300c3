"""Each composed command makes, with the real tool, a CSR that passes the portal's gate."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certs.servers.commands import CSRContent, compose, compose_many
from certs.servers.files import FileNames
from certs.servers.kinds import Tool
from certs.x509.csr.gate import CSRFacts, read_csr
from tests.certs.servers.running import type_passwords

LONG = "a" * 60 + "." + "b" * 40 + ".example.com"
NAMES = {
    "one name": ("shop.example.com",),
    "several": ("shop.example.com", "www.example.com", "192.0.2.7"),
    "wildcard": ("*.apps.example.com",),
    "addresses": ("192.0.2.7", "2001:db8::7"),
    "above 64 characters": (LONG,),
    "first name above 64 characters": (LONG, "shop.example.com"),
    "above 64 characters with an address": (LONG, "192.0.2.7"),
}
KEYS = ("ec-p256", "ec-p384", "rsa-3072", "rsa-4096", "ed25519")


def run(tool: Tool, wanted: CSRContent, folder: Path) -> CSRFacts:
    """Run the command as a person would, in an empty folder; keytool asks for the new password."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    folder.mkdir(exist_ok=True)
    type_passwords(compose(tool, wanted), folder)
    files = wanted.files
    made = {path.name for path in folder.iterdir()}
    assert made == {files.csr, files.keystore if tool is Tool.KEYTOOL else files.key}
    assert {path.stat().st_mode & 0o077 for path in folder.iterdir()} == {0}
    return read_csr((folder / files.csr).read_bytes(), domains=("example.com",))


def assert_asks_for(facts: CSRFacts, wanted: CSRContent) -> None:
    assert sorted((*facts.dns_names, *facts.ip_addresses)) == sorted(wanted.names)
    assert facts.key.name == wanted.key


@pytest.mark.parametrize("case", NAMES)
@pytest.mark.parametrize("tool", [Tool.OPENSSL, Tool.KEYTOOL])
def test_csr_passes_the_gate_with_the_names(tool: Tool, case: str, tmp_path: Path) -> None:
    wanted = CSRContent(NAMES[case], "ec-p256")
    facts = run(tool, wanted, tmp_path)
    assert_asks_for(facts, wanted)
    assert facts.common_name == next((name for name in facts.dns_names if name == wanted.subject_name), facts.common_name)
    assert facts.stripped == () or tool is Tool.KEYTOOL
    # The pages name the files after the first name of the certificate: the key was made under the same name.
    assert FileNames.of((*facts.dns_names, *facts.ip_addresses)) == wanted.files


@pytest.mark.parametrize("key", [key for key in KEYS if key not in ("ec-p256", "rsa-4096")])
@pytest.mark.parametrize("tool", [Tool.OPENSSL, Tool.KEYTOOL])
def test_csr_passes_the_gate_with_the_key_type(tool: Tool, key: str, tmp_path: Path) -> None:
    wanted = CSRContent(NAMES["one name"], key)
    assert_asks_for(run(tool, wanted, tmp_path), wanted)


def test_rsa_4096_is_composed_for_each_tool() -> None:
    """Made with the real tool for one size of RSA: 4096 bits take seconds and differ in a number."""
    assert "rsa:4096 " in compose(Tool.OPENSSL, CSRContent(("a.example.com",), "rsa-4096"))
    assert "-keyalg RSA -keysize 4096 " in compose(Tool.KEYTOOL, CSRContent(("a.example.com",), "rsa-4096"))
    assert "KeyAlgorithm = RSA\nKeyLength = 4096\n" in compose(Tool.POWERSHELL, CSRContent(("a.example.com",), "rsa-4096"))


def test_tool_that_makes_no_key_of_the_type_has_no_command() -> None:
    def tools_for(key: str) -> list[Tool]:
        return [tool for tool in Tool if compose(tool, CSRContent(("host.example.com",), key))]

    assert tools_for("ec-p256") == [Tool.OPENSSL, Tool.POWERSHELL, Tool.KEYTOOL]
    assert tools_for("ed25519") == [Tool.OPENSSL, Tool.KEYTOOL]
    assert tools_for("ml-dsa-65") == []
    assert [compose(tool, CSRContent((), "ec-p256")) for tool in Tool] == ["", "", ""]


def inf_of(command: str) -> dict[str, list[tuple[str, str]]]:
    """The request file in a PowerShell command, read as Windows reads an INF: sections of lines `name = value`."""
    quoted = re.fullmatch(r"\$request = @'\n(.*)\n'@\nSet-Content .*\ncertreq\.exe -new .*", command, re.DOTALL)
    assert quoted is not None
    sections: dict[str, list[tuple[str, str]]] = {}
    for line in quoted[1].splitlines():
        header = re.fullmatch(r"\[(\w+)\]", line)
        if header:
            lines = sections.setdefault(header[1], [])
            continue
        name, equals, value = line.partition(" = ")
        assert equals, line
        lines.append((name, value.removeprefix('"').removesuffix('"')))
    return sections


@pytest.mark.parametrize("case", NAMES)
def test_request_file_of_certreq_has_the_structure_that_windows_reads(case: str) -> None:
    wanted = CSRContent(NAMES[case], "ec-p256")
    inf = inf_of(compose(Tool.POWERSHELL, wanted))
    assert inf["Version"] == [("Signature", "$Windows NT$")]
    request = dict(inf["NewRequest"])
    assert request.get("Subject", "") == (f"CN={wanted.subject_name}" if wanted.subject_name else "")
    assert (request["KeyAlgorithm"], request["KeyLength"], request["RequestType"]) == ("ECDSA_P256", "256", "PKCS10")
    assert (request["MachineKeySet"], request["Exportable"]) == ("TRUE", "FALSE")
    assert inf["EnhancedKeyUsageExtension"] == [("OID", "1.3.6.1.5.5.7.3.1")]
    (oid, text), *names = inf["Extensions"]
    assert (oid, text) == ("2.5.29.17", "{text}")
    assert {name for name, _ in names} == {"_continue_"}
    # The lines are joined to one text in which & parts the names.
    asked = dict.fromkeys("".join(value for _, value in names).split("&"))
    kinds = {name: "ipaddress" if re.fullmatch(r"[\d.]+|.*::.*", name) else "dns" for name in wanted.names}
    assert list(asked) == [f"{kinds[name]}={name}" for name in wanted.names]


def test_client_certificate_asks_for_its_own_usage() -> None:
    inf = inf_of(compose(Tool.POWERSHELL, CSRContent(("billing.example.com",), "rsa-3072", "tls-client")))
    assert inf["EnhancedKeyUsageExtension"] == [("OID", "1.3.6.1.5.5.7.3.2")]
    assert dict(inf["NewRequest"])["KeyUsage"] == "CERT_DIGITAL_SIGNATURE_KEY_USAGE"


@pytest.mark.parametrize("tool", list(Tool))
@pytest.mark.parametrize("name", ["a b", "a'b", 'a"b', "a$(id)", "a`id`", "a;id", "a\nb", "a,b", "a&b", "", "ä.example.com"])
def test_name_with_a_letter_that_no_name_has_is_refused(tool: Tool, name: str) -> None:
    with pytest.raises(ValueError, match="is not a DNS name"):
        compose(tool, CSRContent(("shop.example.com", name), "ec-p256"))


HOSTILE = "a/b;+=$(touch x)`touch y`'\\\"&|<>,# z.example.com"


@pytest.mark.parametrize("tool", [Tool.OPENSSL, Tool.KEYTOOL])
def test_no_common_name_ends_its_argument(tool: Tool, tmp_path: Path) -> None:
    """A common name may come from a certificate of elsewhere: any text."""
    wanted = CSRContent(("shop.example.com",), "ec-p256", common_name=HOSTILE)
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    type_passwords(compose(tool, wanted), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_hostile_common_name_is_left_out_of_the_request_file() -> None:
    command = compose(Tool.POWERSHELL, CSRContent(("shop.example.com",), "ec-p256", common_name=HOSTILE))
    assert "Subject" not in dict(inf_of(command)["NewRequest"])
    assert "touch" not in command.replace(FileNames.of((HOSTILE,)).stem, "")


@given(st.text(max_size=300))
@settings(max_examples=200)
def test_file_names_are_plain_and_short_for_any_name(name: str) -> None:
    files = FileNames.of((name,))
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,110}|certificate\.key", files.key)


@pytest.mark.parametrize("case", ["loop", "one by one"])
def test_many_csrs_of_one_command_pass_the_gate(case: str, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    others = () if case == "loop" else (("*.apps.example.com",), ("b.example.com", "192.0.2.7"), (LONG,))
    names = (("a-1.example.com",), ("a-2.example.com",), *others)
    wanted = [CSRContent(each, "ec-p384") for each in names]
    command = compose_many(wanted)
    assert command.startswith("for name in ") is (case == "loop")
    type_passwords(command, tmp_path)
    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}
    for one in wanted:
        assert_asks_for(read_csr((tmp_path / one.files.csr).read_bytes(), domains=("example.com",)), one)


def test_many_csrs_need_names_and_a_key_that_openssl_makes() -> None:
    assert compose_many([]) == ""
    assert compose_many([CSRContent(("a.example.com",), "ml-dsa-65")]) == ""
    with pytest.raises(ValueError, match="is not a DNS name"):
        compose_many([CSRContent(("a.example.com; rm -rf /",), "ec-p256")])
