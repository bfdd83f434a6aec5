# A program that is interrupted in the middle leaves all of this open. What comes behind the soft reset, which the runner
# makes between two tests on a board, is reset_2_begins.py.
try:
    import knoll
except ImportError:
    # Not this interpreter.
    print("SKIP")
    raise SystemExit

knoll.presize_modules(70)
knoll.boot_done()
workflow = knoll.workflow(strict=True)
workflow.__enter__()
knoll.workflow().__enter__()
knoll.lasting().__enter__()
knoll.lasting().__enter__()
buffers = [knoll.Counted(100 * i) for i in range(1, 9)]
arena = knoll.Arena(100)
arena.enter()
view = arena.alloc(10)
print(knoll.info()["scopes"], knoll.info()["workflows"], knoll.automatic())
