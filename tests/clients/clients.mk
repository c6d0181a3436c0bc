# Real third-party MCP clients against our binary. Included by the top Makefile.
# Expects BIN and the target `build` of the top Makefile. Everything is installed below target/clients; a second run installs nothing.

CLIENTS := target/clients
CLIENTS_PYTHON := mcp-2.3.0 mcp-1.30.0 chuk-mcp-0.9.4
CLIENTS_STAMPS := $(CLIENTS_PYTHON:%=$(CLIENTS)/%/.installed) $(CLIENTS)/node/.installed

.PHONY: clients clients-idle clients-install

clients: clients-install build
	python3 tests/clients/run.py --bin $(BIN)
	python3 tests/clients/connect.py --bin $(BIN)

clients-idle: clients-install build
	python3 tests/clients/run.py --bin $(BIN) --idle 320

clients-install: $(CLIENTS_STAMPS)

# Without ensurepip (Debian splits it off) the environment borrows the pip of the system.
$(CLIENTS)/%/.installed: tests/clients/python/%.txt
	rm -rf $(@D)
	python3 -m venv $(@D) 2>/dev/null || python3 -m venv --clear --without-pip $(@D)
	if [ -x $(@D)/bin/pip ]; then $(@D)/bin/python -m pip install -q --disable-pip-version-check -r $<; \
	else python3 -m pip --python $(@D)/bin/python install -q --disable-pip-version-check -r $<; fi
	touch $@

# The lock file names no registry: npm takes the one this machine is set up with.
$(CLIENTS)/node/.installed: tests/clients/node/package.json tests/clients/node/package-lock.json
	mkdir -p $(@D)
	cp $^ $(@D)
	cd $(@D) && npm ci --silent --no-audit --no-fund --omit-lockfile-registry-resolved=true
	touch $@

# What plain `make` does is for the including Makefile to say.
.DEFAULT_GOAL :=
