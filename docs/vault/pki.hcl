# For a portal whose CA is the PKI engine (`pki` mount, role `portal`): sign, look up, revoke.

path "pki/sign/portal" { capabilities = ["create", "update"] }
path "pki/roles/portal" { capabilities = ["read"] }
path "pki/certs" { capabilities = ["list"] }
path "pki/certs/revoked" { capabilities = ["list"] }
path "pki/cert/*" { capabilities = ["read"] }
path "pki/revoke" { capabilities = ["create", "update"] }

# What this token may do: asked before requests that wait go on.
path "sys/capabilities-self" { capabilities = ["update"] }

path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
