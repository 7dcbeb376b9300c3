"""Names of the files on the requester's machine: key, CSR, certificate. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

LONGEST_STEM = 120  # characters; with an ending below the 255 octets of most file systems
_OTHER = re.compile(r"[^a-z0-9.-]")
_PLAIN = re.compile(r"[A-Za-z0-9._*:-]+")


def is_plain(name: str) -> bool:
    """Whether a name consists of the letters of DNS names and IP addresses in normal form."""
    return _PLAIN.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class FileNames:
    """The files of one certificate, all named after its first name."""

    stem: str

    @classmethod
    def of(cls, names: Sequence[str], *, otherwise: str = "certificate") -> FileNames:
        """Name the files after the first name, of letters that no shell and no file system mistakes.

        `otherwise`: the stem where no letter is left.
        """
        first = (names[0] if names else "").lower().replace("*", "wildcard")
        return cls(_OTHER.sub("_", first)[:LONGEST_STEM].lstrip(".-") or otherwise)

    @property
    def key(self) -> str:
        """The private key (PEM)."""
        return f"{self.stem}.key"

    @property
    def csr(self) -> str:
        """The certificate signing request."""
        return f"{self.stem}.csr"

    @property
    def fullchain(self) -> str:
        """The certificate with its intermediates, as the portal hands it out."""
        return f"{self.stem}-fullchain.pem"

    @property
    def root(self) -> str:
        """The root, for verifiers."""
        return f"{self.stem}-root.pem"

    @property
    def keystore(self) -> str:
        """The PKCS#12 key store of Java and Windows."""
        return f"{self.stem}.p12"

    @property
    def inf(self) -> str:
        """The request file of certreq."""
        return f"{self.stem}.inf"

    @property
    def p7b(self) -> str:
        """The certificate with its chain as PKCS#7, which Windows reads."""
        return f"{self.stem}-chain.p7b"
