# The benchmarks. Included by the top Makefile, whose targets and variables `release`, `RELEASE` and `CARGO` it uses. Linux, two cores, Python 3.
# Targets are printed and never fail: times depend on the machine.

BENCHES := target/benches
BENCH_BIN := $(BENCHES)/release
BENCH = python3 benches/bench.py $(1) --ours $(RELEASE) --bin $(BENCH_BIN) $(BENCH_FLAGS)
BENCH_BUILD = $(CARGO) build --release --locked --manifest-path benches/Cargo.toml --target-dir $(BENCHES)

.PHONY: bench bench-peers bench-idle bench-front bench-programs

bench: release bench-programs ## calls/s, CPU per call, latency, start, beside the least that a server can do (Linux, Python 3; 3 min)
	$(call BENCH,calls)
	$(call BENCH,start)

bench-idle: release bench-programs ## 2000 idle event streams, and one notification to 5000 (Linux, Python 3; 1 min)
	$(BENCH_BUILD) -p bench-change
	$(call BENCH,idle)

bench-front: release bench-programs ## what `run` costs (Linux, Python 3; 1 min)
	$(call BENCH,front)

bench-programs:
	$(BENCH_BUILD) -p bench-load -p bench-limit
