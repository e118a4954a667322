# shellcheck shell=bash
# `ok` and `not ok` lines. A command's own output goes to $OUT and is shown when its check fails.
PASSED=0
FAILED=0

timed() {
  local start=$SECONDS
  "$@" >"$OUT" 2>&1 || return 1
  TOOK=" ($((SECONDS - start)) s)"
}

check() { # NAME COMMAND...
  local name=$1
  shift
  TOOK=
  if "$@" >"$OUT.check" 2>&1; then
    echo "ok - $name$TOOK"
    PASSED=$((PASSED + 1))
  else
    echo "not ok - $name"
    sed 's/^/    /' "$OUT.check" "$OUT"
    FAILED=$((FAILED + 1))
  fi
  rm -f "$OUT.check"
}

summary() {
  echo "$PASSED passed, $FAILED failed"
  ((FAILED == 0))
}
