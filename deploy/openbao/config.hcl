# OpenBao beside the portal on one host. Put TLS in front, or set tls_cert_file and tls_key_file, before it leaves this host.
storage "file" {
  path = "/openbao/file"
}

listener "tcp" {
  address     = "0.0.0.0:8200"
  tls_disable = true
}

disable_mlock = false
