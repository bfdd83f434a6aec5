## Knoll's counted cells as a Nim type: `Counted[T]` refers to a `T` in a cell, counted by Knoll and not by Nim.
##
## The hooks of the type are Knoll's own calls, so copies count, moves do not, and the last reference frees; cycles are
## found by Knoll's collector, whatever `--mm` the program is compiled with. `T` may hold numbers and other `Counted`
## fields; the latter are given to `cellType` by their offsets, and Knoll gives them up when the cell goes.
##
## Link with `--passL:-lknoll`, compile with `--passC:-I…/include`.

type
  KnTypeId* = uint32
  KnType {.importc: "KnType", header: "knoll.h", bycopy.} = object
    name: cstring
    size, flags, ref_count: uint32
    ref_offsets: ptr uint32
  Counted*[T] = object
    ## A reference to a cell; nil at the beginning.
    at: ptr T
  CellType*[T] = object
    ## What `cell` makes.
    id: KnTypeId
  Description = object
    ## Lives for ever, as Knoll wants it.
    offsets: array[8, uint32]
    descriptor: KnType

proc gcRegisterType(descriptor: ptr KnType): KnTypeId {.importc: "GC_registerType", header: "knoll.h".}
proc gcNew(id: KnTypeId): pointer {.importc: "GC_new", header: "knoll.h".}
proc gcUnref(cell: pointer) {.importc: "GC_unref", header: "knoll.h".}
proc gcAssign(slot: ptr pointer, cell: pointer) {.importc: "GC_assign", header: "knoll.h".}
proc gcRefcount(cell: pointer): uint32 {.importc: "GC_refcount", header: "knoll.h".}
proc runOrc*() {.importc: "GC_runOrc", header: "knoll.h".}
  ## Collects all cyclic garbage.
proc occupiedMem*(): csize_t {.importc: "GC_getOccupiedMem", header: "knoll.h".}
  ## Bytes that cells take.

proc `=destroy`*[T](reference: var Counted[T]) =
  if reference.at != nil:
    gcUnref(reference.at)

proc `=copy`*[T](to: var Counted[T], source: Counted[T]) =
  gcAssign(cast[ptr pointer](addr to.at), source.at)

proc cellType*[T](name: static cstring, offsets: varargs[int]): CellType[T] =
  ## A type of cells whose `Counted` fields lie at these offsets. Raises ValueError iff Knoll refuses it.
  let description = cast[ptr Description](alloc0(sizeof(Description)))
  for index, offset in offsets:
    description.offsets[index] = uint32(offset)
  description.descriptor.name = name
  description.descriptor.size = uint32(sizeof(T))
  description.descriptor.ref_count = uint32(offsets.len)
  description.descriptor.ref_offsets = addr description.offsets[0]
  result.id = gcRegisterType(addr description.descriptor)
  if result.id == 0:
    raise newException(ValueError, "a bad type: " & $name)

proc cell*[T](kind: CellType[T]): Counted[T] =
  ## A cell of zeros with one reference. Raises OutOfMemDefect without memory.
  result.at = cast[ptr T](gcNew(kind.id))
  if result.at == nil:
    raise newException(OutOfMemDefect, "no memory for a cell")

proc isNil*[T](reference: Counted[T]): bool = reference.at == nil

proc `[]`*[T](reference: Counted[T]): var T =
  ## The payload. The reference must not be nil.
  reference.at[]

proc count*[T](reference: Counted[T]): int =
  ## How many references the cell has.
  int(gcRefcount(reference.at))
