#!/usr/bin/env bash
# Builds the image of the first slice out of the history and loads it into the local node, for the test of an upgrade. Prints
# its name on standard output, everything else goes to standard error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
: "${GREENLANG_CACHE:=${XDG_CACHE_HOME:-$HOME/.cache}/greenlang-backup}"
: "${CARGO_TARGET_DIR:=$GREENLANG_CACHE/target}"
commit=0057df2312be0dbac5063d601deb7cb82c091679
programs=(greenlang-backup-operator greenlang-backup-runner)

source=$GREENLANG_CACHE/first-slice
rm -rf "$source"
mkdir -p "$source/context"
git archive "$commit" | tar -x -C "$source" || {
  echo "error: commit $commit is not here: fetch the whole history" >&2
  exit 1
}
# A folder of its own: the programs have the names of the present ones.
export CARGO_TARGET_DIR=$CARGO_TARGET_DIR/first-slice
(cd "$source" && cargo build --locked --release "${programs[@]/#/--package=}" >&2)
for program in "${programs[@]}"; do
  install --strip "$CARGO_TARGET_DIR/release/$program" "$source/context/$program"
done
tag=first-slice-$(cat "$source/Containerfile" "$source"/context/greenlang-backup-* | sha256sum | cut -c1-12)
tests/cluster/node.sh load localhost/greenlang-backup "$tag" "$source/context" "$source/Containerfile" --build-arg PROGRAMS=. >&2
echo "localhost/greenlang-backup:$tag"
