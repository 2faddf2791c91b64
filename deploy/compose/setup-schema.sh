#!/bin/sh
# Bring Temporal's two databases to this release's schema. Safe to run at every start: a database that exists is
# kept, the version tables are only made when missing, and update-schema applies what is newer.
set -eu

SQL_PASSWORD=$(cat "${SQL_PASSWORD_FILE:?the path of the database password is missing}")
export SQL_PASSWORD

schemas=/etc/temporal/schema/postgresql/v12

prepare() { # prepare <database> <directory of its schema>
    printf 'temporal-schema: %s\n' "$1"
    SQL_DATABASE=$1 temporal-sql-tool create-database
    SQL_DATABASE=$1 temporal-sql-tool setup-schema --version 0.0
    SQL_DATABASE=$1 temporal-sql-tool update-schema --schema-dir "$schemas/$2/versioned"
}

prepare temporal temporal
prepare temporal_visibility visibility
printf 'temporal-schema: both databases are up to date\n'
