#!/bin/sh
# Start the Temporal server with the database password from its file: the image itself reads the environment only.
set -eu

POSTGRES_PWD=$(cat "${POSTGRES_PWD_FILE:?the path of the database password is missing}")
export POSTGRES_PWD
exec /etc/temporal/entrypoint.sh
