from tests.certs.access.cast import cast

__all__ = ["cast"]
