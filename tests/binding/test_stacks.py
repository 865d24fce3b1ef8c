"""The self-test of frame layouts, and life without Python stacks."""

from cmemray._load import core


def test_stacks_can_be_read_here():
    assert core.PYTHON_STACKS_REASON == ""
    assert core.PYTHON_STACKS


def test_imported_deep_inside_a_generator(run_python):
    out = run_python(
        "def generate():\n"
        "    from cmemray._load import core\n"
        "    yield core.PYTHON_STACKS, core.PYTHON_STACKS_REASON\n"
        "class Importer:\n"
        "    def __getattr__(self, name): return [x for x in generate()]\n"
        "def deep(n): return deep(n - 1) if n else sorted([1], key=lambda _: out.append(i.x))\n"
        "out, i = [], Importer()\n"
        "deep(300)\n"
        "print(out)"
    )
    assert out == "[[(True, '')]]\n"


def test_imported_under_a_trace_function(run_python):
    out = run_python(
        "import sys\n"
        "sys.settrace(lambda *a: sys.gettrace())\n"
        "def f():\n"
        "    from cmemray._load import core\n"
        "    return core.PYTHON_STACKS\n"
        "print(f())"
    )
    assert out == "True\n"


def test_an_interrupted_import_begins_again(run_python):
    """The self-test runs Python code, where the handler of a timeout may raise."""
    out = run_python(
        "import sys, cmemray\n"
        "def interrupt(frame, event, argument):\n"
        "    if frame.f_code.co_filename == '<cmemray self-test>': raise KeyboardInterrupt\n"
        "sys.settrace(interrupt)\n"
        "try: cmemray.measure()\n"
        "except KeyboardInterrupt: print('interrupted')\n"
        "sys.settrace(None)\n"
        "with cmemray.measure(attribution='exact') as m: held = [str(i) for i in range(1000)]\n"
        "from cmemray._load import core\n"
        "print(core.PYTHON_STACKS, m.count > 1000, all(row.frames for row in m.leaks()))"
    )
    assert out == "interrupted\nTrue True True\n"
