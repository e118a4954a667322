#!/usr/bin/env bash
# Builds the image and loads it into the local node. `release` is what users get; `dev` builds fast, for tests, and has
# the cut points of the crash tests. Prints the image's name on standard output, everything else goes to standard error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
profile=${1:?usage: tests/image.sh release|dev}
: "${GREENLANG_CACHE:=${XDG_CACHE_HOME:-$HOME/.cache}/greenlang-backup}"
: "${CARGO_TARGET_DIR:=$GREENLANG_CACHE/target}"
programs=(greenlang-backup-operator greenlang-backup-runner)

case $profile in
  # The demo itself is built along: apart from these, its dependencies would be compiled a second time with other features.
  release) folder=release; cargo build --locked --release "${programs[@]/#/--package=}" --package=greenlang-backup-tests --bins >&2 ;;
  # With all targets, the features of every dependency are those that the tests build with: one build serves both.
  dev) folder=debug; cargo build --locked --workspace --all-targets --all-features >&2 ;;
  *) echo "error: no profile '$profile': release or dev" >&2; exit 2 ;;
esac

context=$GREENLANG_CACHE/context/$profile
mkdir -p "$context"
for program in "${programs[@]}"; do
  # Debug information would make the image ten times as large.
  install --strip "$CARGO_TARGET_DIR/$folder/$program" "$context/$program.new"
  mv "$context/$program.new" "$context/$program"
done
# The tag names the content: a Deployment or Job with an older image is never taken for this one.
tag=$profile-$(cat Containerfile "$context"/greenlang-backup-* | sha256sum | cut -c1-12)
tests/cluster/node.sh load localhost/greenlang-backup "$tag" "$context" Containerfile --build-arg PROGRAMS=. >&2
echo "localhost/greenlang-backup:$tag"
