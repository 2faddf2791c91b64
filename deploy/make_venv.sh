#!/bin/sh
# Make or refresh .venv in the current directory from constraints-dev.txt. All output goes to stderr, so that
# `make demo ARGS=--json` prints one JSON object and nothing else.
#
# usage: make_venv.sh <stamp file inside .venv>
#
# The stamp is written last and holds the checkout's path: an interrupted build has none, and an environment that
# was moved or copied names another place. Both are made anew, everything else is refreshed in place.
set -eu
exec >&2

stamp=$1
here=$(pwd -P)
started=$(date +%s)
unset PYTHONHOME PYTHONPATH PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT 2>/dev/null || true

if ! { [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$here" ] && .venv/bin/python -c 'import pip' 2>/dev/null; }; then
    python=$(sh deploy/find_python.sh)
    printf 'fettle: making .venv with %s (%s)\n' "$("$python" --version)" "$python"
    rm -rf .venv
    "$python" -m venv .venv || {
        printf 'fettle: %s could not make a virtual environment in %s: free space there, or install its venv package (on Debian or Ubuntu: apt install python3-venv), then run make again.\n' "$python" "$here"
        exit 1
    }
fi
rm -f "$stamp"

printf 'fettle: installing %s locked packages (a minute or two the first time)\n' "$(grep -c '^[A-Za-z0-9].*==' constraints-dev.txt)"
.venv/bin/python -m pip install -qq --disable-pip-version-check --no-input --require-hashes -r constraints-dev.txt
printf 'fettle: installing Fettle itself, editable\n'
.venv/bin/python -m pip install -qq --disable-pip-version-check --no-input --no-deps --no-build-isolation -e .
printf '%s\n' "$here" >"$stamp"
printf 'fettle: .venv is ready after %s s\n' "$(($(date +%s) - started))"
