# Needs a Rust toolchain, make and sh. `make help` lists what there is.

PREFIX ?= /usr/local
CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

BIN := $(DESTDIR)$(PREFIX)/bin
PLUGINS := $(DESTDIR)$(PREFIX)/lib/pop-deploy/plugins
MAN := $(DESTDIR)$(PREFIX)/share/man/man1
BASH := $(DESTDIR)$(PREFIX)/share/bash-completion/completions
ZSH := $(DESTDIR)$(PREFIX)/share/zsh/site-functions
FISH := $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d

EXTENSION := $(if $(filter Darwin,$(shell uname -s)),dylib,so)
PLUGIN_FILES := $(foreach crate,$(notdir $(patsubst %/Cargo.toml,%,$(wildcard plugins/*/Cargo.toml))),\
	libpop_deploy_$(subst -,_,$(crate)).$(EXTENSION))

# The loop device of a benchmark lives in a mount namespace of its own: it goes with the process, however that ends.
ALONE := $(shell [ "$$(id -u)" = 0 ] && command -v unshare >/dev/null && echo unshare --mount)

# What runs in the background is ended with all that it started.
APART := $(shell command -v setsid)

.PHONY: build help demo test soak bench install uninstall

build: ## Build everything, optimised
	@if command -v $(CARGO) >/dev/null; then \
		$(CARGO) build --release --locked --workspace; \
	elif [ -x $(TARGET_DIR)/release/pop-deploy ]; then \
		echo "no $(CARGO) here: taking what was built before"; \
	else \
		echo "no $(CARGO) here: install a Rust toolchain, or run 'make' as the user who has one" >&2; exit 1; \
	fi

help: ## List these
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile

demo: build ## Deploy this project's own documentation to a temporary web root, twice, and roll back
	$(CARGO) doc --quiet --release --locked -p pop-deploy-plugin-api
	@sh tests/demo.sh $(TARGET_DIR)

test: ## Run every test there is; POP_DEPLOY_NO_SKIP=1 makes a skipped one a failure
	@sh tests/services.sh nginx=nginx-light valgrind=valgrind sshd=openssh-server ssh=openssh-client \
		chromium=chromium tmux=tmux dockerd=docker.io docker-registry=docker-registry \
		busybox=busybox-static tcsh=tcsh dropbear=dropbear-bin ip=iproute2 haproxy=haproxy caddy=caddy
	$(CARGO) build --locked --workspace
	@# Those of docker mostly wait for engines, so that more of them run at a time, services beside all else; the first
	@# patterns are all but these.
	@ended=0; \
	$(CARGO) test --locked --workspace --no-fail-fast --lib --bins --test '[!d]*' --test 'd[!o]*' || ended=$$?; \
	export RUST_TEST_THREADS=4; \
	$(APART) $(CARGO) test --locked --workspace --test docker_service >$(TARGET_DIR)/docker_service.log 2>&1 & services=$$!; \
	trap 'kill -- -$$services 2>/dev/null || kill $$services; exit 130' INT TERM; \
	$(CARGO) test --locked --workspace --no-fail-fast --test docker --test 'docker_[!s]*' || ended=$$?; \
	wait $$services || ended=$$?; \
	cat $(TARGET_DIR)/docker_service.log; \
	$(CARGO) test --locked --workspace --doc || ended=$$?; \
	exit $$ended
	$(CARGO) test --locked --manifest-path examples/hello-target/Cargo.toml \
		--config 'build.build-dir="$(TARGET_DIR)"' --target-dir $(TARGET_DIR)/hello-target
	@sh tests/boundary.sh $(TARGET_DIR)

soak: ## Run the long forms of tests
	$(CARGO) build --locked --workspace
	POP_DEPLOY_SWITCHES=20 $(CARGO) test --locked -p pop-deploy --test docker_traffic
	POP_DEPLOY_EVERY_DEATH=1 $(CARGO) test --locked -p pop-deploy --test docker_crashes

bench: build ## Measure against cp, rsync, Ansible, Capistrano, Python and docker by hand
	@sh tests/services.sh rsync=rsync dockerd=docker.io docker-registry=docker-registry ip=iproute2 \
		sshd=openssh-server ssh=openssh-client git=git cap=capistrano
	$(ALONE) $(CARGO) bench --locked -p pop-deploy --bench site
	$(ALONE) $(CARGO) bench --locked -p pop-deploy --bench ssh
	$(CARGO) bench --locked -p pop-deploy --bench plugins
	$(CARGO) bench --locked -p pop-deploy --bench docker

install: build ## Install or upgrade: PREFIX (/usr/local) and DESTDIR are respected
	@set -eu; \
	put() { \
		install -m "$$1" "$$2" "$$3/.$${2##*/}.new"; \
		mv -f "$$3/.$${2##*/}.new" "$$3/$${2##*/}"; \
		echo "$$3/$${2##*/}"; \
	}; \
	man=$$(mktemp -d); trap 'rm -rf "$$man"' EXIT; \
	$(TARGET_DIR)/release/pop-deploy __man "$$man"; \
	$(TARGET_DIR)/release/pop-deploy completions bash >"$$man/pop-deploy"; \
	$(TARGET_DIR)/release/pop-deploy completions zsh >"$$man/_pop-deploy"; \
	$(TARGET_DIR)/release/pop-deploy completions fish >"$$man/pop-deploy.fish"; \
	install -d -m 755 "$(BIN)" "$(PLUGINS)" "$(MAN)" "$(BASH)" "$(ZSH)" "$(FISH)"; \
	put 644 "$$man/pop-deploy" "$(BASH)"; \
	put 644 "$$man/_pop-deploy" "$(ZSH)"; \
	put 644 "$$man/pop-deploy.fish" "$(FISH)"; \
	for file in $(PLUGIN_FILES); do put 644 "$(TARGET_DIR)/release/$$file" "$(PLUGINS)"; done; \
	for file in "$$man"/*.1; do put 644 "$$file" "$(MAN)"; done; \
	put 755 $(TARGET_DIR)/release/pop-deploy "$(BIN)"

uninstall: ## Remove what install put there
	rm -f "$(BIN)/pop-deploy" $(foreach file,$(PLUGIN_FILES),"$(PLUGINS)/$(file)") \
		"$(MAN)"/pop-deploy.1 "$(MAN)"/pop-deploy-*.1 \
		"$(BASH)/pop-deploy" "$(ZSH)/_pop-deploy" "$(FISH)/pop-deploy.fish"
	@for folder in "$(PLUGINS)" "$(DESTDIR)$(PREFIX)/lib/pop-deploy"; do \
		if [ -d "$$folder" ]; then rmdir "$$folder" 2>/dev/null || echo "$$folder holds files of others: left alone"; fi; \
	done
