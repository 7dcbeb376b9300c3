"""The tests mirror the tree; `harness/` starts what they run on, `vaultd/` is the Vault they talk to."""
