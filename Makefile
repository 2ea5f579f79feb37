# What you can do with this checkout; `make` alone lists it. The commands behind it are plain SwiftPM (see README.md).

.DEFAULT_GOAL := help
.PHONY: help build test simulate test-clients lint demo torture attack fuzz bench bench-long bench-programs release install install-files test-package clean dependencies

# Debian's hiredis.pc carries -D_FILE_OFFSET_BITS=64, a flag SwiftPM refuses with a warning (and a 64-bit system does not
# need). This copy of whatever hiredis.pc is installed leaves -D flags out; everything else in it stays.
PKG_CONFIG_COPIES := $(CURDIR)/.build/pkg-config
CALLERS_PKG_CONFIG_PATH := $(PKG_CONFIG_PATH)
export PKG_CONFIG_PATH := $(PKG_CONFIG_COPIES)$(if $(CALLERS_PKG_CONFIG_PATH),:$(CALLERS_PKG_CONFIG_PATH))

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

build: dependencies ## release binaries: bin/tracker and bin/traffic-consumer
	swift build -c release --product tracker
	swift build -c release --product traffic-consumer
	@mkdir -p bin && install -m 0755 .build/release/tracker .build/release/traffic-consumer bin/ && ls -l bin

test: build ## all tests (debug build; one counts what the release build allocates), with a redis-server of their own
	swift build --build-tests
	swift test --skip-build --disable-xctest

# Few seeds run in the debug build that the tests have anyway; many are worth a build of their own.
simulate: dependencies ## a simulated site under a thousand seeds of faults; SEEDS=100000, or SEED=7 for one of them
	@.ci/simulate $(or $(SEEDS),1000)

test-clients: dependencies ## real clients from Debian, and nginx, with the tracker, in a network namespace of their own
	@.ci/install-dependencies clients
	Tests/ClientTests/run

lint: dependencies ## formatting and style, as strict as CI
	swift format lint --strict -r Package.swift Sources Tests Benchmarks
	Benchmarks/bench --check-document
	.ci/check-layers --self-test
	.ci/lint-lua

demo: build ## the whole path on simulated users, in about a minute; KEEP=1 leaves it running
	swift build -c release --product Demo
	.build/release/Demo $(if $(KEEP),--keep)

torture: build ## both daemons and Redis killed, stopped, cut off and set back by a seed, totals compared; SEEDS=5 SEED=n FAULTS="spool,FLUSHALL"
	swift build -c release --product Torture
	.build/release/Torture $(or $(SEEDS),5) $(SEED) $(if $(FAULTS),"$(FAULTS)")

attack: build ## strangers, liars and one hostile user against the daemons, in about a minute; SECONDS=4 for each ONLY="queue,origin"
	swift build -c release --product Attack
	.build/release/Attack $(or $(SECONDS),4) $(if $(ONLY),"$(ONLY)")

# `make bench ROWS="udp-plain push" ROUNDS=5 SECONDS=8 JSON=file`; Benchmarks/README.md says what a row is.
BENCH_OPTIONS = $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(JSON),--json '$(JSON)') $(ROWS)

bench: bench-programs ## speed beside other trackers and what the machine can do; ROWS="udp-plain push" ROUNDS=3 JSON=file
	Benchmarks/bench $(BENCH_OPTIONS)

bench-long: bench-programs ## sweeps over connections, swarm sizes, peers wanted, IPv4 and IPv6, one and two cores
	Benchmarks/bench --long $(BENCH_OPTIONS)

# Where a peer cannot be installed, the rows that need it say so and the others run.
bench-programs: build
	@.ci/install-dependencies bench || echo "bench: going on without them"
	swift build -c release --product LoadGenerator

fuzz: ## libFuzzer on the parsers, SECONDS=600 for each harness
	Tests/Fuzz/run $(or $(SECONDS),600)

release: dependencies ## release/: self-contained binaries, a Debian package, checksums; RELEASE_KEY=file signs them
	dist/release.sh all

