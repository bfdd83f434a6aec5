#!/usr/bin/env bash
# tools/setup.sh [GROUP…]: is everything here that Knoll's build and tests need?
#
# Checks each tool of the groups named (without a name: all but `dropin`, `aarch64` and `fuzz`). What is missing is
# installed with apt-get (as root, or by sudo where it asks no password), rustup or cargo; what
# cannot be installed is named with the exact command that would, and the script exits 1.
# Prints nothing when all is there, and is then fast enough to run before every build.
#
#   rust       the toolchain, components and targets of rust-toolchain.toml
#   firmware   arm-none-eabi-gcc with newlib: the C side of the firmware
#   emu        cmake, clang and libclang: the Unicorn harness is built from C sources
#   host       gcc and g++, 32-bit libraries for them, cmake: C programs over the host archive
#   valgrind   valgrind: the C tests under memcheck
#   preload    git, python3, perl and others: programs that the tests run on libknoll.so
#   nim        Nim's compiler: a Nim program on libknoll.so
#   node       Node.js, 18 or later: Grain's names as a WebAssembly module
#   bench-counted  what counted cells are measured against: Nim, libgc, mimalloc
#   bench-arena    what scopes and arenas are measured against: talloc, APR's pools (obstacks are the C library's)
#   bench-hosted   what libknoll.so is measured against as a malloc: mimalloc, jemalloc, tcmalloc; programs to measure
#   dropin     the real programs of `make test-dropin`: tools, languages, compilers, servers of Debian's
#   aarch64    QEMU, a cross compiler and the Rust target: libknoll.so on 64-bit Arm
#   micropython  what MicroPython's source is fetched with, as Debian's source package, and built with
#   miri       a nightly toolchain with Miri and rust-src; the tests do without if need be
#   fuzz       cargo-fuzz, for `make fuzz`
#
# KNOLL_SETUP=check   only checks, installs nothing.
set -eu
cd "$(dirname "$0")/.."

missing=()      # one line for each thing that could not be had: "what: command"
packages=()     # Debian packages to install, asked for once at the end
# A group is a function group_NAME: a plain `valgrind` would hide the program from `command -v`.
say() { printf '%s\n' "setup: $*" >&2; }

may_install() { [ "${KNOLL_SETUP:-}" != check ]; }

# as_root COMMAND…: runs it as root, or fails when that would need a password.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo -n "$@"
  else return 1
  fi
}

# need PACKAGE CHECK…: the Debian package is wanted unless the check command succeeds.
need() {
  local package=$1
  shift
  [[ " ${packages[*]:-} " == *" $package "* ]] || "$@" >/dev/null 2>&1 || packages+=("$package")
}

# attempt "WHAT" COMMAND…: installs by a command, or notes the command as missing.
attempt() {
  local what=$1
  shift
  if may_install; then
    say "installing $what: $*"
    "$@" >&2 && return 0
  fi
  missing+=("$what: $*")
}

# field NAME: a value of rust-toolchain.toml, lists as words.
field() {
  tr '\n' ' ' <rust-toolchain.toml | sed -n "s/.*[[:space:]]$1 = \(\"[^\"]*\"\|\[[^]]*\]\).*/\1/p" | tr -d '[]",'
}

# Debian starts a server when it is installed. Ours are run by the tests alone: while packages are being installed, a
# policy says no, unless this machine has one already.
POLICY=/usr/sbin/policy-rc.d
forbid_servers() {
  [ -e $POLICY ] && return 0
  trap 'as_root rm -f $POLICY' EXIT
  as_root sh -c "printf '#!/bin/sh\nexit 101\n' >$POLICY && chmod 755 $POLICY"
}
allow_servers() {
  [ -z "$(trap -p EXIT)" ] || { as_root rm -f $POLICY; trap - EXIT; }
}

