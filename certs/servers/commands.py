"""Commands with which a person makes a private key and a CSR on their own machine. Pure.

The one composer of such commands for pages, mails and documents. Every text is quoted for the
shell or the file that it is written to, so that no name ends its argument: names come from
certificates of elsewhere as well as from the portal's own parser.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from certs.servers.files import FileNames, is_plain
from certs.servers.kinds import Tool
from keys.spec import KeyFacts

LONGEST_COMMON_NAME = 64  # characters: ub-common-name of RFC 5280 appendix A.1
_CURVES = {256: "P-256", 384: "P-384", 521: "P-521"}
_EKU_OIDS = {"tls-server": "1.3.6.1.5.5.7.3.1", "tls-client": "1.3.6.1.5.5.7.3.2"}


@dataclass(frozen=True, slots=True)
class CSRContent:
    """What a CSR is to ask for.

    `names`: DNS names and IP addresses in normal form. `key`: a `KeyFacts.name` such as "ec-p256".
    `common_name`: "" for the first name that a common name may hold.
    """

    names: tuple[str, ...]
    key: str
    profile: str = "tls-server"
    common_name: str = ""

    @property
    def files(self) -> FileNames:
        """The files that the command makes, named as those of the certificate: after the common name, which comes first there."""
        first = self.subject_name or self.common_name
        return FileNames.of((first, *self.names) if first else self.names)

    @property
    def subject_name(self) -> str:
        """The common name; "" where no name is short enough for one."""
        if self.common_name:
            return self.common_name if len(self.common_name) <= LONGEST_COMMON_NAME else ""
        hosts = [name for name in self.names if not _is_address(name)] or self.names
        return next((name for name in hosts if len(name) <= LONGEST_COMMON_NAME), "")


def compose(tool: Tool, wanted: CSRContent) -> str:
    """Return the command of that tool, without a line end.

    "" where the tool makes no such key, or where there is no name. Raises ValueError for a name
    with a letter that no DNS name or IP address has.
    """
    if not wanted.names:
        return ""
    for name in wanted.names:
        if not is_plain(name):
            raise ValueError(f"{name[:80]!r} is not a DNS name or an IP address in normal form")
    return _COMPOSERS[tool](wanted, KeyFacts.from_name(wanted.key))


def compose_many(wanted: Sequence[CSRContent]) -> str:
    """Return one openssl command that makes a key and a CSR for each, without a line end.

    A loop over the names where each has one, all with the same kind of key; else a command for each.
    "" where openssl makes no such key, or nothing is wanted. Raises ValueError as `compose` does.
    """
    each = [compose(Tool.OPENSSL, one) for one in wanted]
    if not all(each):
        return ""
    first = wanted[0] if wanted else None
    if first is None or not all(_is_one_short_name(one) and one.key == first.key for one in wanted):
        return "\n".join(each)
    names = " \\\n  ".join(one.names[0] for one in wanted)
    return (
        f"for name in {names}; do\n"
        f"  (umask 077 && openssl req -new -newkey {_openssl_key(KeyFacts.from_name(first.key))} -nodes \\\n"
        '    -keyout "$name.key" -out "$name.csr" \\\n'
        '    -subj "/CN=$name" -addext "subjectAltName=DNS:$name")\ndone'
    )


def _is_one_short_name(wanted: CSRContent) -> bool:
    """Whether the name is also the name of its files, and fits into a common name."""
    if len(wanted.names) != 1 or _is_address(wanted.names[0]):
        return False
    (name,) = wanted.names
    return wanted.files.stem == name and wanted.subject_name == name


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


# --- openssl: OpenSSL 1.1.1 and later, and the LibreSSL of macOS ---


def _openssl(wanted: CSRContent, key: KeyFacts) -> str:
    options = _openssl_key(key)
    if not options:
        return ""
    files = wanted.files
    names = ",".join(f"{'IP' if _is_address(name) else 'DNS'}:{name}" for name in wanted.names)
    # In a shell of its own: the umask keeps others from the key and ends with the command.
    # `-nodes`: a server reads its key without a person who types a passphrase.
    lines = (
        f"(umask 077 && openssl req -new -newkey {options} -nodes",
        f"-keyout {shlex.quote(files.key)} -out {shlex.quote(files.csr)}",
        f"-subj {shlex.quote(_openssl_subject(wanted.subject_name))}",
        f"-addext {shlex.quote(f'subjectAltName={names}')})",
    )
    return " \\\n  ".join(lines)  # lines that a mail program need not break


def _openssl_key(key: KeyFacts) -> str:
    match key.family:
        case "rsa":
            return f"rsa:{key.bits}"
        case "ec" if key.bits in _CURVES:
            return f"ec -pkeyopt ec_paramgen_curve:{_CURVES[key.bits]}"
        case "ed25519":
            return "ed25519"
    return ""


def _openssl_subject(common_name: str) -> str:
    if not common_name:
        return "/"
    # A subject is `/type=value` each; a slash in the value would begin another one.
    return "/CN=" + common_name.replace("\\", "\\\\").replace("/", "\\/").replace("+", "\\+")


# --- certreq: a request file, written and read by PowerShell ---


def _powershell(wanted: CSRContent, key: KeyFacts) -> str:
    algorithm = _certreq_key(key)
    if not algorithm:
        return ""
    names = [f"{'ipaddress' if _is_address(name) else 'dns'}={name}" for name in wanted.names]
    usage = _certreq_usage(wanted.profile, key)
    subject = _certreq_subject(wanted.subject_name)
    extended = _EKU_OIDS.get(wanted.profile)
    lines = [
        # Between these quotation marks PowerShell expands nothing; no line of ours begins with '@.
        "$request = @'",
        "[Version]",
        'Signature = "$Windows NT$"',
        "[NewRequest]",
        *([f"Subject = {subject}"] if subject else []),
        *algorithm,
        "HashAlgorithm = SHA256",
        'ProviderName = "Microsoft Software Key Storage Provider"',
        "RequestType = PKCS10",
        "MachineKeySet = TRUE",
        "Exportable = FALSE",
        f'KeyUsage = "{usage}"',
        *(["[EnhancedKeyUsageExtension]", f"OID = {extended}"] if extended else []),
        "[Extensions]",
        '2.5.29.17 = "{text}"',
        *(f'_continue_ = "{name}&"' for name in names[:-1]),
        f'_continue_ = "{names[-1]}"',
        "'@",
        f"Set-Content -Path {_powershell_text(wanted.files.inf)} -Value $request -Encoding ASCII",
        f"certreq.exe -new {_powershell_text(wanted.files.inf)} {_powershell_text(wanted.files.csr)}",
    ]
    return "\n".join(lines)


def _certreq_key(key: KeyFacts) -> list[str]:
    match key.family:
        case "rsa":
            return ["KeyAlgorithm = RSA", f"KeyLength = {key.bits}"]
        case "ec" if key.bits in _CURVES:
            return [f"KeyAlgorithm = ECDSA_P{key.bits}", f"KeyLength = {key.bits}"]
    return []


def _certreq_usage(profile: str, key: KeyFacts) -> str:
    """The key usages as in the portal's own profiles (`certs.x509.certificate.profiles`)."""
    signs, encrypts = "CERT_DIGITAL_SIGNATURE_KEY_USAGE", "CERT_KEY_ENCIPHERMENT_KEY_USAGE"
    return f"{signs} | {encrypts}" if key.family == "rsa" and profile == "tls-server" else signs


