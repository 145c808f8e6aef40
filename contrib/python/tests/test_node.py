"""A client of a node: the same calls, and a node that is restarted."""

import os
import pathlib
import signal
import subprocess

import pytest
from conftest import eventually

TARGET = pathlib.Path(__file__).resolve().parents[3] / "target"
PROGRAMS = [TARGET / profile / "graspd" for profile in ("debug", "release")]
GRASPD = os.environ.get("GRASPD") or next((str(path) for path in PROGRAMS if path.exists()), None)

ASA = """
import grasp, sys
grasp.skip_dialogue(silent=True)
asa = grasp.register_asa("client")[1]
obj = grasp.objective("EX1")
obj.synch, obj.value = True, 47
assert grasp.register_obj(asa, obj) == 0
assert grasp.listen_synchronize(asa, obj) == 0
print("=> ready", flush=True)
for line in sys.stdin:
    error = grasp.listen_synchronize(asa, obj)
    print("=>", error, flush=True)
"""


class Node:
    """graspd on this node of the network."""

    def __init__(self, directory):
        self.directory = directory
        self.socket = str(directory / "grasp.sock")
        configuration = directory / "graspd.toml"
        configuration.write_text(f"[socket]\npath = '{self.socket}'\n")
        self.process = None
        self.start()

    def start(self):
        command = [GRASPD, "--config", str(self.directory / "graspd.toml")]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually("the node listens", lambda: os.path.exists(self.socket))

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def node(network, tmp_path):
    if not GRASPD:
        pytest.skip("needs graspd: cargo build -p anima-grasp --features node --bin graspd, or GRASPD=PATH")
    node = Node(tmp_path)
    yield node
    node.kill()


@pytest.fixture
def client(network, node):
    here, _ = network
    options = {"stdin": subprocess.PIPE, "env": {"GRASP_SOCKET": node.socket}}
    process = here.python("-c", ASA, **options)
    assert said(process) == "ready"
    yield process
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()


def said(process):
    """What the ASA says next; the module prints lines of its own."""
    for line in process.stdout:
        if line.startswith("=> "):
            return line[3:].strip()
    raise AssertionError("the ASA has ended")


def listens(process):
    """What a call returns now."""
    process.stdin.write("\n")
    process.stdin.flush()
    return int(said(process))


def test_the_next_call_registers_everything_again_with_a_restarted_node(node, client):
    assert listens(client) == 0
    node.kill()
    assert listens(client) != 0, "it does not hang"
    assert listens(client) != 0, "nor while nobody is there"
    os.unlink(node.socket)
    node.start()
    assert eventually("it is let in", lambda: listens(client) == 0)
