#!/bin/sh
# Fetch the exact versions of package.json and copy the few files that the pages use, with their licences and SHA-256 sums.
set -eu
cd "$(dirname "$0")"
npm install --ignore-scripts --no-audit --no-fund --no-package-lock >/dev/null
static=../../static/vendor
mkdir -p "$static/bootstrap-5.3.9" ../../tests/journeys/vendor
cp node_modules/bootstrap/dist/css/bootstrap.min.css node_modules/bootstrap/LICENSE "$static/bootstrap-5.3.9/"
sed -i '/sourceMappingURL/d' "$static/bootstrap-5.3.9/bootstrap.min.css"
cp node_modules/axe-core/axe.min.js ../../tests/journeys/vendor/axe.min.js
cp node_modules/axe-core/LICENSE ../../tests/journeys/vendor/axe-LICENSE
(cd "$static" && find . -type f ! -name SHA256SUMS | sort | xargs sha256sum > SHA256SUMS)
rm -rf node_modules
