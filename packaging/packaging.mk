# What people install, and what says whether it can be trusted.

DIST := target/dist
TOOLS := target/tools
STATIC_BIN := target/$(TARGET)/release/mcp-http-transport
FUZZ_SECONDS ?= 600
# `tls` makes `connect` speak https, and the binary larger.
DIST_FEATURES ?=
CARGO_DENY := 0.20.2
CARGO_FUZZ := 0.13.2

# A static binary on Linux, on glibc as elsewhere, runs on any distribution and in an empty image. It asks the kernel for randomness: without the
# cfg, getrandom looks for a function of a shared libc, and then for /dev/urandom.
ifneq (,$(findstring linux,$(TARGET)))
STATIC_FLAGS := -C target-feature=+crt-static -C relocation-model=static --cfg getrandom_backend="linux_getrandom"
endif

.PHONY: static dist packages not-unix deny proxies fuzz

static:
	RUSTFLAGS='$(STATIC_FLAGS)' $(CARGO) build --release --locked --target $(TARGET) --features "$(DIST_FEATURES)"

dist: static ## tarball, wheel, npm package, image folder and SHA256SUMS in target/dist (Rust, Python 3; 2 min)
	rm -rf $(DIST)
	python3 packaging/packages.py $(STATIC_BIN) $(TARGET) $(DIST)

packages: dist ## installs each package into a clean prefix and runs it (Rust, Python 3 with venv, Node 18, npm; 4 min)
	python3 packaging/check.py $(DIST) $(TARGET)

not-unix: ## type-checks what Windows compiles, on a machine without its library (Rust; 1 min)
	packaging/not-unix.sh

# A debug build of the tool: it is built once, and has little to do.
$(TOOLS)/bin/cargo-deny:
	CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR=$(TOOLS)/build $(CARGO) install --debug --locked --root $(TOOLS) cargo-deny@$(CARGO_DENY)

# The advisories are a git repository, which not every machine reaches; the rest is judged everywhere.
deny: $(TOOLS)/bin/cargo-deny ## licences, sources, duplicates, advisories of all dependencies, by deny.toml (Rust 1.88; 10 min)
	$(TOOLS)/bin/cargo-deny --locked --all-features check bans licenses sources
	@if $(TOOLS)/bin/cargo-deny fetch db 2>/dev/null; then $(TOOLS)/bin/cargo-deny --locked --all-features check --disable-fetch advisories; \
	else echo "advisories: SKIPPED, the advisory database cannot be fetched from here"; fi

proxies: build ## nginx and Caddy in front of it, as README configures them (Python 3, apt; 1 min)
	python3 tests/proxies/run.py $(BIN)

$(TOOLS)/bin/cargo-fuzz:
	CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR=$(TOOLS)/build $(CARGO) install --debug --locked --root $(TOOLS) cargo-fuzz@$(CARGO_FUZZ)

# The sanitizer's flags are unstable ones; RUSTC_BOOTSTRAP has the stable compiler take them.
fuzz: $(TOOLS)/bin/cargo-fuzz ## every parser against libFuzzer, FUZZ_SECONDS=600 each (Rust, a C++ compiler; 90 min)
	RUSTC_BOOTSTRAP=1 $(TOOLS)/bin/cargo-fuzz build --target $(TARGET) --target-dir target/fuzz/build
	@set -e; for target in $$(ls fuzz/fuzz_targets | sed 's/\.rs$$//'); do \
		echo "== $$target, $(FUZZ_SECONDS) s"; mkdir -p target/fuzz/corpus/$$target; \
		target/fuzz/build/$(TARGET)/release/$$target target/fuzz/corpus/$$target -artifact_prefix=target/fuzz/found-$$target- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -max_len=65536 >target/fuzz/$$target.log 2>&1 \
			|| { tail -40 target/fuzz/$$target.log; exit 1; }; \
		grep '^Done' target/fuzz/$$target.log; \
	done

# What plain `make` does is for the including Makefile to say.
.DEFAULT_GOAL :=
