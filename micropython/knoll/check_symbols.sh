#!/bin/sh
# check_symbols.sh NM OBJECT "NAME ...": does the object define any global function that is not among the names?
#
# For py/gc.o and the list of functions that the linker redirects. One that is not redirected would be called as it
# is, and find a heap that was never initialised. Exits 1 and names them; also if the object defines none of the
# names, which would be no check.

nm=$1 object=$2 known=$3
defined=$("$nm" --defined-only --extern-only "$object" | awk 'NF >= 3 { print $3 }')
unknown=
found=
for name in $defined; do
  case " $known " in
    *" $name "*) found=yes ;;
    *) unknown="$unknown $name" ;;
  esac
done
if [ -n "$unknown" ]; then
  echo "knoll: this version of MicroPython has in py/gc.c what Knoll does not replace:$unknown" >&2
  echo "knoll: such a call would reach a heap that does not exist. Add it to gc_swap.c and to replaced.txt." >&2
  exit 1
fi
if [ -z "$found" ]; then
  echo "knoll: $object defines no function of the garbage collector; is it compiled for link-time optimisation?" >&2
  exit 1
fi
