# The everyday commands. CMake and cargo do the work; see CMakeLists.txt for the options.
BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
CMAKE_FLAGS ?=
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
MAKEFLAGS += --no-print-directory
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help setup configure build demo test test-cluster torture torture-full bench bench-check bench-quick check header man html install package package-test clean
help:
	@echo 'make build      both libraries, examples and tests, in $(BUILD)/'
	@echo 'make demo       show it at work: 5,000,000 messages, then a real text between 8 processes'
	@echo 'make test       every test, Rust and C'
	@echo 'make test-cluster  the bridge against three real NATS servers under every fault, in about a quarter of an hour'
	@echo 'make torture    kills, power cuts, suspensions, full disks, hostile files: a sample, about half an hour'
	@echo 'make torture-full  the counts of docs/RELIABILITY.md, however long they take'
	@echo 'make bench      speed beside everything a user could take: writes docs/BENCHMARKS.md; it says how far it is'
	@echo 'make bench-check  every run of it at a tiny scale'
	@echo 'make bench-quick  speed, beside disk-chan 0.3.0 and crossbeam-channel'
	@echo 'make check      formatting, clippy without warnings, header and manual pages agree with the code'
	@echo 'make header     write include/disk_chan.h anew from the code'
	@echo 'make man        write man/ anew: from the header, docs/FORMAT.md and docs/snippets (python3), and disk-chan'
	@echo 'make html       a browsable reference in $(BUILD)/html (python3, mandoc)'
	@echo 'make install    PREFIX=$(PREFIX) DESTDIR=$(DESTDIR)'
	@echo 'make package    a .tar.gz, and .deb packages where there is dpkg, in $(BUILD)/packages'
	@echo 'make package-test  the packages, a build without a network, cargo package, two builds the same, the Conan recipe'
	@echo 'make clean      remove $(BUILD)/ and target/'

setup:
	@scripts/setup.sh

configure: setup
	@cmake -S . -B $(BUILD) -DCMAKE_INSTALL_PREFIX=$(PREFIX) -DDISK_CHAN_WERROR=ON $(CMAKE_FLAGS)

build: configure
	@cmake --build $(BUILD) -j $(JOBS)

demo: build
	@demo/demo.sh $(BUILD)

test: build
	@scripts/test.sh $(BUILD)

test-cluster: setup
	@scripts/test_cluster.sh

torture: build
	@torture/torture.sh sample $(BUILD)

torture-full: build
	@torture/torture.sh full $(BUILD)

bench: build
	@scripts/bench.sh $(BUILD)

bench-check: build
	@BENCH=check scripts/bench.sh $(BUILD) --scale 0.01

bench-quick: build
	@cargo run --quiet --locked --release -p disk_chan_bench -- quick --lib $(BUILD)/lib/libdisk_chan.so --scratch $(BUILD) --rounds 3

check: setup
	@scripts/check.sh

header: setup
	@scripts/header.sh >include/disk_chan.h.new
	@mv include/disk_chan.h.new include/disk_chan.h

man:
	@python3 scripts/manual
	@scripts/tool_pages.sh

html:
	@scripts/setup.sh python3 mandoc
	@python3 scripts/manual --html $(BUILD)/html
	@echo '$(BUILD)/html/index.html'

install: build
	@DESTDIR=$(DESTDIR) cmake --install $(BUILD) --prefix $(PREFIX)

package: build
	@scripts/package.sh $(BUILD)

package-test: build
	@scripts/package_test.sh $(BUILD)

clean:
	rm -rf $(BUILD) target
