"""What every test of certificates leaves behind is cleared up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from certs.status.ocsp.lookup import lookups


@pytest.fixture(autouse=True)
def _no_connection_is_left() -> Iterator[None]:
    """OCSP has a database connection of its own for each thread: the test database could not be dropped."""
    yield
    lookups.close()
