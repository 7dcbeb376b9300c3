# OpenBao beside the portal on one host.
storage "file" {
  path = "/openbao/file"
}

# Its certificate is signed by the CA that the portal's VAULT_CACERT names; deploy/make-secrets makes both.
listener "tcp" {
  address         = "0.0.0.0:8200"
  tls_cert_file   = "/run/secrets/openbao_certificate"
  tls_key_file    = "/run/secrets/openbao_key"
  tls_min_version = "tls12"
}

# The container has no capability to lock memory. Run the host without swap, or with encrypted swap.
disable_mlock = true
