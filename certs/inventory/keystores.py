"""The commands that make a keystore from the files of a certificate, on the machine that has its private key. Pure.

The portal never has that key, so it cannot make the keystore; the commands ask for a password where
they run, and their umask keeps others from a file with a key. `stem`: how the files begin, as
`certs.inventory.download.file_stem` returns it, so no part of a command needs quoting.
"""

from __future__ import annotations


def pkcs12_command(stem: str) -> str:
    """Return the OpenSSL command for a PKCS #12 file (RFC 7292) of key, certificate and intermediates."""
    return " \\\n  ".join(
        (
            f"(umask 077 && openssl pkcs12 -export -name {stem}",
            f"-in {stem}-fullchain.pem -inkey {stem}.key",
            f"-out {stem}.p12)",
        )
    )


def jks_command(stem: str) -> str:
    """Return the keytool command that copies the PKCS #12 file into a Java keystore of the old kind."""
    return " \\\n  ".join(
        (
            "(umask 077 && keytool -importkeystore",
            f"-srckeystore {stem}.p12 -srcstoretype PKCS12",
            f"-destkeystore {stem}.jks -deststoretype JKS)",
        )
    )


def truststore_command(stem: str) -> str:
    """Return the keytool command for a truststore with the root, for clients written in Java."""
    return " \\\n  ".join(
        (
            f"keytool -importcert -noprompt -alias root -file {stem}-root.pem",
            "-keystore truststore.p12 -storetype PKCS12",
        )
    )