test-package: ## installs, starts, removes the package of release/ on a view of this machine; its units under systemd (root)
	Tests/Packaging/run
	Tests/Packaging/services

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
# Where `install-files` finds the binaries.
RELEASE ?= release
# The public keys of who signs the releases that a site installs.
RELEASE_KEYS ?= dist/release-keys
# The places that units and scripts name, for another PREFIX or SYSCONFDIR.
PLACES = -e 's\#/usr/bin/\(tr\)\#$(PREFIX)/bin/\1\#g' -e 's\#/usr/\(lib\|share/doc\)/pt-tracker\#$(PREFIX)/\1/pt-tracker\#g' \
  -e 's\#\(PT_BIN_DIR\(:-\|=\)\)/usr\(/local\)\?/bin\#\1$(PREFIX)/bin\#g' -e 's\#(/usr/local/bin)\#($(PREFIX)/bin)\#' \
  -e 's\#/etc/pt-tracker\#$(SYSCONFDIR)/pt-tracker\#g'

install: dependencies ## self-contained binaries, units and configuration below PREFIX=/usr/local
	dist/release.sh binaries
	@$(MAKE) --no-print-directory install-files
	@echo "next: systemd-sysusers; systemd-tmpfiles --create; systemctl daemon-reload; see docs/install.md"

# What `dist/release.sh binaries` has made, to DESTDIR. A configuration that is there stays; a release's key that this
# version does not have goes.
install-files:
	@install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin lib/pt-tracker lib/pt-tracker/release-keys lib/systemd/system lib/systemd/user lib/sysusers.d \
	  lib/tmpfiles.d share/doc/pt-tracker share/pt-tracker) $(DESTDIR)$(SYSCONFDIR)/pt-tracker
	@for program in tracker traffic-consumer; do \
	  install -m 0755 $(RELEASE)/$$program-x86_64-unknown-linux-gnu $(DESTDIR)$(PREFIX)/bin/$$program; done
	@placed() { sed $(PLACES) "$$1" > "$$2" && chmod "$$3" "$$2"; }; set -e; \
	for script in dist/update-from-release.sh dist/self-update-runner.sh dist/backup.sh; do \
	  placed $$script $(DESTDIR)$(PREFIX)/lib/pt-tracker/$${script##*/} 0755; done; \
	for unit in systemd/*.service systemd/*.socket systemd/*.timer; do \
	  placed $$unit $(DESTDIR)$(PREFIX)/lib/systemd/system/$${unit##*/} 0644; done; \
	for example in systemd/*.env.example; do \
	  placed $$example $(DESTDIR)$(PREFIX)/share/doc/pt-tracker/$${example##*/} 0644; done; \
	placed systemd/tmpfiles.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/pt-tracker.conf 0644
	@rm -f $(DESTDIR)$(PREFIX)/lib/pt-tracker/release-keys/*.pem
	@install -m 0644 $(wildcard $(RELEASE_KEYS)/*.pem) dist/release-keys/README.md $(DESTDIR)$(PREFIX)/lib/pt-tracker/release-keys/
	@install -m 0644 systemd/user/* $(DESTDIR)$(PREFIX)/lib/systemd/user/
	@install -m 0644 systemd/sysusers.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/pt-tracker.conf
	@install -m 0644 README*.md docs/*.md dist/example_*.yaml $(DESTDIR)$(PREFIX)/share/doc/pt-tracker/
	@cp -r --no-preserve=ownership $(wildcard dist/nginx dist/caddy dist/prometheus dist/grafana) $(DESTDIR)$(PREFIX)/share/pt-tracker/
	@cd $(DESTDIR)$(SYSCONFDIR)/pt-tracker && \
	  { [ -e tracker.yaml ] || install -m 0640 $(CURDIR)/dist/deb/tracker.yaml tracker.yaml; } && \
	  { [ -e consumer.yaml ] || install -m 0640 $(CURDIR)/dist/example_consumer.yaml consumer.yaml; }
	@echo "installed below $(DESTDIR)$(PREFIX)"

clean: ## remove what building left (the demo leaves nothing)
	rm -rf .build bin release

dependencies:
	@.ci/install-dependencies
	@mkdir -p $(PKG_CONFIG_COPIES)
	@folder=$$(PKG_CONFIG_PATH='$(CALLERS_PKG_CONFIG_PATH)' pkg-config --variable=pcfiledir hiredis) && \
	  sed -E '/^Cflags:/s/ -D[^ ]*//g' "$$folder/hiredis.pc" > $(PKG_CONFIG_COPIES)/.new && \
	  { cmp -s $(PKG_CONFIG_COPIES)/.new $(PKG_CONFIG_COPIES)/hiredis.pc || \
	    cp $(PKG_CONFIG_COPIES)/.new $(PKG_CONFIG_COPIES)/hiredis.pc; }