def _certreq_subject(common_name: str) -> str:
    """The subject in the quotation of an INF file; "" for none (then the line is left out)."""
    if not is_plain(common_name):
        return ""
    return f'"CN={common_name}"'


def _powershell_text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# --- keytool: Java 11 and later ---


def _keytool(wanted: CSRContent, key: KeyFacts) -> str:
    algorithm = _keytool_key(key)
    if not algorithm:
        return ""
    files = wanted.files
    alias, store = shlex.quote(files.stem.lower()), shlex.quote(files.keystore)
    names = ",".join(f"{'ip' if _is_address(name) else 'dns'}:{name}" for name in wanted.names)
    name = wanted.subject_name
    # keytool makes no key pair without a subject; the one that counts is the CSR's.
    of_pair, of_csr = ((_keytool_subject(name),) * 2) if name else ("CN=key", "")
    lines = (
        f"(umask 077 && keytool -genkeypair -alias {alias} -keystore {store} -storetype PKCS12",
        f"{algorithm} -dname {shlex.quote(of_pair)} -validity 1",
        f"&& keytool -certreq -alias {alias} -keystore {store} -file {shlex.quote(files.csr)}",
        f"-dname {shlex.quote(of_csr)} -ext {shlex.quote(f'SAN={names}')})",
    )
    return " \\\n  ".join(lines)


def _keytool_key(key: KeyFacts) -> str:
    match key.family:
        case "rsa":
            return f"-keyalg RSA -keysize {key.bits}"
        case "ec" if key.bits in _CURVES:
            return f"-keyalg EC -groupname secp{key.bits}r1"
        case "ed25519":
            return "-keyalg Ed25519"
    return ""


def _keytool_subject(common_name: str) -> str:
    """RFC 4514: a backslash before what would end the value or begin another one."""
    escaped = "".join(f"\\{letter}" if letter in ',+"\\<>;=#' else letter for letter in common_name)
    return f"CN={escaped}"


_COMPOSERS: dict[Tool, Callable[[CSRContent, KeyFacts], str]] = {
    Tool.OPENSSL: _openssl,
    Tool.POWERSHELL: _powershell,
    Tool.KEYTOOL: _keytool,
}
