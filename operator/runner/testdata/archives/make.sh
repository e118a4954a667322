#!/bin/bash
# Makes the archives beside it. Usage: make.sh <major> <directory of that major's programs, server included>
set -euo pipefail
major=$1 bin=$2
here=$(cd "$(dirname "$0")" && pwd)
data=$(mktemp -d)
export PGHOST=$data PGPORT=54329 PGUSER=postgres PGDATABASE=archive PGTZ=UTC
"$bin/initdb" --pgdata="$data/data" --username=postgres --auth=trust --encoding=UTF8 --locale=C --no-sync >/dev/null
"$bin/postgres" -D "$data/data" -k "$data" -p $PGPORT -c listen_addresses= -c fsync=off 2>"$data/log" &
server=$!
trap 'kill -INT $server; wait $server || true; rm -rf "$data"' EXIT
# psql of another version will do; not every collection of programs has one.
psql=$(command -v "$bin/psql" psql | head -1)
until "$psql" -d postgres -qc 'CREATE DATABASE archive' 2>/dev/null; do sleep 0.1; done
"$psql" -Xqo /dev/null --set=ON_ERROR_STOP=1 -f "$here/seed.sql"
# Through a pipe, as the runner has it: a file would get offsets.
"$bin/pg_dump" --format=custom --compress=0 | cat >"$here/$major.dump"
"$bin/pg_restore" --list "$here/$major.dump" >"$here/$major.list"
"$psql" -XAtF' ' >"$here/$major.counts" <<'SQL'
SELECT format('SELECT %s, count(*) FROM %s', oid::oid, oid::regclass) FROM pg_class
WHERE relkind = 'r' AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
ORDER BY oid \gexec
SQL
"$psql" -XAtF' ' -c 'SELECT oid, length(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY oid' >"$here/$major.objects"
