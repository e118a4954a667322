#!/usr/bin/env bash
# Tests of the images for tests, on a node that is up: each under Pod Security level `restricted`, with TLS.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
NODE=$HERE/node.sh
source "$HERE/test-lib.sh"
SPACE=parts-test
OUT=$(mktemp)
WORK=$(mktemp -d)
KUBECONFIG=$("$NODE" kubeconfig)
export KUBECONFIG
kube() { "$(dirname "$KUBECONFIG")/bin/kubectl" --namespace "$SPACE" "$@"; }
trap 'kube delete namespace "$SPACE" --ignore-not-found --wait=false >/dev/null 2>&1; rm -rf "$OUT" "$WORK"' EXIT

hand() { kube exec hand -- bash -c "$1"; }
deploy() {
  kube delete namespace "$SPACE" --ignore-not-found || return 1
  kube create namespace "$SPACE" && kube label namespace "$SPACE" pod-security.kubernetes.io/enforce=restricted || return 1
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=parts -addext subjectAltName=DNS:postgres,DNS:s3 \
    -keyout "$WORK/tls.key" -out "$WORK/tls.crt" || return 1
  kube create secret tls tls --cert "$WORK/tls.crt" --key "$WORK/tls.key" || return 1
  kube create secret generic password --from-literal=password="it's a \$ecret" || return 1
  kube apply -f "$HERE/testdata/parts.yaml" && kube wait --for=condition=Ready pod --all --timeout=120s
}
encrypted() { hand "psql -qAt 'host=postgres user=postgres sslmode=verify-full' -c \"select ssl, version from pg_stat_ssl where pid = pg_backend_pid()\"" | grep -x 't|TLSv1.3'; }
refuses_password() { hand "PGPASSWORD=wrong psql 'host=postgres user=postgres' -c 'select 1' 2>&1 || true" | grep 'password authentication failed'; }
replication() { hand "psql -qAt 'host=postgres user=postgres replication=database sslmode=verify-full' -c IDENTIFY_SYSTEM"; }
survives_restart() {
  hand "psql 'host=postgres user=postgres' -c 'create table kept(x int)'" && kube exec postgres -- bash -c 'kill -INT 1' || return 1
  kube wait --for='jsonpath={.status.containerStatuses[0].restartCount}=1' pod/postgres --timeout=30s || return 1
  kube wait --for=condition=Ready pod/postgres --timeout=30s && hand "psql 'host=postgres user=postgres' -c 'table kept'"
}
round_trip() {
  hand 'set -e; cd /tmp; aws s3 mb s3://bucket; head -c 20000000 /dev/urandom >a; age-keygen -o key 2>/dev/null
    zstd -q a -c | age -e -i key >a.age; aws s3 cp --no-progress a.age s3://bucket/a.age; aws s3 cp --no-progress s3://bucket/a.age c.age
    age -d -i key c.age | zstd -qd | cmp - a'
}
# shellcheck disable=SC2016 # expanded in the Pod
versions() {
  hand 'set -e; cd /tmp; aws s3api put-bucket-versioning --bucket bucket --versioning-configuration Status=Enabled
    for i in 1 2; do echo $i >v; aws s3 cp --no-progress v s3://bucket/v; done; aws s3api list-object-versions --bucket bucket --prefix v --query "length(Versions)"' | grep -x 2
}
dumps() { hand "pg_dump --version && pg_dump 'host=postgres user=postgres' >/tmp/dump && grep -q 'TABLE public.kept' /tmp/dump"; }

check "the parts run under Pod Security level restricted" deploy
check "PostgreSQL: a verified TLS connection by password" encrypted
check "PostgreSQL: refuses a wrong password" refuses_password
check "PostgreSQL: a replication connection" replication
check "PostgreSQL: data outlive a restart of the container" survives_restart
check "PostgreSQL: pg_dump of the restore image" dumps
check "S3: age and zstd, up and down again, over verified TLS" round_trip
check "S3: object versions" versions
summary
