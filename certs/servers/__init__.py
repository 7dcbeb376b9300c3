"""The software that uses certificates: where a key and CSR are made for it, and how the certificate gets into it."""
