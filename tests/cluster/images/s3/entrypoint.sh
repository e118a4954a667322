#!/bin/sh
# Arguments go to `versitygw posix`.
set -eu

if [ -s /tls/tls.crt ] && [ -s /tls/tls.key ]; then
  export VGW_CERT=/tls/tls.crt VGW_KEY=/tls/tls.key
fi
if [ -d /versions ]; then
  set -- --versioning-dir /versions "$@"
fi
exec versitygw posix "$@" /data
