"""CAs as people look after them: what each does now, adding one, re-issuing all certificates of one."""
