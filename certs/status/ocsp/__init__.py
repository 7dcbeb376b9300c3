"""OCSP for own CAs: what is asked, looked up, signed by a delegated responder, and kept for as long as it is true."""

from certs.status.ocsp.respond import Reply, answer

__all__ = ["Reply", "answer"]
