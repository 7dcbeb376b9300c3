"""The steps of `certs.issuance.advance`. Each has `reserve`, and an act with `execute` and `record`, or one function in its place."""