install_packages() {
  [ ${#packages[@]} -gt 0 ] || return 0
  local command=(apt-get install -y --no-install-recommends "${packages[@]}")
  if may_install && command -v apt-get >/dev/null && as_root true; then
    say "installing from Debian: ${packages[*]}"
    local quiet=(env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600)
    local installed=no
    forbid_servers || say "no policy against servers could be set: Debian may start some"
    as_root "${quiet[@]}" update >/dev/null && as_root "${quiet[@]}" "${command[@]:1}" >&2 && installed=yes
    allow_servers
    [ $installed = no ] || return 0
  fi
  missing+=("${packages[*]}: sudo ${command[*]}")
}

group_rust() {
  if ! command -v rustup >/dev/null; then
    packages+=(rustup)
    install_packages
    packages=()
  fi
  command -v rustup >/dev/null || {
    missing+=("rustup: Debian 13 and later have it as a package; before, use the Rust project's installer")
    return 0
  }
  local channel wanted have item
  channel=$(field channel)
  if ! rustup toolchain list | grep -q "^$channel-"; then
    attempt "Rust $channel" rustup toolchain install "$channel" --profile minimal
  fi
  have=" $(rustup component list --installed --toolchain "$channel" 2>/dev/null | tr '\n' ' ')"
  wanted=()
  for item in $(field components); do
    [[ $have == *" $item"* ]] || wanted+=("$item")
  done
  [ ${#wanted[@]} = 0 ] || attempt "Rust components" rustup component add --toolchain "$channel" "${wanted[@]}"
  wanted=()
  for item in $(field targets); do
    [[ $have == *" rust-std-$item "* ]] || wanted+=("$item")
  done
  [ ${#wanted[@]} = 0 ] || attempt "Rust targets" rustup target add --toolchain "$channel" "${wanted[@]}"
}

# A compiler may be there without the headers or libraries that make it useful.
includes() { printf '#include <%s>\n' "${@:2}" | "$1" -E -x c - ; }
links_32_bit() { echo 'int main(void) { return 0; }' | gcc -m32 -x c - -o /dev/null; }
finds_libclang() { ls /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/*/libclang*.so* "${LIBCLANG_PATH:-/nowhere}"/libclang*.so* 2>/dev/null | grep -q .; }

group_firmware() {
  need gcc-arm-none-eabi command -v arm-none-eabi-gcc
  need libnewlib-arm-none-eabi includes arm-none-eabi-gcc stdio.h
}

group_emu() {
  need cmake command -v cmake
  need pkg-config command -v pkg-config
  need clang command -v clang
  need libclang-dev finds_libclang
}

group_host() {
  need gcc command -v gcc
  need g++ command -v g++
  need cmake command -v cmake
  case $(uname -m) in x86_64) need gcc-multilib links_32_bit ;; esac
}

group_valgrind() { need valgrind command -v valgrind; }

group_preload() {
  local program
  # The package and the program have one name.
  for program in clang cmake g++ gawk gcc git make patch perl python3; do
    need "$program" command -v "$program"
  done
  # The shell has one of this name, too.
  need time test -x /usr/bin/time
}

group_nim() { need nim command -v nim; }

# Before 18 a module of its own kind is no module to Node.
recent_node() { node -e 'process.exit(parseInt(process.versions.node) >= 18 ? 0 : 1)'; }
group_node() { need nodejs recent_node; }

group_bench-counted() {
  group_nim
  group_valgrind
  need libgc-dev includes gcc gc.h
  need libmimalloc-dev includes gcc mimalloc.h
  need util-linux command -v prlimit
}

group_bench-arena() {
  group_valgrind
  need pkg-config command -v pkg-config
  need libtalloc-dev pkg-config --exists talloc
  need libapr1-dev pkg-config --exists apr-1
  need util-linux command -v prlimit
}

# A library that can be preloaded, by its file's name.
finds_library() { ls /usr/lib/*/"$1" /usr/lib/"$1" 2>/dev/null | grep -q .; }

group_bench-hosted() {
  group_host
  need libmimalloc2.0 finds_library libmimalloc.so.2
  need libjemalloc2 finds_library libjemalloc.so.2
  need libtcmalloc-minimal4 finds_library libtcmalloc_minimal.so.4
  need lua5.4 command -v lua5.4
  need python3 command -v python3
  need sqlite3 command -v sqlite3
  need redis-server command -v redis-server
  need redis-tools command -v redis-benchmark
}

group_dropin() {
  group_host
  group_preload
  group_node
  local program
  # The package and the program have one name.
  for program in bash bc bzip2 cppcheck curl gdb grep gzip jq lua5.4 memcached openssl ruby sbcl sqlite3 tar vim z3 zstd; do
    need "$program" command -v "$program"
  done
  need binutils command -v objdump
  need coreutils command -v factor
  need emacs-nox command -v emacs
  need erlang-base command -v escript
  need ghostscript command -v gs
  need gnuplot-nox command -v gnuplot
  need graphviz command -v dot
  need guile-3.0 command -v guile
  need imagemagick command -v convert-im6.q16
  need libxml2-utils command -v xmllint
  need mariadb-server-core command -v mariadbd
  need nginx command -v nginx
  need default-jdk-headless command -v javac
  need php-cli command -v php
  need poppler-utils command -v pdftotext
  need redis-server command -v redis-server
  need redis-tools command -v redis-benchmark
  need swi-prolog-nox command -v swipl
  need tcl command -v tclsh
  need xz-utils command -v xz
}

group_aarch64() {
  need qemu-user command -v qemu-aarch64
  need gcc-aarch64-linux-gnu command -v aarch64-linux-gnu-gcc
  need libc6-dev-arm64-cross test -e /usr/aarch64-linux-gnu/include/stdio.h
  local target=aarch64-unknown-linux-gnu
  command -v rustup >/dev/null || return 0
  rustup target list --installed | grep -q "^$target$" || attempt "Rust for $target" rustup target add "$target"
}

# knoll-imports reads TOML by Python's own module.
recent_python() { python3 -c 'import tomllib'; }

# MicroPython itself comes from Debian's source package: `cargo xtask micropython` fetches it.
group_micropython() {
  group_firmware
  need dpkg-dev command -v dpkg-source
  need xz-utils command -v xz
  need gcc command -v gcc
  need make command -v make
  need pkg-config command -v pkg-config
  need libffi-dev includes gcc ffi.h
  need python3 command -v python3
  ! command -v python3 >/dev/null || recent_python 2>/dev/null ||
    missing+=("python3 3.11 or later: Debian 12 and later have it as a package; put it before \`$(command -v python3)' in PATH")
  # For MicroPython's own linker of native modules; it belongs to Debian's python3, which another may hide.
  need python3-pyelftools /usr/bin/python3 -c 'import elftools'
}

group_miri() {
  command -v rustup >/dev/null || return 0
  if ! rustup toolchain list | grep -q '^nightly'; then
    attempt "nightly Rust" rustup toolchain install nightly --profile minimal --component miri,rust-src
    return 0
  fi
  local have
  have=" $(rustup component list --installed --toolchain nightly 2>/dev/null | tr '\n' ' ')"
  [[ $have == *" miri"* && $have == *" rust-src"* ]] ||
    attempt "Miri" rustup component add --toolchain nightly miri rust-src
}

group_fuzz() {
  group_miri
  command -v cargo-fuzz >/dev/null || attempt "cargo-fuzz" cargo install --locked cargo-fuzz
}

[ $# -gt 0 ] || set -- rust firmware emu host valgrind preload nim node bench-counted bench-arena bench-hosted micropython miri
for group in "$@"; do
  case $group in
    rust | firmware | emu | host | valgrind | preload | nim | node | miri | fuzz) "group_$group" ;;
    bench-counted | bench-arena | bench-hosted | dropin | aarch64 | micropython) "group_$group" ;;
    *)
      say "no such group: $group"
      exit 2
      ;;
  esac
done
install_packages

if [ ${#missing[@]} -gt 0 ]; then
  say "these are missing; install them and run again:"
  printf '  %s\n' "${missing[@]}" >&2
  exit 1
fi
