from tests.certs.access.matrix import things

__all__ = ["things"]
