## Real work in Nim with its own collector, `--mm:orc -d:useMalloc`: every block comes from malloc, so the program runs on
## whatever malloc it is linked with or preloaded with. It prints the same on all of them.
##
##   cycles    random graphs of `ref` objects, doubly linked rings, trees with parent links: made, changed, dropped;
##             destructors count, and none may be left
##   tables    words counted in a generated text, sorted, joined, looked up, deleted
##   json      a document built, printed, parsed and compared
##   strings   growth by one character, slices, replacement, formatting; sequences of sequences
##   manual    alloc, alloc0, realloc, dealloc, their shared twins, allocCStringArray
##
## The last lines are the statistics of `count_malloc.c`: calls, bytes asked for, and blocks that live.
##
## Build:  nim c --mm:orc -d:useMalloc -d:release --threads:off work.nim

import std/[algorithm, deques, json, sets, strformat, strutils, tables]

# ---------------------------------------------------------------- random numbers, the same everywhere

var state = 0x9E3779B97F4A7C15'u64

proc random(below: int): int =
  state = state xor (state shl 13)
  state = state xor (state shr 7)
  state = state xor (state shl 17)
  int(state shr 33) mod below

# ---------------------------------------------------------------- cyclic structures

type
  Witness = object
    ## Counts how many nodes are alive: its destructor runs when its node dies.
    alive: bool
  Node = ref object
    witness: Witness
    name: string
    edges: seq[Node]
  Ring = ref object
    witness: Witness
    next, previous: Ring
    payload: array[24, byte]
  Tree = ref object
    witness: Witness
    parent, left, right: Tree
    value: int

var born, died: int

proc `=destroy`(witness: var Witness) =
  if witness.alive:
    inc died
    witness.alive = false

proc `=copy`(to: var Witness, source: Witness) {.error.}

proc newWitness(): Witness =
  inc born
  Witness(alive: true)

proc graph(nodes, edges: int): seq[Node] =
  for index in 0 ..< nodes:
    result.add Node(witness: newWitness(), name: "node " & $index)
  for _ in 1 .. edges:
    let source = random(nodes)
    result[source].edges.add result[random(nodes)]

proc reachable(start: Node): int =
  var seen = initHashSet[pointer]()
  var queue = [start].toDeque
  while queue.len > 0:
    let node = queue.popFirst
    if not seen.containsOrIncl(cast[pointer](node)):
      for edge in node.edges:
        queue.addLast edge
  seen.len

proc churn(nodes: var seq[Node], steps: int): int =
  ## Redirects edges and replaces nodes: most of what is dropped hangs in cycles.
  for step in 1 .. steps:
    let at = random(nodes.len)
    if step mod 8 == 0:
      nodes[at] = Node(witness: newWitness(), name: &"replaced {step}", edges: @[nodes[random(nodes.len)]])
    elif nodes[at].edges.len > 0:
      nodes[at].edges[random(nodes[at].edges.len)] = nodes[random(nodes.len)]
    result += nodes[at].edges.len

proc ring(length: int) =
  let first = Ring(witness: newWitness())
  var last = first
  for index in 2 .. length:
    let next = Ring(witness: newWitness(), previous: last)
    next.payload[index mod 24] = byte(index and 255)
    last.next = next
    last = next
  last.next = first
  first.previous = last

proc tree(depth: int, parent: Tree = nil): Tree =
  result = Tree(witness: newWitness(), parent: parent, value: depth)
  if depth > 0:
    result.left = tree(depth - 1, result)
    result.right = tree(depth - 1, result)

proc sum(tree: Tree): int =
  if tree != nil: tree.value + sum(tree.left) + sum(tree.right) else: 0

proc cycles() =
  block:
    var nodes = graph(2000, 6000)
    echo "graph: from node 0 ", reachable(nodes[0]), " of ", nodes.len
    echo "graph: churned ", churn(nodes, 40_000), ", from node 0 now ", reachable(nodes[0])
  for length in [1, 2, 3, 10, 1000, 20_000]:
    ring(length)
  block:
    let whole = tree(13)
    echo "tree: sum ", sum(whole), ", left half ", sum(whole.left)
  GC_fullCollect()
  echo &"nodes: {born} born, {died} died, {born - died} alive"

# ---------------------------------------------------------------- tables and strings

