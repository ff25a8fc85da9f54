# Front door. Everything real is in meson.build, scripts/ and tests/run.sh.
MODEL  ?=
PREFIX ?= /usr/local
BUILD  ?= build
TARGETS ?=
ARGS   ?=
PASSES ?=
export CC ?= clang
ifeq ($(origin CC),default)
CC := clang
endif

help:
	@echo 'make build           build/rocmforge (installs missing Debian packages, says which); GPU code for this machine, TARGETS=all for every'
	@echo 'make run             serve the small model that ships; MODEL=path for another, ARGS= for options'
	@echo 'make test            every test; ends with "N passed, M failed"'
	@echo 'make bench           speed, next to llama-cpp-python; MODEL=path'
	@echo 'make lint            doors between rooms, lengths, words'
	@echo 'make fuzz            fuzz the readers of strange bytes; SECONDS=60'
	@echo 'make test-models     fetch the trained models that tests use'
	@echo 'make install         DESTDIR= PREFIX=/usr/local'
	@echo 'make deb             a Debian package in build/'
	@echo 'make dist            a tarball that runs without installing, in build/'

$(BUILD)/build.ninja:
	@scripts/deps.sh
	@CC='$(CC)' meson setup $(BUILD) $(if $(TARGETS),-Dgpu_targets=$(TARGETS)) >$(BUILD).setup.log 2>&1 || { cat $(BUILD).setup.log; rm -f $(BUILD).setup.log; exit 1; }
	@mv $(BUILD).setup.log $(BUILD)/setup.log

build: $(BUILD)/build.ninja
	@ninja -C $(BUILD) --quiet src/cli/rocmforge
	@ln -sf src/cli/rocmforge $(BUILD)/rocmforge

run: build
	@exec $(BUILD)/rocmforge serve '$(or $(MODEL),models/demo/rocmforge-demo.gguf)' $(ARGS)

test: ; @scripts/deps.sh all && tests/run.sh $(PASSES)
bench: build ; @bench/run.sh $(MODEL)
lint: ; @python3 scripts/lint.py
fuzz: ; @scripts/deps.sh all && scripts/fuzz.sh $(SECONDS)
test-models: ; @scripts/deps.sh all && python3 scripts/fetch_test_models.py
install: build
	@meson configure $(BUILD) --prefix=$(PREFIX) && ninja -C $(BUILD) --quiet install-files && DESTDIR='$(DESTDIR)' meson install -C $(BUILD) --quiet --no-rebuild
deb: ; @scripts/deps.sh gpu && packaging/deb.sh
dist: ; @scripts/deps.sh dist && packaging/dist.sh
clean: ; rm -rf build build-*

.PHONY: help build run test bench lint fuzz test-models install deb dist clean
