#!/bin/sh
# Resolve pyproject.toml into two lock files for every supported Python and platform, hashes included:
# constraints.txt is what production runs, constraints-dev.txt adds the tests, the linters and the dev server, and
# deploy/constraints-build.txt is what turns the sources into a wheel inside the image's build stage.
#
# usage: lock.sh [options for uv pip compile, such as --upgrade]
#
# A lock file names packages and hashes only. Where they come from is each machine's own setting, so a file in which
# an address appears is refused and the old one stays.
set -eu

uv=${UV:-uv}
command -v "$uv" >/dev/null 2>&1 || {
    printf 'fettle: %s is not a program on PATH, and the lock files are made with uv: install it (pipx install uv), or name it with make lock UV=/path/to/uv.\n' "$uv" >&2
    exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/deploy"

compile() { # compile <file> <options for uv, sources included>
    file=$1
    shift
    # The old file is uv's preference: pins move only when asked to.
    [ ! -f "$file" ] || cp "$file" "$work/$file"
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
        -o "$work/$file" "$@"
    if grep -nE '://|^ *--(index-url|extra-index-url|find-links)' "$work/$file" >&2; then
        printf 'fettle: the new %s holds the address above, and a lock file may hold none: run make lock without find-links or URL requirements.\n' "$file" >&2
        exit 1
    fi
}

compile constraints.txt pyproject.toml --extra postgres "$@"
compile constraints-dev.txt pyproject.toml --all-extras --group dev "$@"
compile deploy/constraints-build.txt --group build "$@"
for file in constraints.txt constraints-dev.txt deploy/constraints-build.txt; do
    cat "$work/$file" >"$file"
    printf 'fettle: %s pins %s packages\n' "$file" "$(grep -c '^[A-Za-z0-9].*==' "$file")" >&2
done
