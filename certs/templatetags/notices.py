"""Filters of the mails: the same words in the text and in the HTML part."""

from __future__ import annotations

from django import template

from certs.errors import sentence
from certs.notifications import wording

register = template.Library()
register.filter("day", wording.day)
register.filter("minute", wording.minute)
register.filter("days_left", wording.days_left)
register.filter("name_of", wording.name_of)
register.filter("sentence", sentence)
register.filter("so_many", wording.so_many)
