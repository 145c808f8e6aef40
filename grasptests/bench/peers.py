"""Peers in Python that `bench --peers` measures: graspy, python-zeroconf, zenoh, and avahi with its daemon and tools.

Takes one command a line from standard input and answers with one line on standard output, as the peers in Rust do: their
table of commands is in grasptests/peers/common/src/lib.rs. Besides, `cpu` answers with the seconds of processor time of
all processes of this node. The first argument says which peer, others are its settings. It ends with its input.

graspy is the checkout that GRASPY_DIR names. avahi needs namespaces of its own for mounts (unshare -m), because the
paths of its files are fixed.
"""

import os
import socket
import subprocess
import sys
import threading
import time
import types

ANSWERS = os.dup(1)
sys.stdout = sys.stderr = open(os.devnull, "w")
PATIENCE = 10
# How long the announcements of a responder take (RFC 6762 section 8), with some time to spare.
ANNOUNCED = 4


class Failed(Exception):
    pass


class Peer:
    def cpu(self):
        times = os.times()
        return str(times.user + times.system + times.children_user + times.children_system)

    def timed(self, work, *arguments):
        started = time.perf_counter()
        work(*arguments)
        return str(time.perf_counter() - started)

    def find(self, number):
        return self.timed(self.get, int(number))


class Graspy(Peer):
    """Finds by discovering and synchronizing, asks for a value or takes a step, and spreads by flooding."""

    TIMEOUT = 10_000

    def __init__(self):
        # QUADS off, without graspy asking for a password; and no pause of ten seconds where tkinter is missing.
        sys.modules["quadsk"] = types.SimpleNamespace(key="No key", iv=None)
        sys.modules["tkinter"] = types.SimpleNamespace(font=None)
        sys.path.insert(0, os.environ["GRASPY_DIR"])

    def start(self):
        import grasp

        self.grasp = grasp
        grasp.skip_dialogue(testing=False, selfing=False, diagnosing=False)
        error, self.asa = grasp.register_asa("bench")
        self.must(error)
        return "ready"

    def must(self, error):
        if error:
            raise Failed(self.grasp.etext[error])

    def objective(self, name, kind="synch"):
        made = self.grasp.objective(name)
        setattr(made, kind, True)
        # One hop: everybody is on the link.
        made.loop_count = int(os.environ.get("LOOP_COUNT", "1"))
        made.value = 47
        return made

    def serve(self, count):
        for number in range(int(count)):
            wanted = self.objective(f"ex{number}")
            self.must(self.grasp.register_obj(self.asa, wanted, discoverable=True))
            self.must(self.grasp.listen_synchronize(self.asa, wanted))
        stepping = self.objective("step", "neg")
        self.must(self.grasp.register_obj(self.asa, stepping, discoverable=True))
        threading.Thread(target=self.answer, daemon=True).start()
        return "ready"

    def answer(self):
        while True:
            error, session, asked = self.grasp.listen_negotiate(self.asa, self.objective("step", "neg"))
            while not error and session is not None:
                asked.loop_count = 6
                error, session, asked = self.grasp.negotiate_step(self.asa, session, asked, self.TIMEOUT)

    def peer(self, wanted):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            error, found = self.grasp.discover(self.asa, wanted, 100, flush=True)
            self.must(error)
            if found:
                return found[0]
        raise Failed("nothing was found")

    def get(self, number):
        wanted = self.objective(f"ex{number}")
        error, got = self.grasp.synchronize(self.asa, wanted, self.peer(wanted), self.TIMEOUT)
        self.must(error)
        if got.value != 47:
            raise Failed("another value")

    def listen(self):
        return self.start()

    def connect(self, address):
        self.start()
        self.known = self.peer(self.objective("ex0"))
        self.must(self.grasp.register_obj(self.asa, self.objective("step", "neg")))
        self.stepped = self.peer(self.objective("step", "neg"))
        return "ready"

    def ask(self, times):
        wanted = self.objective("ex0")

        def ask():
            for _ in range(int(times)):
                self.must(self.grasp.synchronize(self.asa, wanted, self.known, self.TIMEOUT)[0])

        return self.timed(ask)

    def step(self, times):
        stepping = self.objective("step", "neg")
        stepping.loop_count = 6
        error, session, offer = self.grasp.req_negotiate(self.asa, stepping, self.stepped, self.TIMEOUT)
        self.must(error)

        def step():
            nonlocal error, session, offer
            for _ in range(int(times)):
                offer.loop_count = 6
                error, session, offer = self.grasp.negotiate_step(self.asa, session, offer, self.TIMEOUT)
                self.must(error)

        took = self.timed(step)
        self.grasp.end_negotiate(self.asa, session, True)
        return took

    def join(self, address, nodes, role, own):
        self.start()
        self.heard_floods = self.grasp._flood_cache = HeardFloods()
        return "ready"

    def whole(self, nodes, role):
        return "ready"

    def spread(self, number):
        wanted = self.objective(f"spread{number}")
        wanted.loop_count = 255
        self.must(self.grasp.register_obj(self.asa, wanted))
        began = time.time_ns()
        self.must(self.grasp.flood(self.asa, 60_000, self.grasp.tagged_objective(wanted, None)))
        return str(began)

    def heard(self, number):
        with self.heard_floods.changed:
            self.heard_floods.changed.wait_for(lambda: f"spread{number}" in self.heard_floods.times, PATIENCE)
            return str(self.heard_floods.times[f"spread{number}"])


