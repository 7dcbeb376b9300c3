import pytest

from certs.api.http.auth import forget_tokens
from tests.certs.access.cast import cast
from tests.certs.access.matrix import things

__all__ = ["cast", "things"]


@pytest.fixture(autouse=True)
def _no_names_of_other_tests() -> None:
    forget_tokens()
