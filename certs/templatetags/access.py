"""Who can give rights, for pages that refuse something."""

from __future__ import annotations

from django import template

from certs.access.roles import people_who_give_roles
from certs.people.givers import Givers, givers_of

register = template.Library()


@register.simple_tag
def role_givers(permission: str = "") -> Givers:
    """Return the role that holds a permission and who can give it; without one, who gives roles at all."""
    return givers_of(permission) if permission else Givers((), tuple(people_who_give_roles()))
