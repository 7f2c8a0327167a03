# Linegate, from a fresh checkout: `make demo` shows it, `make test` proves it. Both install what is missing first.

export CARGO_TARGET_DIR ?= $(HOME)/.cache/linegate-target
export PATH := $(HOME)/.cargo/bin:$(PATH)

.PHONY: setup build demo test lint clean

setup: ## Install what is missing; quiet and idempotent.
	@tests/setup/install

build: setup ## The three programs, release.
	cargo build --release --locked -p linegated -p linegate-control -p linegate

demo: build ## The main job, end to end, on a real PostgreSQL.
	@tests/demo/run "$(CARGO_TARGET_DIR)/release"

test: setup ## PostgreSQL's own tests in part, then unit, property, end-to-end and tidy tests; ends with the runner's summary.
	cargo build --workspace --bins --locked
	@tests/regress/run --quick --bin "$(CARGO_TARGET_DIR)/debug" || { status=$$?; [ $$status = 3 ] || exit $$status; \
	  echo "SKIPPED: PostgreSQL's regression tests were not run, for want of what is named above." >&2; }
	@if cargo nextest --version >/dev/null 2>&1; then \
	  cargo nextest run --workspace --locked --no-fail-fast; \
	else \
	  cargo test --workspace --locked --no-fail-fast; \
	fi

lint: setup ## Formatting, lints, documentation, dependencies.
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked
	cargo deny --workspace --all-features check bans licenses sources

clean: ## Remove what was built.
	cargo clean
