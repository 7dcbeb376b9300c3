"""JSON by the hundred: what `json.dumps` does, without making an encoder for each. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable
from json import encoder
from typing import Any


def json_encoder(*, sort_keys: bool = False) -> Callable[[Any], str]:
    """Return a function that writes what it is given in ASCII and without spaces. It is for values that do not hold themselves."""
    plain = json.JSONEncoder(sort_keys=sort_keys, separators=(",", ":"), ensure_ascii=True, check_circular=False)
    make = getattr(encoder, "c_make_encoder", None)
    if make is None:  # another Python than CPython
        return plain.encode
    pieces = make(None, plain.default, encoder.encode_basestring_ascii, None, ":", ",", sort_keys, False, True)
    return lambda value: "".join(pieces(value, 0))
