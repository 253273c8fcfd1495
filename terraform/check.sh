#!/usr/bin/env bash
# Checks Terraform's files and says by which means. The Go test needs nothing: it
# compares the format with hclwrite.Format, and every block, argument and reference
# with testdata/schemas. Where the program is found, "terraform fmt" looks too, and
# where it can have the providers, "terraform validate".
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

say() { echo "terraform-check: $*"; }

go test -count=1 .
say "contents: checked by the Go test against testdata/schemas"

if ! command -v terraform >/dev/null; then
  say "format: checked by hclwrite.Format; the program terraform was not found, and validates nothing"
  exit
fi
terraform fmt -check -diff -recursive .
say "format: checked by terraform fmt"

# Environments call every module; a copy keeps what init writes out of the tree.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r modules environments "$work"
for dir in "$work"/environments/*/; do
  if ! timeout 300 terraform -chdir="$dir" init -backend=false -input=false -no-color >"$work/init.log" 2>&1; then
    if grep -qE 'Failed to (query available provider packages|install provider)' "$work/init.log"; then
      say "contents: not checked by terraform validate, as the providers cannot be had here"
      exit
    fi
    cat "$work/init.log"
    exit 1
  fi
  terraform -chdir="$dir" validate -no-color
  say "contents: checked by terraform validate too, ${dir#"$work"/}"
done
