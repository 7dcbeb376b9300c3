#!/bin/sh
# Fetch the exact versions of package.json, copy the few files that the pages and tests use, with their licences, and compare
# them with the sums that were committed. `copy.sh --update` writes new sums, for a review: after a version was changed here.
set -eu
cd "$(dirname "$0")"
npm install --ignore-scripts --no-audit --no-fund --no-package-lock >/dev/null
static=../../static/vendor
tests=../../tests/journeys/vendor
mkdir -p "$static/bootstrap-5.3.9" "$tests"
cp node_modules/bootstrap/dist/css/bootstrap.min.css node_modules/bootstrap/LICENSE "$static/bootstrap-5.3.9/"
sed -i '/sourceMappingURL/d' "$static/bootstrap-5.3.9/bootstrap.min.css"
cp node_modules/axe-core/axe.min.js "$tests/axe.min.js"
cp node_modules/axe-core/LICENSE "$tests/axe-LICENSE"
rm -rf node_modules
for folder in "$static" "$tests"; do
  if [ "${1:-}" = --update ]; then
    (cd "$folder" && find . -type f ! -name SHA256SUMS | LC_ALL=C sort | xargs sha256sum > SHA256SUMS)
  else
    (cd "$folder" && sha256sum --check --strict --quiet SHA256SUMS)
  fi
done
