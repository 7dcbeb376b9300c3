"""OCSP for own CAs: what is asked, looked up, signed by a delegated responder, and kept for as long as it is true."""

from certs.ocsp.answering import Reply, answer

__all__ = ["Reply", "answer"]
