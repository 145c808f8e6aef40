"""Runs an ASA of graspy as it is, without a person at the terminal.

Arguments: the ASA's path, and a factor for its own pauses. GRASPY_DIR is the checkout of graspy. Questions are
answered through standard input. Nothing of graspy's engine is changed but what would wait for a person: there is
no key for encryption, and no window.
"""

import os
import runpy
import sys
import time
import types

import cbor2

path, pace = sys.argv[1], float(sys.argv[2])
# Without these graspy asks for a password, and pauses because tkinter is missing.
sys.modules["quadsk"] = types.SimpleNamespace(key="No key", iv=None)
sys.modules["tkinter"] = types.SimpleNamespace(font=None)
# Some ASAs ask for the older module, which has the same functions.
sys.modules.setdefault("cbor", cbor2)
sys.path.insert(0, os.environ["GRASPY_DIR"])

engine_sleep = time.sleep


def sleep(seconds):
    """The ASA's pauses are for people to read; those of the engine are part of it."""
    own = sys._getframe(1).f_globals.get("__name__") == "__main__"
    engine_sleep(seconds * pace if own else seconds)


time.sleep = sleep
runpy.run_path(path, run_name="__main__")
