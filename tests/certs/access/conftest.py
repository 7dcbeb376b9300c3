import pytest

from certs.api.auth import forget_tokens
from tests.certs.access.cast import cast

__all__ = ["cast"]


@pytest.fixture(autouse=True)
def _no_names_of_other_tests() -> None:
    forget_tokens()
