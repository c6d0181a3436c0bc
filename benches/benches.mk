# The benchmarks. Included by the top Makefile, whose targets and variables `release`, `RELEASE` and `CARGO` it uses. Linux, two cores, Python 3.
# Targets are printed and never fail: times depend on the machine.

BENCHES := target/benches
BENCH_BIN := $(BENCHES)/release
BENCH = python3 benches/bench.py $(1) --ours $(RELEASE) --bin $(BENCH_BIN) $(BENCH_FLAGS)
BENCH_BUILD = $(CARGO) build --release --locked --manifest-path benches/Cargo.toml --target-dir $(BENCHES)

INCUMBENT := $(BENCHES)/incumbent
# mcp-hmr wants Python 3.12 and is left out where there is none; mcpmon is not on npm and left out unless MCPMON is a checkout of its repository.
HMR := $(BENCHES)/mcp-hmr
HMR_PYTHON ?= $(shell for each in python3 python3.12 python3.13; do $$each -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && echo $$each && break; done)
MCPMON ?=
MCPMON_COMMIT := 20437dc
MCPMON_BUILT := $(BENCHES)/mcpmon-$(MCPMON_COMMIT)
RELOAD_PEERS := $(INCUMBENT)/.installed $(if $(HMR_PYTHON),$(HMR)/.installed) $(if $(MCPMON),$(MCPMON_BUILT)/.installed)
RELOAD_PEER_FLAGS = --venv $(INCUMBENT) $(if $(HMR_PYTHON),--hmr $(HMR)) $(if $(MCPMON),--mcpmon $(MCPMON_BUILT))
PEER_FLAGS = --peers --peer-bin $(BENCHES)/peers/release --venv $(INCUMBENT)

.PHONY: bench bench-connect bench-peers bench-idle bench-front bench-reload bench-programs

bench: release bench-programs ## calls/s, CPU per call, latency, start, beside the least that a server can do (Linux, Python 3; 3 min)
	$(call BENCH,calls)
	$(call BENCH,start)

bench-idle: release bench-programs ## 2000 idle event streams and up to 10000, and one notification to 5000 (Linux, Python 3; 1 min)
	$(BENCH_BUILD) -p bench-change
	$(call BENCH,idle)

bench-front: release bench-programs ## what `run` costs (Linux, Python 3; 1 min)
	$(call BENCH,front)

bench-connect: release bench-programs ## what `connect` adds to a call (Linux, Python 3; 1 min)
	python3 benches/connect.py --ours $(RELEASE) --bin $(BENCH_BIN)

bench-peers: release bench-programs $(INCUMBENT)/.installed ## the same beside tiny_http, rmcp, rust-mcp-sdk and the Python incumbent (Linux, Python 3; 10 min)
	$(BENCH_BUILD) -p bench-tiny
	$(CARGO) build --release --locked --manifest-path benches/peers/Cargo.toml --target-dir $(BENCHES)/peers
	$(call BENCH,calls) $(PEER_FLAGS)
	$(call BENCH,start) $(PEER_FLAGS)

# The one benchmark that can fail: a call of ours that fails, gets lost or is answered by old code is a fault, whatever the machine.
bench-reload: release $(CLIENTS)/mcp-2.3.0/.installed $(CLIENTS)/node/.installed $(RELOAD_PEERS) ## edits under a calling client: lost calls, edit to new answer, gaps, idle CPU; peers beside it, mcpmon too if MCPMON is its checkout (Linux, Python 3.11, 3.12 for mcp-hmr, Node 20; 12 min)
	python3 benches/reload --ours $(RELEASE) --clients $(CLIENTS) $(RELOAD_PEER_FLAGS) --work $(BENCHES)/reload $(BENCH_FLAGS)

# Without ensurepip (Debian splits it off) the environment borrows the pip of the system. $(1) is the Python.
define ENVIRONMENT
	rm -rf $(@D)
	$(1) -m venv $(@D) 2>/dev/null || $(1) -m venv --clear --without-pip $(@D)
	if [ -x $(@D)/bin/pip ]; then $(@D)/bin/python -m pip install -q --disable-pip-version-check -r $<; \
	else python3 -m pip --python $(@D)/bin/python install -q --disable-pip-version-check -r $<; fi
	touch $@
endef

$(INCUMBENT)/.installed: benches/peers/incumbent.txt
	$(call ENVIRONMENT,python3)

$(HMR)/.installed: benches/peers/mcp-hmr.txt
	$(call ENVIRONMENT,$(HMR_PYTHON))

# As its package.json builds it. Its lock file lacks an entry, which `npm ci` refuses.
$(MCPMON_BUILT)/.installed:
	rm -rf $(@D)
	mkdir -p $(@D)
	git -C $(MCPMON) archive $(MCPMON_COMMIT) | tar -x -C $(@D)
	cd $(@D) && npm install --silent --no-audit --no-fund --ignore-scripts
	cd $(@D) && npm run --silent clean && npm run --silent build
	touch $@

bench-programs:
	$(BENCH_BUILD) -p bench-load -p bench-limit
