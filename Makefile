# Everything that a newcomer or the CI runs. `make` alone shows the list.

SHELL := /bin/sh
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
LOCAL := $(TARGET)/debug/examples/local
SEED ?=
SEEDS ?=
FROM ?=
# Optimised where it counts; `dev` shares what `make test` has built.
PROFILE ?= fast
EVENT ?= events/user-withdrawn.json

.DEFAULT_GOAL := help
.PHONY: help run test sim model local invoke receipt build lint validate check function

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: function ## Erase a user end to end in a local cloud, and watch (no Docker, no AWS account)
	@$(LOCAL) run

local: function ## Keep a local cloud with the deployed function up until Ctrl-C, to send messages to
	@$(LOCAL) up

invoke: function ## Run the function by itself under cargo lambda (EVENT=events/batch.json for another event)
	@$(LOCAL) invoke $(EVENT)

# Every shell has a USER of its own, who is not meant: it must be given here.
receipt: ## Show what is certified of a user: make receipt USER=u-123 RECEIPTS_URI=s3://BUCKET/receipts/
ifneq ($(origin USER),command line)
	@echo "Whose? For example: make receipt USER=u-123 RECEIPTS_URI=s3://BUCKET/receipts/"; exit 2
else
	@$(MAKE) --no-print-directory function
	@$(LOCAL) receipt "$$USER"
endif

# One command for both packages: built one by one, they would compile their dependencies twice.
function:
	@test -x $(LOCAL) || echo "Building the function and the local cloud; the first time takes some minutes."
	@cargo build --quiet -p erase-user-files -p local --bins --examples

test: ## Run all tests (starts local servers by itself)
	cargo test --workspace

sim: ## Replay a world (make sim SEED=42), or play many (make sim SEEDS=100000, from FROM on)
	@test -n "$(SEED)$(SEEDS)" || { echo "Which seed? For example: make sim SEED=42, or make sim SEEDS=100000"; exit 2; }
ifneq ($(SEEDS),)
	SEEDS=$(SEEDS) FROM=$(FROM) cargo test --profile $(PROFILE) --workspace --test simulation -- \
		--ignored --exact many_worlds --nocapture
else
	SEED=$(SEED) cargo test --workspace --test simulation -- --exact replay --nocapture
endif

model: ## Check the hand-off protocol in larger worlds than `make test` does (minutes)
	cargo test --profile $(PROFILE) --workspace --test model -- --include-ignored --nocapture --test-threads 1

build: function ## Build the function for Lambda (arm64) into target/lambda/
	@$(LOCAL) install cargo-lambda
	PATH="$(CURDIR)/.local/cargo-lambda/bin:$$PATH" cargo lambda build --release --arm64 --bin erase-user-files

lint: ## Check format, lints and documentation
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --quiet
	@! cargo tree --workspace --edges normal --prefix none --no-dedupe | grep -E '^hyper v0|^rustls v0\.21' \
		|| { echo "The SDK's legacy HTTP stack is back: see default-features in Cargo.toml"; exit 1; }

# In a folder of its own: aws-sam-cli is large, and nothing but this needs it.
SAM := .local/sam-1.170.0
validate: $(SAM)/installed ## Check template.yaml with sam validate --lint
	AWS_DEFAULT_REGION=us-east-1 SAM_CLI_TELEMETRY=0 $(SAM)/bin/sam validate --lint

$(SAM)/installed:
	@echo "Installing aws-sam-cli into $(SAM)/ (some minutes, once)."
	python3 -m venv --clear $(SAM)
	$(SAM)/bin/pip install --quiet --disable-pip-version-check aws-sam-cli==1.170.0
	@touch $@

check: lint validate test ## What the CI runs
