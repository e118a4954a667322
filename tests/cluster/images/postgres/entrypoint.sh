#!/bin/bash
# Makes the database cluster when there is none, then becomes the server. Arguments go to the server.
set -euo pipefail

if [[ ! -s $PGDATA/PG_VERSION ]]; then
  if [[ -n ${POSTGRES_PASSWORD_FILE:-} ]]; then POSTGRES_PASSWORD=$(<"$POSTGRES_PASSWORD_FILE"); fi
  : "${POSTGRES_PASSWORD:?set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE}"
  # Made beside its place and moved, so that a container killed half-way does not leave half a cluster.
  rm -rf "$PGDATA.new"
  mkdir -p "$PGDATA.new"
  initdb --pgdata="$PGDATA.new" --username=postgres --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") \
    --auth-local=peer --auth-host=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8
  printf '%s\n' 'host all all all scram-sha-256' 'host replication all all scram-sha-256' >>"$PGDATA.new/pg_hba.conf"
  if [[ -d $PGDATA ]]; then rmdir "$PGDATA"; fi # refuses when something is in it
  mv -T "$PGDATA.new" "$PGDATA"
fi
unset POSTGRES_PASSWORD

tls=()
if [[ -s /tls/tls.crt && -s /tls/tls.key ]]; then
  # A mounted Secret's key is readable for a group or for all, which the server refuses; kept out of PGDATA, so that no
  # base backup carries it.
  (umask 077 && mkdir -p /run/postgresql/tls && cp -L /tls/tls.crt /tls/tls.key /run/postgresql/tls/)
  tls=(-c ssl=on -c ssl_cert_file=/run/postgresql/tls/tls.crt -c ssl_key_file=/run/postgresql/tls/tls.key)
fi
exec postgres -c listen_addresses='*' -c unix_socket_directories=/run/postgresql "${tls[@]}" "$@"
