"""A key backend in memory that can be told to misbehave, and the local one set up."""

from __future__ import annotations

from typing import Any

import pytest

from keys.backends.base import KeyBackend
from keys.registry import get_key_backend
from tests.twins.keys import TwinKeyBackend


@pytest.fixture
def twin(settings: Any) -> TwinKeyBackend:
    settings.KEY_BACKENDS = {**settings.KEY_BACKENDS, "twin": {"BACKEND": "tests.twins.keys.TwinKeyBackend"}}
    backend = get_key_backend("twin")
    assert isinstance(backend, TwinKeyBackend)
    return backend


@pytest.fixture
def local(db: None) -> KeyBackend:
    backend = get_key_backend("local")
    backend.set_up()
    return backend
