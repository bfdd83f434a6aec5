## The six programs of ../programs.c in Nim: the same arguments, the same random numbers, the same steps.
##
## Built with --mm:arc or --mm:orc and -d:danger. With -d:check a field with a destructor in each node counts the nodes
## that are alive; without, nothing is spent on that. Nim decides itself when to collect; each program ends with
## GC_fullCollect.
import std/[os, strutils]

{.compile: "../measure.c".}
proc measureStart(program, stepsFile: cstring) {.importc: "measure_start".}
proc measureBegin() {.importc: "measure_begin".}
var measureRecording {.importc: "measure_recording".}: bool
proc measureRecord() {.importc: "measure_record".}
proc measureSkip() {.importc: "measure_skip".}
proc measureEnd(operations: uint64) {.importc: "measure_end".}
proc measureAlive(alive, expected: uint64) {.importc: "measure_alive".}
proc measureFail(message: cstring) {.importc: "measure_fail".}

template measureStep() =
  if unlikely(measureRecording): measureRecord()

const
  nodeValue = 0x5A0DE'u64
  liveDepth = 16
  depth = 14
  largeRing = 1_000_000
  smallRing = 100
  tableSize = 131_072
  group = 16
  liveListSize = 1_000_000

when defined(check):
  var nodesAlive: uint64
  type Payload = object
    value: uint64
  proc `=destroy`(payload: var Payload) =
    if payload.value != 0:
      dec nodesAlive
      payload.value = 0
  proc `=copy`(to: var Payload, source: Payload) {.error.}
else:
  type Payload = object
    value: uint64

type
  Node = ref object
    left, right: Node
    payload: Payload

proc newNode(): Node {.inline.} =
  when defined(check):
    inc nodesAlive
  new(result)
  result.payload.value = nodeValue

proc check(expected: uint64) =
  when defined(check):
    measureAlive(nodesAlive, expected)

proc finish() =
  when defined(gcOrc):
    GC_fullCollect()

# xorshift64*, the upper half.
var randomState = 0x9E3779B97F4A7C15'u64

proc randomBits(): uint32 {.inline.} =
  randomState = randomState xor (randomState shr 12)
  randomState = randomState xor (randomState shl 25)
  randomState = randomState xor (randomState shr 27)
  uint32((randomState * 0x2545F4914F6CDD1D'u64) shr 32)

# ---------------------------------------------------------------- acyclic

var living: Node

proc tree(depth: int): Node =
  result = newNode()
  if depth > 0:
    result.left = tree(depth - 1)
    result.right = tree(depth - 1)

proc trees(count: uint64) =
  living = tree(liveDepth)
  measureBegin()
  for i in 0'u64 ..< count:
    var dropped = tree(depth)
    measureSkip()
    dropped = nil
    measureStep()
  finish()
  measureEnd(count * ((2'u64 shl depth) - 1))
  check((2'u64 shl liveDepth) - 1)

proc listOf(count: uint64): Node =
  for i in 0'u64 ..< count:
    var node = newNode()
    node.left = move(result)
    result = node

proc list(count: uint64) =
  measureBegin()
  var head = listOf(count)
  measureSkip()
  head = nil
  measureStep()
  finish()
  measureEnd(count)
  check(0)

# ---------------------------------------------------------------- cycles

proc ringOf(count: int): Node =
  result = newNode()
  var last = result
  for i in 1 ..< count:
    let node = newNode()
    node.left = last
    last.right = node
    last = node
  last.right = result
  result.left = last

proc oneRing(count: int) =
  discard ringOf(count)

proc ring(count: uint64) =
  measureBegin()
  for i in 0'u64 ..< count:
    var dropped = ringOf(largeRing)
    measureSkip()
    dropped = nil
    finish()
    measureStep()
  measureEnd(count * largeRing)
  check(0)

proc rings(count: uint64) =
  measureBegin()
  for i in 0'u64 ..< count:
    oneRing(smallRing)
    measureStep()
  finish()
  measureEnd(count * smallRing)
  check(0)

proc reached(table: seq[Node]): uint64 =
  ## How many nodes a walk from the table reaches. It marks them by their value.
  var found: seq[pointer]
  template visit(node: Node) =
    if node != nil and node.payload.value != nodeValue + 1:
      if node.payload.value != nodeValue: measureFail("a node that can be reached was overwritten")
      node.payload.value = nodeValue + 1
      found.add(cast[pointer](node))
  for node in table: visit(node)
  var at = 0
  while at < found.len:
    let node {.cursor.} = cast[Node](found[at])
    visit(node.left)
    visit(node.right)
    inc at
  for at in found: cast[Node](at).payload.value = nodeValue
  uint64(found.len)

proc churn(count: uint64) =
  var table = newSeq[Node](tableSize)
  for node in mitems(table): node = newNode()
  measureBegin()
  for i in 0'u64 ..< count:
    let bits = randomBits()
    let at = int(bits and (tableSize - 1))
    if (bits shr 29) != 0:
      let to = (at and not (group - 1)) or (int(bits shr 17) and (group - 1))
      if ((bits shr 21) and 1) != 0: table[at].left = table[to]
      else: table[at].right = table[to]
    else:
      table[at] = newNode()
    measureStep()
  finish()
  measureEnd(count)
  when defined(check): check(reached(table))

proc beside(count: uint64) =
  living = listOf(liveListSize)
  # Where its nodes are; these are not references.
  var places = newSeq[pointer](liveListSize)
  block:
    var node {.cursor.} = living
    for place in mitems(places):
      place = cast[pointer](node)
      node = node.left
  proc oneCycle(place: pointer) =
    let one = newNode()
    let other = newNode()
    let target {.cursor.} = cast[Node](place)
    one.left = other
    other.left = one
    one.right = target
  measureBegin()
  for i in 0'u64 ..< count:
    oneCycle(places[int((uint64(randomBits()) * liveListSize) shr 32)])
    measureStep()
  finish()
  measureEnd(count)
  var expected = 0'u64
  var node {.cursor.} = living
  while node != nil:
    inc expected
    node = node.left
  check(expected)

# ---------------------------------------------------------------- which

proc main() =
  if paramCount() < 2: measureFail("programs PROGRAM COUNT [STEPS-FILE]")
  let name = paramStr(1)
  let count = uint64(parseBiggestUInt(paramStr(2)))
  let steps = if paramCount() > 2: paramStr(3) else: ""
  measureStart(name.cstring, steps.cstring)
  case name
  of "trees": trees(count)
  of "list": list(count)
  of "ring": ring(count)
  of "rings": rings(count)
  of "churn": churn(count)
  of "beside": beside(count)
  else: measureFail("no such program")
  # What still lives goes with the process: releasing it is no part of any program.
  quit(0)

main()
