#!/bin/sh
# First start of the database: one role each for Temporal and Fettle, so that neither can read the other's tables.
# Temporal's schema job makes its own two databases, hence CREATEDB; Fettle gets one database and no such right.
set -eu

secrets=${SECRETS_DIR:-/run/secrets}

# The passwords travel on standard input, never in an argument list, and psql quotes them as literals.
{
    printf "\\\\set temporal_password \`cat '%s/temporal_db_password'\`\n" "$secrets"
    printf "\\\\set fettle_password \`cat '%s/fettle_db_password'\`\n" "$secrets"
    cat <<'SQL'
CREATE ROLE temporal LOGIN CREATEDB PASSWORD :'temporal_password';
CREATE ROLE fettle LOGIN PASSWORD :'fettle_password';
CREATE DATABASE fettle OWNER fettle;
REVOKE CONNECT ON DATABASE fettle FROM PUBLIC;
SQL
} | psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres
