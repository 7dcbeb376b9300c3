"""How static files are stored in production: named by their content, and compressed with gzip."""

from __future__ import annotations

from typing import Any

from whitenoise.compress import Compressor
from whitenoise.storage import CompressedManifestStaticFilesStorage


class GzippedStaticFiles(CompressedManifestStaticFilesStorage):  # type: ignore[misc] # whitenoise has no types
    """The same files whatever is installed: WhiteNoise adds Brotli where it finds the library, and then takes a minute."""

    def create_compressor(self, **options: Any) -> Any:
        return Compressor(**options, use_brotli=False)