proc word(): string =
  const syllables = ["ka", "no", "ri", "sa", "te", "mu", "lo", "ven", "dar", "ix"]
  for _ in 0 .. random(4):
    result.add syllables[random(syllables.len)]

proc words() =
  var counts = initCountTable[string]()
  var places = initTable[string, seq[int]]()
  for at in 1 .. 60_000:
    let word = word()
    counts.inc word
    places.mgetOrPut(word, @[]).add at
  var names: seq[string]
  for name in counts.keys:
    names.add name
  names.sort()
  echo "words: ", names.len, " different, first ", names[0], ", last ", names[^1]
  counts.sort()
  var shown = 0
  for name, count in counts:
    echo "  ", alignLeft(name, 12), align($count, 6), ", last seen at ", places[name][^1]
    inc shown
    if shown == 3: break
  for name in names:
    if name.len > 6:
      places.del name
  var left = 0
  for list in places.values:
    left += list.len
  echo "words: ", places.len, " short ones stand at ", left, " places; joined ", names.join(" ").len, " bytes"

proc documents() =
  var document = newJObject()
  for index in 0 ..< 400:
    document[&"key{index}"] = %*{"id": index, "tags": [$index, "tag" & $(index mod 7)], "nested": {"pi": 3.25, "no": nil}}
  let text = $document
  let back = parseJson(text)
  var tags = 0
  for key, value in back:
    tags += value["tags"].len + value["nested"].len
  echo "json: ", text.len, " bytes, equal again: ", back == document, ", ", tags, " tags, ", pretty(back).count('\n'), " lines"

proc texts() =
  var text = ""
  for index in 0 ..< 100_000:
    text.add char(ord('a') + index mod 26)
  var pieces: seq[string]
  var at = 0
  while at < text.len:
    let length = min(1 + random(300), text.len - at)
    pieces.add text[at ..< at + length]
    at += length
  echo "text: ", pieces.len, " pieces, whole again: ", pieces.join("") == text
  echo "text: replaced ", text.replace("xyz", "<three letters>").len, ", upper case ends with ", text.toUpperAscii[^3 .. ^1]
  var table: seq[seq[int]]
  for row in 0 ..< 300:
    table.add newSeq[int](row)
    for column in 0 ..< row:
      table[row][column] = row * column
  table.sort(proc (a, b: seq[int]): int = cmp(a.len mod 17, b.len mod 17), Descending)
  var total = 0
  for row in table:
    for cell in row: total += cell
  echo "table: ", table.len, " rows, total ", total

# ---------------------------------------------------------------- memory by hand

proc manual() =
  var numbers = cast[ptr UncheckedArray[int32]](alloc(4))
  var room = 1
  for index in 0 ..< 5000:
    if index == room:
      room *= 2
      numbers = cast[ptr UncheckedArray[int32]](realloc(numbers, room * 4))
    numbers[index] = int32(index)
  var sum = 0
  for index in 0 ..< 5000: sum += numbers[index]
  dealloc(numbers)
  let zeros = cast[ptr UncheckedArray[byte]](alloc0(3000))
  var bits: byte = 0
  for index in 0 ..< 3000: bits = bits or zeros[index]
  dealloc(zeros)
  let shared = cast[ptr UncheckedArray[int]](allocShared0(80))
  shared[9] = 7
  let larger = cast[ptr UncheckedArray[int]](reallocShared(shared, 8000))
  let kept = larger[9] + larger[0]
  deallocShared(larger)
  let texts = allocCStringArray(["one", "", "three"])
  let joined = cstringArrayToSeq(texts).join("+")
  deallocCStringArray(texts)
  echo "manual: sum ", sum, ", zeros ", bits, ", kept ", kept, ", strings ", joined

# ---------------------------------------------------------------- statistics of malloc, from C

{.compile: "count_malloc.c".}
proc mallocReport() {.importc: "malloc_report", cdecl.}
proc mallocLive(): clong {.importc: "malloc_live", cdecl.}

proc main() =
  for pass in 1 .. 2:
    echo "-- pass ", pass
    born = 0
    died = 0
    cycles()
    words()
    documents()
    texts()
    manual()

let before = mallocLive()
main()
GC_fullCollect()
echo "blocks that main left behind: ", mallocLive() - before
flushFile(stdout)
mallocReport()
