"""What programs that did not make them say of CRLs and OCSP answers. Several exit 0 when the answer is no, so their words are read."""

from __future__ import annotations

import asyncio
import base64
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from asn1crypto import crl as asn1_crl
from asn1crypto import ocsp as asn1_ocsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pyhanko_certvalidator import CertificateValidator, ValidationContext
from pyhanko_certvalidator.errors import PathBuildingError, PathValidationError

from certs.models import Certificate, Issuer
from certs.x509.asn1.pem import pem_of


def run(*command: str | Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=60)
    out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(command, done.returncode, out, err)


@dataclass(frozen=True)
class Files:
    """An issuing CA, its root and both together, as PEM files in a folder."""

    folder: Path
    issuer: Path
    root: Path

    @classmethod
    def of(cls, issuer: Issuer, folder: Path) -> Files:
        assert issuer.parent is not None
        made = cls(folder, folder / "issuer.pem", folder / "root.pem")
        made.issuer.write_text(pem_of(bytes(issuer.certificate_der or b"")))
        made.root.write_text(pem_of(bytes(issuer.parent.certificate_der or b"")))
        return made

    def leaf(self, certificate: Certificate) -> Path:
        path = self.folder / f"{certificate.cert_id}.pem"
        path.write_text(pem_of(bytes(certificate.body.der)))
        return path


def openssl_ocsp(files: Files, certificate: Certificate, url: str, *more: str) -> str:
    """The status that `openssl ocsp` reads by POST with a nonce, after it verified the answer. Fails on any warning."""
    leaf = files.leaf(certificate)
    trust = ["-CAfile", str(files.root), "-verify_other", str(files.issuer)]
    done = run("openssl", "ocsp", "-issuer", files.issuer, *more, "-cert", leaf, *trust, "-url", url)
    said = done.stdout + done.stderr
    assert "Response verify OK" in said, said
    assert "WARNING" not in said, said
    found = re.search(rf"{re.escape(str(leaf))}: (\w+)", said)
    assert found is not None, said
    return found[1]


def openssl_ocsp_get(files: Files, certificate: Certificate, url: str) -> str:
    """The status by GET, made by hand: request by openssl, base64 and percent-encoding here, the answer judged by openssl."""
    request, answer = files.folder / "request.der", files.folder / "answer.der"
    made = run("openssl", "ocsp", "-issuer", files.issuer, "-cert", files.leaf(certificate), "-no_nonce", "-reqout", request)
    assert made.returncode == 0, made.stderr
    text = quote(base64.b64encode(request.read_bytes()).decode(), safe="")
    fetched = run("curl", "--silent", "--show-error", "--fail", "--output", answer, f"{url}/{text}")
    assert fetched.returncode == 0, fetched.stderr
    return openssl_ocsp_judges(files, certificate, answer)


def openssl_ocsp_judges(files: Files, certificate: Certificate, answer: Path) -> str:
    trust = ["-CAfile", str(files.root), "-verify_other", str(files.issuer), "-no_nonce"]
    done = run("openssl", "ocsp", "-issuer", files.issuer, "-cert", files.leaf(certificate), *trust, "-respin", answer)
    said = done.stdout + done.stderr
    assert "Response verify OK" in said, said
    assert "WARNING" not in said, said
    return said.split(": ", 1)[1].split("\n", 1)[0].strip() if ": " in said else said


def gnutls_ocsp(files: Files, certificate: Certificate, url: str) -> str:
    """The whole text of `ocsptool`, which asks by POST with a nonce and verifies the answer's signer."""
    trust: list[str | Path] = ["--load-issuer", files.issuer, "--load-cert", files.leaf(certificate), "--load-trust", files.issuer]
    done = run("ocsptool", f"--ask={url}", "--nonce", *trust)
    assert "Verifying OCSP Response: Success" in done.stdout, done.stdout + done.stderr
    return done.stdout


def openssl_verify(files: Files, certificate: Certificate, crls: Path) -> str:
    """`OK`, or openssl's reason why not: strict, with the CRLs of leaf and issuer. They must be there and valid."""
    leaf, options = files.leaf(certificate), ["-x509_strict", "-auth_level", "2", "-crl_check_all", "-extended_crl"]
    done = run("openssl", "verify", *options, "-CAfile", files.root, "-untrusted", files.issuer, "-CRLfile", crls, leaf)
    if done.returncode == 0:
        assert done.stdout.strip() == f"{leaf}: OK", done.stdout
        return "OK"
    found = re.search(r"error \d+ at \d+ depth lookup: (.*)", done.stdout + done.stderr)
    assert found is not None, done.stdout + done.stderr
    return found[1].strip()


def gnutls_crl(authority: Path, crl: Path) -> None:
    """Fails unless `certtool` finds the CRL signed by that CA and valid."""
    text = crl_pem(crl.with_suffix(".crl.pem"), x509.load_der_x509_crl(crl.read_bytes()))
    done = run("certtool", "--verify-crl", "--load-ca-certificate", authority, "--infile", text)
    assert "Verification output: Verified." in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0, done.stderr


def lint(tool: str, *options: str | Path) -> str:
    """What a linter of pkilint says from WARNING on; empty when it finds nothing. It exits with the number of findings."""
    done = run(Path(sys.executable).parent / tool, "lint", "-s", "WARNING", *options)
    assert "Traceback" not in done.stderr, done.stderr
    said = done.stdout.strip()
    assert (done.returncode == 0) == (said == ""), (done.returncode, said)
    return said


def crl_pem(path: Path, *crls: x509.CertificateRevocationList) -> Path:
    path.write_bytes(b"".join(crl.public_bytes(Encoding.PEM) for crl in crls))
    return path


def crl_der(path: Path, crl: x509.CertificateRevocationList) -> Path:
    path.write_bytes(crl.public_bytes(Encoding.DER))
    return path


def pyhanko_refuses(certificate: Certificate, *, crls: Sequence[bytes] = (), ocsps: Sequence[bytes] = ()) -> str:
    """Empty when pyhanko-certvalidator believes the leaf on that status information alone, else its reason. Nothing is fetched."""
    issuer = certificate.issuer
    assert issuer.parent is not None
    load = asn1_x509.Certificate.load
    context = ValidationContext(
        trust_roots=[load(bytes(issuer.parent.certificate_der or b""))],
        other_certs=[load(bytes(issuer.certificate_der or b""))],
        crls=[asn1_crl.CertificateList.load(one) for one in crls],
        ocsps=[asn1_ocsp.OCSPResponse.load(one) for one in ocsps],
        revocation_mode="require",
        allow_fetching=False,
    )
    validator = CertificateValidator(load(bytes(certificate.body.der)), validation_context=context)
    # A thread of its own: where this process has driven a browser, a loop runs in the main one.
    with ThreadPoolExecutor(1) as thread:
        usage = validator.async_validate_usage({"digital_signature"}, {"server_auth"})  # type: ignore[no-untyped-call]
        validated = thread.submit(asyncio.run, usage)
    try:
        validated.result()
    except (PathValidationError, PathBuildingError) as exc:
        return str(exc)
    return ""
