#!/usr/bin/env bash
# `make test`: everything that checks the project, with one count at the end. Takes the local node down, also on failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tests/environment.sh
source tests/environment.sh
# shellcheck source=tests/steps.sh
source tests/steps.sh

logs_in test
usual_steps
not_run+=("restores in all their stories and while the node fails, the upgrade from the image of the first slice, and what is heavy: make test-all does")
finish
