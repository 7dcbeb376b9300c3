from tests.certs.access.cast import cast
from tests.certs.access.matrix import things

__all__ = ["cast", "things"]
