# Knoll: the one entry. Each target is thin over `cargo xtask`; `cargo xtask help` has the details.
#
#   make run        set up, build, and run Lua, Lisp, a device's workflows and Nim on Knoll: on the host and in the
#                   emulated Cortex-M4; Python with libknoll.so as its malloc
#   make test       set up, build, and run every test
#   make header     regenerate include/knoll.h from src/capi
#   make firmware   localised archives for the firmware targets, in dist/
#   make dist       localised archives for every target, in dist/
#   make bench      measure Knoll and its rivals in the emulator; writes docs/figures.md
#   make bench-counted   measure counted cells and their rivals; writes docs/counted-figures.md
#   make bench-arena     measure scopes and arenas and their rivals; writes docs/arena-figures.md
#   make bench-hosted    measure libknoll.so and its rivals as mallocs of real programs; writes docs/hosted-figures.md
#   make bench-micropython    measure MicroPython's own heap and Knoll's under its interpreter, on an emulated Cortex-M3;
#                   writes docs/micropython-figures.md
#   make test-dropin     fifty programs on libknoll.so, each next to the same on libc's malloc; installs them from Debian
#   make test-aarch64    libknoll.so on 64-bit Arm, emulated
#   make test-micropython     MicroPython's own tests with its heap and with Knoll's, here and on an emulated Cortex-M3
#   make size       code size of each public function, and of libknoll.so
#   make install    libknoll.so, libknoll.a, header, pkg-config and CMake files; PREFIX, DESTDIR, FEATURES=hardened
#   make miri       the tests under Miri, 64 and 32 bit (slow)
#   make fuzz       the fuzz target, FUZZ_SECONDS long (60)
#   make clean      remove what was built

PREFIX ?= /usr/local
DESTDIR ?=
FEATURES ?=
FUZZ_SECONDS ?= 60

# Cargo builds the driver quietly; the first time that is a minute of silence.
XTASK = @[ -x "$${CARGO_TARGET_DIR:-target}/debug/xtask" ] || echo "==> Building the driver, xtask: about a minute, once"; cargo xtask

.DEFAULT_GOAL := help
.PHONY: run test test-dropin test-aarch64 header firmware dist bench bench-counted bench-arena bench-hosted bench-micropython test-micropython size install miri fuzz clean help

run:
	@tools/setup.sh rust firmware emu host nim preload micropython
	$(XTASK) run
	@cargo xtask nim
	@cargo xtask dropin --only python3-objects

test:
	@tools/setup.sh rust firmware emu host valgrind preload nim node micropython
	@tools/setup.sh miri || echo "==> Without Miri: its step says so, all others run" >&2
	$(XTASK) test

test-dropin:
	@tools/setup.sh rust host dropin
	$(XTASK) dropin

test-aarch64:
	@tools/setup.sh rust aarch64
	$(XTASK) aarch64

header:
	@tools/setup.sh rust
	$(XTASK) header

firmware:
	@tools/setup.sh rust
	$(XTASK) dist --firmware

dist:
	@tools/setup.sh rust
	$(XTASK) dist

bench:
	@tools/setup.sh rust firmware emu host
	$(XTASK) bench

bench-counted:
	@tools/setup.sh rust firmware emu host bench-counted
	$(XTASK) bench-counted

bench-arena:
	@tools/setup.sh rust firmware emu host bench-arena
	$(XTASK) bench-arena

bench-hosted:
	@tools/setup.sh rust host bench-hosted
	$(XTASK) bench-hosted

bench-micropython:
	@tools/setup.sh rust firmware emu host micropython
	$(XTASK) bench-micropython

test-micropython:
	@tools/setup.sh rust firmware emu host micropython
	$(XTASK) micropython

size:
	@tools/setup.sh rust
	$(XTASK) size

install:
	@tools/setup.sh rust
	$(XTASK) install --prefix '$(PREFIX)' --destdir '$(DESTDIR)' --features '$(FEATURES)'

miri:
	@tools/setup.sh rust miri
	$(XTASK) miri

fuzz:
	@tools/setup.sh rust fuzz
	$(XTASK) fuzz --seconds $(FUZZ_SECONDS)

clean:
	cargo clean
	rm -rf dist

help:
	@sed -n 's/^#  \{0,1\}//p; /^$$/q' Makefile
