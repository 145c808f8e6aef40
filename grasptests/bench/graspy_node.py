"""A node with graspy, or with our module of the same name, that the bench measures.

Takes one command a line from standard input and answers with one line on standard output: "ready", a number of seconds
with a number of times, or "failed" with a reason. What graspy itself prints is thrown away. It ends when standard input
is closed. GRASPY_DIR is the checkout of graspy that is used; without it the module grasp is ours, as it is installed.

    start                 starts graspy and registers an ASA
    serve                 answers: accepts negotiations, steps, serves a value
    connect TIMES THREADS negotiations that are accepted at once, on a new connection each
    step TIMES            steps in one session
    synchronize TIMES     requests for a value
    flood TIMES           calls of flood
    discover TIMES        calls of discover, each of which asks the network
"""

import os
import sys
import threading
import time
import types

ANSWERS = os.dup(1)
sys.stdout = sys.stderr = open(os.devnull, "w")
if "GRASPY_DIR" in os.environ:
    # QUADS off, without graspy asking for a password; and no pause of ten seconds where tkinter is missing.
    sys.modules["quadsk"] = types.SimpleNamespace(key="No key", iv=None)
    sys.modules["tkinter"] = types.SimpleNamespace(font=None)
    sys.path.insert(0, os.environ["GRASPY_DIR"])
import grasp  # noqa: E402  (it has to come after the above)

TIMEOUT = 10_000
LOOPS = 6


class Failed(Exception):
    pass


def must(error):
    if error:
        raise Failed(grasp.etext[error])


def objective(name, kind, loop_count=LOOPS):
    made = grasp.objective(name)
    setattr(made, kind, True)
    made.loop_count = loop_count
    made.value = ["NZD", 47]
    return made


class Node:
    def start(self):
        grasp.skip_dialogue(testing=False, selfing=False, diagnosing=False)
        error, self.asa = grasp.register_asa("bench")
        must(error)
        return "ready"

    def serve(self):
        for name, answer in (("EX3", self.accept), ("EX4", self.counter)):
            must(grasp.register_obj(self.asa, objective(name, "neg"), discoverable=True))
            # graspy queues five requests for an objective, and loses them when its listener returns.
            for number in range(16 if name == "EX3" else 1):
                thread = threading.Thread(target=self.listen, name="listen", args=(name, answer), daemon=True)
                thread.start()
        must(grasp.register_obj(self.asa, objective("EX2", "synch"), discoverable=True))
        must(grasp.listen_synchronize(self.asa, objective("EX2", "synch")))
        return "ready"

    def listen(self, name, answer):
        wanted = objective(name, "neg")
        while True:
            error, session, asked = grasp.listen_negotiate(self.asa, wanted)
            if not error:
                answer(session, asked)

    def accept(self, session, asked):
        grasp.end_negotiate(self.asa, session, True)

    def counter(self, session, asked):
        error = None
        while not error:
            asked.loop_count = LOOPS
            error, session, asked = grasp.negotiate_step(self.asa, session, asked, TIMEOUT)
            if session is None:
                return

    def peer(self, wanted):
        for _ in range(20):
            error, found = grasp.discover(self.asa, wanted, 1000, flush=True)
            must(error)
            if found:
                return found[0]
        raise Failed(wanted.name + " is not discovered")

    def connect(self, times, threads):
        wanted = objective("EX3", "neg")
        self.register(wanted)
        peer, failures = self.peer(wanted), []

        def ask():
            for _ in range(int(times) // int(threads)):
                error, session, _ = grasp.req_negotiate(self.asa, wanted, peer, TIMEOUT)
                # graspy refuses who comes while its listener is between two calls: that is no negotiation.
                if error or session is not None:
                    failures.append(error)

        asking = [threading.Thread(target=ask, name="ask") for _ in range(int(threads))]
        started = time.monotonic()
        [thread.start() for thread in asking]
        [thread.join() for thread in asking]
        done = int(times) // int(threads) * int(threads) - len(failures)
        return f"{time.monotonic() - started} {done} {len(failures)}"

    def register(self, wanted):
        error = grasp.register_obj(self.asa, wanted)
        if error not in (0, grasp.errors.objReg):
            must(error)

    def step(self, times):
        wanted = objective("EX4", "neg")
        self.register(wanted)
        error, session, offer = grasp.req_negotiate(self.asa, wanted, self.peer(wanted), TIMEOUT)
        must(error)
        started = time.monotonic()
        for _ in range(int(times)):
            offer.loop_count = LOOPS
            error, session, offer = grasp.negotiate_step(self.asa, session, offer, TIMEOUT)
            must(error)
        elapsed = time.monotonic() - started
        grasp.end_negotiate(self.asa, session, True)
        return f"{elapsed} {times} 0"

    def synchronize(self, times):
        wanted = objective("EX2", "synch")
        self.register(wanted)
        peer = self.peer(wanted)
        started = time.monotonic()
        for _ in range(int(times)):
            must(grasp.synchronize(self.asa, wanted, peer, TIMEOUT)[0])
        return f"{time.monotonic() - started} {times} 0"

    def flood(self, times):
        wanted = objective("EX5", "synch")
        self.register(wanted)
        tagged = grasp.tagged_objective(wanted, None)
        started = time.monotonic()
        for _ in range(int(times)):
            must(grasp.flood(self.asa, 60_000, tagged))
        return f"{time.monotonic() - started} {times} 0"

    def discover(self, times):
        # It always collects until its time is over: 100 ms for each loop count at least.
        wanted = objective("EX3", "neg", 1)
        self.register(wanted)
        found, started = 0, time.monotonic()
        for _ in range(int(times)):
            error, locators = grasp.discover(self.asa, wanted, 100, flush=True)
            must(error)
            found += len(locators) > 0
        return f"{time.monotonic() - started} {found} {int(times) - found}"


node = Node()
for line in sys.stdin:
    command, *arguments = line.split()
    try:
        answer = getattr(node, command)(*arguments)
    except Exception as error:  # Whatever it is, the bench is told.
        answer = f"failed {error!r}"
    os.write(ANSWERS, answer.encode() + b"\n")
# Without waiting for graspy's threads.
os._exit(0)
