"""Runs an ASA of graspy as it is, without a person at the terminal.

Arguments: "ours" or "graspy", the ASA's path, a factor for its own pauses, and optionally a function to call in it. With
"graspy" its engine is that of GRASPY_DIR, of which nothing is changed but what would wait for a person: there is no key for
encryption unless the ASA has one beside it, and no window.
"""

import os
import runpy
import sys
import threading
import time
import types

import cbor2

engine, path, pace, *function = sys.argv[1:]
sys.argv = [path]
# Some ASAs ask for the older module, which has the same functions.
sys.modules.setdefault("cbor", cbor2)
sys.path[0] = os.path.dirname(path)
if engine == "graspy":
    if not os.path.exists("quadsk.py"):
        sys.modules["quadsk"] = types.SimpleNamespace(key="No key", iv=None)
    sys.modules["tkinter"] = types.SimpleNamespace(font=None)
    sys.path.insert(1, os.environ["GRASPY_DIR"])

engine_sleep = time.sleep


def sleep(seconds):
    """The ASA's pauses are for people to read; those of the engine are part of it."""
    own = sys._getframe(1).f_globals.get("__file__") == path
    engine_sleep(seconds * float(pace) if own else seconds)


time.sleep = sleep
import grasp  # noqa: E402

assert ("_grasp" in vars(grasp)) == (engine == "ours"), grasp.__file__
names = runpy.run_path(path, run_name="__main__" if not function else "asa")
if function:
    names[function[0]]()
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