class HeardFloods(list):
    """graspy's cache of floods, which notes when they came: graspy itself can only be asked whether they have."""

    def __init__(self):
        super().__init__()
        self.times, self.changed = {}, threading.Condition()

    def append(self, tagged):
        with self.changed:
            self.times.setdefault(tagged.objective.name, time.time_ns())
            self.changed.notify_all()
        super().append(tagged)


class Zeroconf(Peer):
    """python-zeroconf: services with a TXT record."""

    def start(self):
        import zeroconf

        self.zeroconf = zeroconf
        self.node = zeroconf.Zeroconf()
        return "ready"

    def kind(self, number):
        return f"_ex{number}._udp.local."

    def serve(self, count):
        for number in range(int(count)):
            info = self.zeroconf.ServiceInfo(
                self.kind(number),
                f"bench.{self.kind(number)}",
                port=7777,
                properties={"value": "47"},
                server="bench.local.",
                addresses=[socket.inet_aton(os.environ["ADDRESS"])],
            )
            threading.Thread(target=self.node.register_service, args=(info,)).start()
        time.sleep(ANNOUNCED)
        return "ready"

    def get(self, number):
        node, found = self.node, threading.Event()
        failure = []

        def changed(zeroconf, service_type, name, state_change):
            if state_change is self.zeroconf.ServiceStateChange.Added:
                threading.Thread(target=resolve, args=(service_type, name)).start()

        def resolve(service_type, name):
            info = node.get_service_info(service_type, name, PATIENCE * 1000)
            if info is None or info.properties.get(b"value") != b"47":
                failure.append("another value")
            found.set()

        browser = self.zeroconf.ServiceBrowser(node, self.kind(number), handlers=[changed])
        if not found.wait(PATIENCE):
            failure.append("nothing was found")
        self.browser = browser
        if failure:
            raise Failed(failure[0])

    def find(self, number):
        took = super().find(number)
        self.browser.cancel()
        return took


class Zenoh(Peer):
    """zenoh through its Python binding. `tuned` is for low latency; `routed` has all connect to the first, a router."""

    PORT = 7447
    NO_SCOUTING = {"scouting/multicast/enabled": "false"}

    def __init__(self):
        import zenoh

        self.zenoh = zenoh
        self.session = None
        self.times, self.changed = {}, threading.Condition()

    def open(self, settings=None):
        config = self.zenoh.Config()
        tuned = {
            "transport/unicast/lowlatency": "true",
            "transport/unicast/qos/enabled": "false",
            "scouting/delay": "50",
        }
        for name, value in {**(settings or {}), **(tuned if "tuned" in sys.argv else {})}.items():
            config.insert_json5(name, value)
        self.session = self.zenoh.open(config)
        return "ready"

    def start(self):
        return self.open()

    def listen(self):
        return self.open({"listen/endpoints": f'["tcp/[::]:{self.PORT}"]', **self.NO_SCOUTING})

    def connect(self, address):
        self.open({"connect/endpoints": f'["tcp/[{address}]:{self.PORT}"]', **self.NO_SCOUTING})
        self.get(0)
        return "ready"

    def serve(self, count):
        answer = lambda query: query.reply(query.key_expr, "47")  # noqa: E731
        self.served = [self.session.declare_queryable(f"bench/ex{n}", answer) for n in range(int(count))]
        return "ready"

    def get(self, number):
        # Who has it may not be known yet: then the answer is that there is none, and the question is asked again.
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for reply in self.session.get(f"bench/ex{number}"):
                if reply.ok is not None:
                    if reply.ok.payload.to_string() != "47":
                        raise Failed("another value")
                    return
            time.sleep(0.001)
        raise Failed("nothing was found")

    def ask(self, times):
        return self.timed(lambda: [self.get(0) for _ in range(int(times))])

    def join(self, address, nodes, role, own):
        if "routed" not in sys.argv:
            self.open()
        elif role == "first":
            self.open({"mode": '"router"', "listen/endpoints": f'["tcp/[::]:{self.PORT}"]', **self.NO_SCOUTING})
        else:
            connect = f'["tcp/[{address}]:{self.PORT}"]'
            self.open({"mode": '"client"', "connect/endpoints": connect, **self.NO_SCOUTING})
        self.subscriber = self.session.declare_subscriber("bench/spread", self.came)
        return "ready"

    def came(self, sample):
        with self.changed:
            self.times.setdefault(sample.payload.to_string(), time.time_ns())
            self.changed.notify_all()

    def whole(self, nodes, role):
        others = int(role != "first") if "routed" in sys.argv else int(nodes) - 1
        deadline = time.monotonic() + 12 * PATIENCE
        while len(self.session.info.peers_zid()) + len(self.session.info.routers_zid()) < others:
            if time.monotonic() > deadline:
                raise Failed("not connected to all others")
            time.sleep(0.1)
        return "ready"

    def spread(self, number):
        began = time.time_ns()
        self.session.put("bench/spread", number)
        return str(began)

    def heard(self, number):
        with self.changed:
            self.changed.wait_for(lambda: number in self.times, PATIENCE)
            return str(self.times[number])


