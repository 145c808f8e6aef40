"""Private networks for tests: nodes are network namespaces, links are pairs of virtual interfaces.

To be used in a namespace in which this process may do that: `test` and `run` make one. As a program it runs ASAs on the two
nodes of a link: `python lab.py FILE.py ...`.
"""

import itertools
import os
import signal
import subprocess
import sys
import time

_numbers = itertools.count(1)


def eventually(what, condition, seconds=30):
    """Waits for something to be true, and returns it."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def _ip(*arguments):
    subprocess.run(["ip", *map(str, arguments)], check=True, stdin=subprocess.DEVNULL)


class Node:
    """A network namespace; of the process itself, if `here`. It ends with the process that made it."""

    def __init__(self, here=False):
        self._holder = None
        if not here:
            # It ends when its input does, which is with this process.
            command = ["unshare", "--net", "sh", "-c", "ip link set lo up && echo ready && exec cat"]
            self._holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert self._holder.stdout.readline() == b"ready\n"
        else:
            _ip("link", "set", "lo", "up")

    @property
    def pid(self):
        return self._holder.pid if self._holder else os.getpid()

    def command(self, *arguments):
        """The command that runs another one in this node."""
        prefix = ["nsenter", "--target", str(self.pid), "--net", "--"] if self._holder else []
        return prefix + [str(argument) for argument in arguments]

    def python(self, *arguments, **options):
        """Starts this Python in the node, with text on its standard streams."""
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.STDOUT)
        # Lines come as they are printed.
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **options.pop("env", {})}
        command = self.command(options.pop("executable", sys.executable), *arguments)
        return subprocess.Popen(command, text=True, env=environment, **options)

    def close(self):
        if self._holder:
            self._holder.stdin.close()
            self._holder.wait()


def link(one, other, routable=True):
    """Connects two nodes. Both ends have a link-local address, and, if routable, one of fd00::/8. Returns its number."""
    number = next(_numbers)
    names = [f"v{number}a", f"v{number}b"]
    _ip("link", "add", names[0], "type", "veth", "peer", "name", names[1])
    for side, (node, name) in enumerate(zip((one, other), names), start=1):
        if node.pid != os.getpid():
            _ip("link", "set", name, "netns", node.pid)
        for arguments in (
            # Forgotten on the way into another namespace. graspy takes an interface with two addresses for two.
            ["link", "set", name, "addrgenmode", "none"],
            ["link", "set", name, "up"],
            ["-6", "address", "add", f"fe80::{number}:{side}/64", "dev", name, "nodad"],
            *([["-6", "address", "add", f"fd00:{number}::{side}/64", "dev", name, "nodad"]] if routable else []),
        ):
            subprocess.run(node.command("ip", *arguments), check=True, stdin=subprocess.DEVNULL)
    return number


def line(left, middle, right):
    """Connects three nodes, the one in the middle being a router."""
    first, second = link(left, middle), link(middle, right)
    subprocess.run(
        middle.command("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding"),
        check=True,
        stdin=subprocess.DEVNULL,
    )
    for node, via in ((left, f"fd00:{first}::2"), (right, f"fd00:{second}::1")):
        subprocess.run(node.command("ip", "-6", "route", "add", "default", "via", via), check=True)


def main(files):
    nodes = [Node(), Node()]
    link(*nodes)
    processes = []
    for file, node in zip(files, itertools.cycle(nodes)):
        options = {"stdout": None, "stderr": None, "stdin": None}
        processes.append(node.python(file, cwd=os.path.dirname(os.path.abspath(file)), **options))
    try:
        # The last one is what it is about; those before it may run for ever.
        processes[-1].wait()
    except KeyboardInterrupt:
        pass
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    for process in processes:
        process.wait()
    return processes[-1].returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
