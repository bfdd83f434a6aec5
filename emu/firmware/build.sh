#!/bin/sh
# Builds a firmware for the harness from C (or assembly) sources and archives.
#
#   build.sh CPU OUT.elf SOURCES... [-- EXTRA_GCC_ARGS...]
#
# CPU is m0, m3, m4 (soft float: links with thumbv7em-none-eabi archives) or m4f (hard float:
# thumbv7em-none-eabihf). Archives (*.a) and objects (*.o) may stand among the sources; they
# and -l arguments are linked as a group, so their order does not matter. EXTRA_GCC_ARGS go to
# every compilation and to the link: -I, -D, -O, -Wl,--defsym=STACK_SIZE=0x4000,
# --specs=nano.specs. Objects live in a temporary folder; nothing but OUT.elf is left behind.
#
# KNOLL_FIRMWARE_JOBS sets how many compilations run side by side (default 2).
set -eu

usage() {
    sed -n '2,16s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 3 ] || usage
cpu=$1
out=$2
shift 2

case $cpu in
    m0) machine="-mcpu=cortex-m0 -mfloat-abi=soft" ;;
    m3) machine="-mcpu=cortex-m3 -mfloat-abi=soft" ;;
    m4) machine="-mcpu=cortex-m4 -mfloat-abi=soft" ;;
    m4f) machine="-mcpu=cortex-m4 -mfloat-abi=hard -mfpu=fpv4-sp-d16" ;;
    *) echo "build.sh: unknown CPU '$cpu': want m0, m3, m4 or m4f" >&2; exit 2 ;;
esac

compiler=${KNOLL_ARM_GCC:-arm-none-eabi-gcc}
command -v "$compiler" >/dev/null 2>&1 || {
    echo "build.sh: $compiler not found; install it with: apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi" >&2
    exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
list=$work/compile
: >"$list"

# Sources become lines "object<TAB>source"; archives and objects go straight to the link.
count=0
runtime=own
: >"$work/link"
add_source() {
    count=$((count + 1))
    object=$work/$count.o
    if [ -d "$out" ]; then
        object=$(basename "$1")
        object=$out/${object%.*}.o
    fi
    printf '%s\t%s\n' "$object" "$1" >>"$list"
    printf '"%s"\n' "$object" >>"$work/link"
}
while [ $# -gt 0 ] && [ "$1" != "--" ]; do
    [ -e "$1" ] || { echo "build.sh: no such file: $1" >&2; exit 2; }
    case $1 in
        */startup.o) runtime=given ;;
    esac
    case $1 in
        *.a | *.o) printf '"%s"\n' "$1" >>"$work/link" ;;
        *) add_source "$1" ;;
    esac
    shift
done
[ $# -eq 0 ] || shift
if [ $runtime = own ]; then
    add_source "$here/startup.c"
    add_source "$here/retarget.c"
fi

# One script per object, so that arguments with blanks survive xargs.
cat >"$work/one.sh" <<'ONE'
line=$1; shift
object=${line%%	*}
source=${line#*	}
exec "$@" -c "$source" -o "$object"
ONE
# shellcheck disable=SC2086
tr '\n' '\0' <"$list" | xargs -0 -P "${KNOLL_FIRMWARE_JOBS:-2}" -I '{}' \
    sh "$work/one.sh" '{}' "$compiler" $machine -mthumb -std=gnu11 -O2 -g \
    -ffunction-sections -fdata-sections -I"$here" "$@" || exit 1

[ ! -d "$out" ] || exit 0

# shellcheck disable=SC2086
"$compiler" $machine -mthumb -O2 -g -nostartfiles -T "$here/firmware.ld" \
    -Wl,--gc-sections -Wl,-z,noexecstack -Wl,--no-warn-rwx-segments -Wl,--fatal-warnings \
    -Wl,--start-group @"$work/link" -lc -lm -lgcc -Wl,--end-group \
    "$@" -o "$work/out.elf"
mv "$work/out.elf" "$out"
