# The official conformance suite against the everything server, and our own check of each message against the official schemas.
# Included by the top Makefile. Everything is installed below target/conformance; a second run installs nothing.

CONFORMANCE := target/conformance

.PHONY: conformance conformance-front conformance-install schema

conformance: conformance-install schema
	$(CARGO) build --locked --example everything
	python3 tests/conformance/run.py

conformance-front: conformance-install build
	$(CARGO) build --locked --example everything
	python3 tests/conformance/run.py --front $(BIN)

conformance-install: $(CONFORMANCE)/.installed

# The lock file names no registry: npm takes the one this machine is set up with.
$(CONFORMANCE)/.installed: tests/conformance/package.json tests/conformance/package-lock.json
	mkdir -p $(@D)
	cp $^ $(@D)
	cd $(@D) && npm ci --silent --ignore-scripts --no-audit --no-fund --omit-lockfile-registry-resolved=true
	touch $@
