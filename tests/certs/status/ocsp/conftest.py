"""No answer and no responder is kept from one test to the next."""

from __future__ import annotations

import pytest

from certs.status.ocsp.respond import forget_answers
from certs.status.ocsp.signers import forget_signers


@pytest.fixture(autouse=True)
def _fresh() -> None:
    forget_answers()
    forget_signers()
