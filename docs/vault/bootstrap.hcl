# For `manage.py bootstrap` alone, as a short-lived token: make the root's and the CA's keys, once.

path "transit-ca/keys/+" {
  capabilities = ["create", "update", "read"]
  allowed_parameters = {
    "type"       = []
    "exportable" = [false]
  }
}

path "transit-ca/sign/+" {
  capabilities = ["create", "update"]
}

path "transit-root/keys/+" {
  capabilities = ["create", "update", "read"]
  allowed_parameters = {
    "type"       = []
    "exportable" = [false]
  }
}

path "transit-root/sign/+" {
  capabilities = ["create", "update"]
}

# Keys of OCSP responders: a new one every three days. It makes them, and never signs with them.
path "transit-ocsp/keys/+" {
  capabilities = ["create", "update", "read"]
  allowed_parameters = {
    "type"       = []
    "exportable" = [false]
  }
}

# What this token may do: asked before requests that wait go on.
path "sys/capabilities-self" { capabilities = ["update"] }

path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
