"""Forms of the admin as a browser sends them."""

from __future__ import annotations

from typing import Any

from django.test import Client


def address(row: Any, page: str = "change") -> str:
    meta = row._meta
    return f"/admin/{meta.app_label}/{meta.model_name}/{row.pk}/{page}/"


def posted(client: Client, url: str, data: dict[str, Any]) -> None:
    response = client.post(url, data, secure=True)
    found = response.context and response.context.get("errors")
    assert response.status_code == 302, (response.status_code, found)
