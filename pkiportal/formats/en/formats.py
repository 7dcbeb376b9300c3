"""A moment has seconds and a zone, so that it can be compared with logs and events (`django.conf.locale.en.formats` has neither)."""

DATETIME_FORMAT = "j M Y H:i:s T"
DATE_FORMAT = "j M Y"
