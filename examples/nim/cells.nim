## Cells that Knoll counts, in a Nim program whose own memory management leaks cycles (`--mm:arc`): rings, a graph that
## changes, a long list. Knoll finds the cycles.
##
## Build:  nim c --mm:arc -d:useMalloc -d:release --threads:off --passC:-Iinclude --passL:-lknoll cells.nim

import knoll

type
  Node = object
    left, right: Counted[Node]
    value: int

let nodes = cellType[Node]("Node", offsetOf(Node, left), offsetOf(Node, right))

proc node(value: int): Counted[Node] =
  result = cell(nodes)
  result[].value = value

proc ring(length: int) =
  let first = node(1)
  var last = first
  for value in 2 .. length:
    let next = node(value)
    last[].left = next
    next[].right = last
    last = next
  last[].left = first
  first[].right = last

proc list(length: int): int =
  var head = node(0)
  for value in 1 ..< length:
    let longer = node(value)
    longer[].left = head
    head = longer
  var at = head
  while not at.isNil:
    result += at[].value
    let next = at[].left
    at = next

var state = 88172645463325252'u64

proc random(below: int): int =
  state = state xor (state shl 13)
  state = state xor (state shr 7)
  state = state xor (state shl 17)
  int(state shr 33) mod below

proc churn(count, steps: int): int =
  var table = newSeq[Counted[Node]](count)
  for value in 0 ..< count:
    table[value] = node(value)
  for step in 1 .. steps:
    let at = random(count)
    if step mod 8 == 0:
      table[at] = node(step)
    elif step mod 2 == 0:
      table[at][].left = table[random(count)]
    else:
      table[at][].right = table[random(count)]
  for entry in table:
    result += entry.count

proc main() =
  for length in [1, 2, 3, 1000, 100_000]:
    ring(length)
  echo "list: sum ", list(1_000_000)
  echo "churn: ", churn(5000, 400_000), " references"

main()
runOrc()
echo "bytes that cells take: ", occupiedMem()
