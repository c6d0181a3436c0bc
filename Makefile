# Everything a person or CI runs. `make help` lists the targets.

CARGO ?= cargo
# Wherever the person's own settings put what cargo builds, what is run here is looked for in `target`.
export CARGO_TARGET_DIR := $(CURDIR)/target
BIN := target/debug/mcp-http-transport
RELEASE := target/release/mcp-http-transport
PORT ?= 3000
TARGET := $(shell rustc -vV | sed -n 's/^host: //p')

include tests/clients/clients.mk
include tests/conformance/conformance.mk
include tests/readme/readme.mk
include packaging/packaging.mk
include benches/benches.mk

.PHONY: help run build check fmt clippy doc tidy deps test unit curl soak release tls size clean

help: ## this table
	@awk -f packaging/help.awk $(MAKEFILE_LIST)

build: ## the debug binary (Rust 1.85; 30 s)
	$(CARGO) build --locked

run: build ## starts the demo over HTTP and prints what to type next (Rust)
	@echo "In another terminal:"
	@echo "  curl -N http://localhost:$(PORT)/sse                       # opens a session; copy the path it prints"
	@echo "  curl 'http://localhost:$(PORT)/messages/?session_id=...' -H 'Content-Type: application/json' \\"
	@echo "       -d '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"add\",\"arguments\":{\"a\":2,\"b\":3}}}'"
	@echo "  npx @modelcontextprotocol/inspector                         # a page to try everything; URL http://localhost:$(PORT)/sse"
	@echo "Ctrl-C ends it."
	@$(BIN) demo --http --port $(PORT)

check: fmt clippy doc tidy deps ## format, lints, documentation, house rules, dependency bar (Rust with clippy and rustfmt; 1 min)

fmt:
	$(CARGO) fmt --check

clippy:
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --no-default-features --lib -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --lib

tidy:
	$(CARGO) test --locked --quiet --test tidy

# At most 24 crates on Linux, ourselves included; none of them a macro that runs at build time, none that needs a C compiler.
deps:
	@count=$$($(CARGO) tree --locked -e normal --prefix none | sed 's/ (\*)//' | sort -u | wc -l); \
	echo "$$count crates in the tree (at most 24)"; test $$count -le 24
	@! $(CARGO) tree --locked -e normal,build --prefix none | grep -E 'proc-macro|^cc v|-sys v' | grep -v windows

test: unit curl ## all cargo tests, then the curl scripts (Rust, curl; 3 min)

unit:
	$(CARGO) test --locked

curl: build
	tests/curl/run.sh $(BIN)

endurance: ## two hundred reloads under a calling client, on a quiet machine (Rust, Python 3; 2 min)
	RUSTFLAGS='--cfg endurance' $(CARGO) test --locked --target-dir target/endurance --test it -- endurance

SOAK_SECONDS ?= 600
soak: release bench-programs ## 64 clients at full speed, coming and going, some of them rude, for SOAK_SECONDS=600 (Linux; 10 min)
	$(BENCH_BIN)/bench-load soak --seconds $(SOAK_SECONDS) --command "$(RELEASE) demo --http --host 127.0.0.1 --port 0 --max-sessions 128 --keep-alive 2s"

release: ## the release binary (Rust; 1 min)
	$(CARGO) build --release --locked

tls: ## connect over https, against a certificate of its own (Rust, a C compiler, Python 3, openssl; 2 min)
	$(CARGO) build --locked --features tls --target-dir target/tls
	python3 tests/tls/run.py target/tls/debug/mcp-http-transport

clients: ## real third-party clients against the demo, and through a front that reloads (Python 3.11, Node 20; 2 min)

clients-idle: ## the same clients after 320 s of silence; not in CI (Python 3.11, Node 20; 6 min)

STATIC := -C target-feature=+crt-static -C relocation-model=static
EMBEDDED := --release --locked --no-default-features --example modes

# The targets were set for the core: a server of one's own. The program holds the front, the watcher, `connect` and the command line besides.
size: release ## sizes of the program, and of a server of one's own without the feature `run` (Rust; 4 min)
	@RUSTFLAGS="$(STATIC)" $(CARGO) build --release --locked --target $(TARGET)
	@$(CARGO) build $(EMBEDDED) --target-dir target/embedded
	@RUSTFLAGS="$(STATIC)" $(CARGO) build $(EMBEDDED) --target-dir target/embedded --target $(TARGET)
	@print() { printf '%-15s %-8s %8d bytes (target %d)\n' "$$1" "$$2" "$$(stat -c %s "$$3")" "$$4"; }; \
	print "the program" dynamic $(RELEASE) 1200000; \
	print "the program" static target/$(TARGET)/release/mcp-http-transport 2400000; \
	print "examples/modes" dynamic target/embedded/release/examples/modes 1200000; \
	print "examples/modes" static target/embedded/$(TARGET)/release/examples/modes 2400000
	@ldd target/$(TARGET)/release/mcp-http-transport 2>&1 | head -1

clean: ## removes everything built or installed
	$(CARGO) clean