class Avahi(Peer):
    """avahi-daemon with a bus of its own; services are its static ones, and avahi-browse finds them."""

    BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=/run/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow own="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow user="*"/></policy>
</busconfig>
"""
    SERVICE = """<?xml version="1.0" standalone='no'?><!DOCTYPE service-group SYSTEM "avahi-service.dtd">
<service-group><name>bench {number}</name><service><type>_ex{number}._udp</type><port>7777</port>
<txt-record>value=47</txt-record></service></service-group>
"""

    def start(self):
        for place in ("/run", "/etc/avahi/services"):
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
        with open("/run/bus.conf", "w") as bus:
            bus.write(self.BUS)
        os.mkdir("/run/avahi-daemon")
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = "unix:path=/run/bus"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
        self.bus = subprocess.Popen(["dbus-daemon", "--config-file=/run/bus.conf", "--nofork", "--nopidfile"], **quiet)
        self.until(lambda: os.path.exists("/run/bus"), "the bus")
        options = ["--no-drop-root", "--no-chroot", "--no-rlimits", "--no-proc-title", f"--file={self.configuration()}"]
        self.daemon = subprocess.Popen(["avahi-daemon", *options], **quiet)
        self.until(lambda: os.path.exists("/run/avahi-daemon/socket"), "the daemon")
        time.sleep(ANNOUNCED)
        return "ready"

    def configuration(self):
        with open("/run/avahi.conf", "w") as file:
            file.write(f"[server]\nhost-name=bench{os.getpid()}\n")
        return "/run/avahi.conf"

    def until(self, holds, what):
        deadline = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > deadline:
                raise Failed(f"{what} does not start")
            time.sleep(0.01)

    def serve(self, count):
        for number in range(int(count)):
            with open(f"/etc/avahi/services/ex{number}.service", "w") as file:
                file.write(self.SERVICE.format(number=number))
        self.daemon.send_signal(1)
        time.sleep(ANNOUNCED)
        return "ready"

    def get(self, number):
        command = ["avahi-browse", "--resolve", "--parsable", "--no-db-lookup", f"_ex{number}._udp"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as browse:
            timer = threading.Timer(PATIENCE, browse.kill)
            timer.start()
            found = any(line.startswith("=") and "value=47" in line for line in browse.stdout)
            timer.cancel()
            browse.kill()
        if not found:
            raise Failed("nothing was found")

    def cpu(self):
        ticks = 0
        for process in (self.bus, self.daemon):
            with open(f"/proc/{process.pid}/stat") as stat:
                fields = stat.read().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        times = os.times()
        browsed = times.children_user + times.children_system
        return str(ticks / os.sysconf("SC_CLK_TCK") + browsed)

    def memory(self):
        """The daemon's and the bus's, in KiB."""
        kib = 0
        for process in (self.bus, self.daemon):
            with open(f"/proc/{process.pid}/status") as status:
                kib += sum(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
        return str(kib)


peer = {"graspy": Graspy, "zeroconf": Zeroconf, "avahi": Avahi, "zenoh": Zenoh}[sys.argv[1]]()
for line in sys.stdin:
    command, *arguments = line.split()
    try:
        answer = getattr(peer, command)(*arguments)
    except Exception as error:  # Whatever it is, the bench is told.
        answer = f"failed {error!r}"
    os.write(ANSWERS, answer.encode() + b"\n")
# Without waiting for threads that others have started.
for process in (getattr(peer, "daemon", None), getattr(peer, "bus", None)):
    if process is not None:
        process.kill()
os._exit(0)
