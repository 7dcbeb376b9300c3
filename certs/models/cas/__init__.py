"""What people do about CAs: adding one, re-issuing the certificates of one."""
