# What you can do with this checkout; `make` alone lists it. The commands behind it are plain SwiftPM (see README.md).

.DEFAULT_GOAL := help
.PHONY: bench-push help build test lint demo fuzz clean dependencies

# Debian's hiredis.pc carries -D_FILE_OFFSET_BITS=64, a flag SwiftPM refuses with a warning (and a 64-bit system does not
# need). This copy of whatever hiredis.pc is installed leaves -D flags out; everything else in it stays.
PKG_CONFIG_COPIES := $(CURDIR)/.build/pkg-config
CALLERS_PKG_CONFIG_PATH := $(PKG_CONFIG_PATH)
export PKG_CONFIG_PATH := $(PKG_CONFIG_COPIES)$(if $(CALLERS_PKG_CONFIG_PATH),:$(CALLERS_PKG_CONFIG_PATH))

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

build: dependencies ## release binaries: bin/tracker and bin/traffic-consumer
	swift build -c release --product tracker
	swift build -c release --product traffic-consumer
	@mkdir -p bin && install -m 0755 .build/release/tracker .build/release/traffic-consumer bin/ && ls -l bin

test: dependencies ## all tests (debug build), with a redis-server of their own
	swift build --build-tests
	swift test --skip-build --disable-xctest

lint: ## formatting and style, as strict as CI
	swift format lint --strict -r Package.swift Sources Tests

demo: build ## the whole path on simulated users, in about a minute; KEEP=1 leaves it running
	swift build -c release --product Demo
	.build/release/Demo $(if $(KEEP),--keep)

fuzz: ## libFuzzer on the parsers, SECONDS=600 for each harness
	Tests/Fuzz/run $(or $(SECONDS),600)

bench-push: dependencies ## traffic push beside Redis' own pipelined XADD, in a release build; EVENTS=300000
	PUSH_BENCH=$(or $(EVENTS),300000) swift test -c release -Xswiftc -enable-testing --scratch-path .build/bench \
	  --disable-xctest --filter PushBenchmark 2>&1 | grep -E 'bench-push|error|✘'

clean: ## remove what building left (the demo leaves nothing)
	rm -rf .build bin

dependencies:
	@.ci/install-dependencies
	@mkdir -p $(PKG_CONFIG_COPIES)
	@folder=$$(PKG_CONFIG_PATH='$(CALLERS_PKG_CONFIG_PATH)' pkg-config --variable=pcfiledir hiredis) && \
	  sed -E '/^Cflags:/s/ -D[^ ]*//g' "$$folder/hiredis.pc" > $(PKG_CONFIG_COPIES)/.new && \
	  { cmp -s $(PKG_CONFIG_COPIES)/.new $(PKG_CONFIG_COPIES)/hiredis.pc || \
	    cp $(PKG_CONFIG_COPIES)/.new $(PKG_CONFIG_COPIES)/hiredis.pc; }
