"""Who can give rights, for pages that refuse something."""

from __future__ import annotations

from django import template

from certs.access.roles import people_who_give_roles

register = template.Library()


@register.simple_tag
def role_givers() -> list[str]:
    """Return the names of people who can give roles."""
    return people_who_give_roles()
