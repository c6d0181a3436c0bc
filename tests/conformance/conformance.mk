# The official conformance suite against the everything server, and our own check of each message against the official schemas.
# Included by the top Makefile. Everything is installed below target/conformance; a second run installs nothing.

CONFORMANCE := target/conformance

.PHONY: conformance conformance-front conformance-install schema

conformance: conformance-install schema ## the official conformance suite, and our messages against the official schemas (npm, Python 3.11; 2 min)
	$(CARGO) build --locked --example everything
	python3 tests/conformance/run.py

conformance-front: conformance-install $(CONFORMANCE)/schema/.installed build ## the suite with the server behind our own front (npm; 1 min)
	$(CARGO) build --locked --example everything
	$(CONFORMANCE)/schema/bin/python tests/schema/check.py --bin $(BIN) --front
	python3 tests/conformance/run.py --front $(BIN)

conformance-install: $(CONFORMANCE)/.installed

# The lock file names no registry: npm takes the one this machine is set up with.
$(CONFORMANCE)/.installed: tests/conformance/package.json tests/conformance/package-lock.json
	mkdir -p $(@D)
	cp $^ $(@D)
	cd $(@D) && npm ci --silent --ignore-scripts --no-audit --no-fund --omit-lockfile-registry-resolved=true
	touch $@

schema: $(CONFORMANCE)/schema/.installed build ## what our servers send, against the official schema of each version (Python 3.11; 1 min)
	$(CARGO) build --locked --example everything
	$(CONFORMANCE)/schema/bin/python tests/schema/check.py --bin $(BIN)

# Without ensurepip (Debian splits it off) the environment borrows the pip of the system.
$(CONFORMANCE)/schema/.installed: tests/schema/requirements.txt
	rm -rf $(@D)
	python3 -m venv $(@D) 2>/dev/null || python3 -m venv --clear --without-pip $(@D)
	if [ -x $(@D)/bin/pip ]; then $(@D)/bin/python -m pip install -q --disable-pip-version-check -r $<; \
	else python3 -m pip --python $(@D)/bin/python install -q --disable-pip-version-check -r $<; fi
	touch $@
