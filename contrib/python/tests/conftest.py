"""One engine in the process of the tests, on a node with one link, and what tests do with it."""

import ipaddress
import itertools
import queue
import socket
import textwrap
import threading
import time

import cbor2
import pytest
from lab import Node, eventually, link

_numbers = itertools.count(1)


def unique(kind):
    """A name that no other test uses."""
    return f"{kind}{next(_numbers)}"


@pytest.fixture(scope="session")
def network():
    """This process's node, and another one on the same link."""
    here, there = Node(here=True), Node()
    link(here, there)
    yield here, there
    there.close()


@pytest.fixture(scope="session")
def grasp(network):
    import grasp

    grasp.skip_dialogue(diagnosing=False)
    error, _ = grasp.register_asa("tests")
    assert error == 0
    return grasp


@pytest.fixture
def asa(grasp):
    """The handle of an ASA for one test."""
    name = unique("asa")
    error, handle = grasp.register_asa(name)
    assert error == 0
    yield handle
    grasp.deregister_asa(handle, name)


@pytest.fixture
def other(grasp):
    """The handle of another ASA."""
    name = unique("other")
    error, handle = grasp.register_asa(name)
    assert error == 0
    yield handle
    grasp.deregister_asa(handle, name)


def objective(grasp, kind, value=None, name=None):
    made = grasp.objective(name or unique("obj"))
    if kind:
        setattr(made, kind, True)
    made.value = value
    return made


def place(grasp, name):
    """Where this engine serves an objective."""
    entry = next(x for x in grasp._obj_registry if x.objective.name == name)
    locator = grasp.asa_locator(grasp._my_address, None, False)
    locator.is_ipaddress = True
    locator.port = entry.port
    return locator


def negotiable(grasp, asa, other, value=None):
    """An objective that both register, and where the second one listens."""
    made = objective(grasp, "neg", value)
    for handle in (asa, other):
        assert grasp.register_obj(handle, made, overlap=True) == 0
    return made, place(grasp, made.name)


def listening(grasp, made):
    """How many threads wait for requests to negotiate an objective."""
    return sum(x.listening for x in grasp._obj_registry if x.objective.name == made.name)


def await_listener(grasp, made):
    """A peer is refused while nobody listens, after a grace that a busy machine can outlast."""
    eventually("it listens", lambda: listening(grasp, made))


class Thread(threading.Thread):
    """A thread whose result can be had, with what it raised."""

    def __init__(self, work, *arguments):
        super().__init__(daemon=True)
        self._work, self._arguments = work, arguments
        self._result = self._raised = None
        self.start()

    def run(self):
        try:
            self._result = self._work(*self._arguments)
        except BaseException as error:
            self._raised = error

    def result(self, seconds=60):
        self.join(seconds)
        assert not self.is_alive(), "a thread does not end"
        if self._raised is not None:
            raise self._raised
        return self._result


class RawPeer:
    """A TCP server that answers each request with whatever `answer` returns for the decoded message: an object to encode,
    bytes, or "close", "reset" or "nothing"."""

    def __init__(self, grasp, answer):
        self._answer, self._kept = answer, []
        self._listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
        self.locator = grasp.asa_locator(None, None, False)
        self.locator.locator = ipaddress.IPv6Address("::1")
        self.locator.is_ipaddress = True
        self.locator.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            message = cbor2.loads(connection.recv(65536))
            answers = self._answer(message)
            for answer in answers if isinstance(answers, tuple) else (answers,):
                self._send(connection, answer)

    def _send(self, connection, answer):
        if answer == "close":
            connection.close()
        elif answer == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
        elif answer == "nothing":
            self._kept.append(connection)
        else:
            connection.sendall(answer if isinstance(answer, bytes) else cbor2.dumps(answer))

    def close(self):
        self._listener.close()


@pytest.fixture
def raw_peer(grasp):
    peers = []

    def make(answer):
        peers.append(RawPeer(grasp, answer))
        return peers[-1].locator

    yield make
    for peer in peers:
        peer.close()


class Script:
    """A Python program in a node, whose lines can be waited for."""

    def __init__(self, node, text, *arguments, **options):
        self.process = node.python("-c", textwrap.dedent(text), *arguments, **options)
        self.lines = []
        self._coming = queue.Queue()
        self._reader = Thread(self._read)

    def _read(self):
        for line in self.process.stdout:
            self._coming.put(line.rstrip("\n"))
        self._coming.put(None)

    def _next(self, deadline):
        """The next line; None at the end of them."""
        try:
            line = self._coming.get(timeout=max(0, deadline - time.monotonic()))
        except queue.Empty:
            self.process.kill()
            raise AssertionError("the program does not go on:\n" + "\n".join(self.lines)) from None
        if line is not None:
            self.lines.append(line)
        return line

    def wait_for(self, wanted, seconds=60):
        """Reads until a line is in the output, or one of several, separated by |; returns it."""
        deadline = time.monotonic() + seconds
        while True:
            line = self._next(deadline)
            assert line is not None, f"{wanted!r} is not in the output:\n" + "\n".join(self.lines)
            if any(one in line for one in wanted.split("|")):
                return line

    def end(self, seconds=60):
        """Waits for the end; returns the exit status and all lines."""
        deadline = time.monotonic() + seconds
        while self._next(deadline) is not None:
            pass
        return self.process.wait(max(1, deadline - time.monotonic())), self.lines


@pytest.fixture
def script(network):
    scripts = []

    def start(text, *arguments, node=network[0], **options):
        scripts.append(Script(node, text, *arguments, **options))
        return scripts[-1]

    yield start
    for one in scripts:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()


__all__ = ["Script", "Thread", "await_listener", "eventually", "negotiable", "objective", "place", "unique"]
