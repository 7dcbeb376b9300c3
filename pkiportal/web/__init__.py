"""HTTP in front of and around the views: middleware, error pages, static files, CRL and OCSP."""
