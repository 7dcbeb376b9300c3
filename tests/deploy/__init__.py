"""The files that are shipped for production: image, compose file, proxy."""
