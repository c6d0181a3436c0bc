# README.md and the heads of the examples, run. Included by the top Makefile; expects BIN and the target `build` of it.

README_NODE := target/readme/node
README_UV := target/readme/uv
TYPESCRIPT := 5.9.3
UV := 0.9.7

.PHONY: readme readme-clean recording compare

readme: build $(README_NODE)/.installed $(README_UV)/.installed ## every command of README.md, and every example as its head says (Rust, Python 3, Node with npm, curl; 1 min)
	python3 tests/readme/run.py --bin $(BIN)

readme-clean: build $(README_NODE)/.installed $(README_UV)/.installed ## the same, with the first steps in a fresh clone, from nothing (Rust, Python 3, Node with npm, curl; 8 min)
	python3 tests/readme/run.py --bin $(BIN) --clean

recording: release ## packaging/recording.txt and .svg: an edit, a save, the same session (Rust, Python 3, curl; 1 min)
	python3 tests/readme/record.py --bin $(RELEASE)

compare: ## the facts of COMPARE.md about other people's packages, which it fetches (Python 3, npm, git, Rust; 1 min)
	python3 tests/readme/compare.py

# The recipes for TypeScript and uv need these.
$(README_NODE)/.installed:
	mkdir -p $(@D)
	cd $(@D) && npm install --silent --no-audit --no-fund --no-save typescript@$(TYPESCRIPT)
	touch $@

$(README_UV)/.installed:
	python3 -m pip install --quiet --disable-pip-version-check --target $(@D) uv==$(UV)
	touch $@

# What plain `make` does is for the including Makefile to say.
.DEFAULT_GOAL :=
