# A small unittest for MicroPython: as much of it as MicroPython's own tests use.
#
# MicroPython's package of this name belongs to micropython-lib, which its source archive leaves out; without
# one, tests/run-tests.py stops at the first test that imports it. What it prints at the end is what
# run-tests.py reads: a line of 70 dashes, "Ran N tests", an empty line, "OK" or "FAILED (failures=N, errors=N)".

import sys


class SkipTest(Exception):
    pass


class _Raises:
    def __init__(self, wanted):
        self.wanted = wanted
        self.exception = None

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        if kind is None:
            raise AssertionError("%r not raised" % self.wanted)
        self.exception = value
        return issubclass(kind, self.wanted)


class TestCase:
    def setUp(self):
        pass

    def tearDown(self):
        pass

    def skipTest(self, reason):
        raise SkipTest(reason)

    def fail(self, message=""):
        raise AssertionError(message)

    def _holds(self, fact, message):
        if not fact:
            raise AssertionError(message)

    def assertEqual(self, x, y, message=None):
        self._holds(x == y, message or "%r != %r" % (x, y))

    def assertNotEqual(self, x, y, message=None):
        self._holds(x != y, message or "%r == %r" % (x, y))

    def assertTrue(self, x, message=None):
        self._holds(x, message or "%r is not true" % (x,))

    def assertFalse(self, x, message=None):
        self._holds(not x, message or "%r is not false" % (x,))

    def assertIs(self, x, y, message=None):
        self._holds(x is y, message or "%r is not %r" % (x, y))

    def assertIsNone(self, x, message=None):
        self._holds(x is None, message or "%r is not None" % (x,))

    def assertIsNotNone(self, x, message=None):
        self._holds(x is not None, message or "None")

    def assertIn(self, x, y, message=None):
        self._holds(x in y, message or "%r is not in %r" % (x, y))

    def assertIsInstance(self, x, y, message=None):
        self._holds(isinstance(x, y), message or "%r is no %r" % (x, y))

    def assertLess(self, x, y, message=None):
        self._holds(x < y, message or "%r >= %r" % (x, y))

    def assertGreater(self, x, y, message=None):
        self._holds(x > y, message or "%r <= %r" % (x, y))

    def assertRaises(self, wanted, function=None, *args, **kwargs):
        if function is None:
            return _Raises(wanted)
        with _Raises(wanted):
            function(*args, **kwargs)


def skip(reason):
    def decorate(function):
        # A class is skipped by having no test left.
        if isinstance(function, type):

            class Skipped(TestCase):
                @skip(reason)
                def test_skipped(self):
                    pass

            return Skipped

        def skipped(self):
            raise SkipTest(reason)

        return skipped

    return decorate


def skipIf(condition, reason):
    return skip(reason) if condition else lambda function: function


def skipUnless(condition, reason):
    return skipIf(not condition, reason)


def _run(case, name, counts):
    print("%s (%s) ..." % (name, case.__qualname__ if hasattr(case, "__qualname__") else case.__name__), end="")
    counts["ran"] += 1
    instance = case()
    try:
        instance.setUp()
        try:
            getattr(instance, name)()
        finally:
            instance.tearDown()
        print(" ok")
    except SkipTest as reason:
        counts["skipped"] += 1
        print(" skipped:", reason.args[0] if reason.args else "")
    except Exception as error:
        counts["failures" if isinstance(error, AssertionError) else "errors"] += 1
        print(" FAIL")
        sys.print_exception(error)


def main(module="__main__"):
    counts = {"ran": 0, "skipped": 0, "failures": 0, "errors": 0}
    names = __import__(module)
    for name in dir(names):
        case = getattr(names, name)
        if not isinstance(case, type) or not issubclass(case, TestCase) or case is TestCase:
            continue
        if hasattr(case, "setUpClass"):
            case.setUpClass()
        for test in dir(case):
            if test.startswith("test"):
                _run(case, test, counts)
        if hasattr(case, "tearDownClass"):
            case.tearDownClass()
    print("-" * 70)
    print("Ran %d tests\n" % counts["ran"])
    if counts["failures"] or counts["errors"]:
        print("FAILED (failures=%d, errors=%d)" % (counts["failures"], counts["errors"]))
    else:
        print("OK" + (" (skipped=%d)" % counts["skipped"] if counts["skipped"] else ""))
