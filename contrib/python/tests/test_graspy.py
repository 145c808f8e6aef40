"""graspy's ASAs, unchanged, on our module: against themselves and against graspy, over a relay. Needs GRASPY_DIR.

Three nodes in a line; the one in the middle is graspy's gremlin on our module, a relay. What is copied has no grasp.py,
graspi.py or acp.py beside it. docs/python.md has the table.
"""

import os
import pathlib
import shutil
import sys

import pytest
from conftest import Script
from lab import Node
from lab import line as connect_in_a_line

GRASPY = os.environ.get("GRASPY_DIR")
pytestmark = pytest.mark.skipif(not GRASPY, reason="GRASPY_DIR does not say where graspy is: graspy's ASAs are not run")
HERE = pathlib.Path(__file__).parent
PACE = "0.05"
# Answers to graspy's questions: test mode, parse diagnostics, own multicasts, DULL.
DIALOGUE = "N\nY\nN\nN\n"

KEYS = f"key={bytes(range(32))!r}\niv={bytes(16)!r}\n"
CONFIGURED = """
import grasp, time
grasp.skip_dialogue()
asa = grasp.register_asa("configured")[1]
obj = grasp.objective("GraspConfig")
obj.synch = True
while not grasp.get_flood(asa, obj)[1]:
    time.sleep(0.1)
print("heard", grasp.get_flood(asa, obj)[1][0].objective.value)
"""


class Asa:
    """An ASA of the table: its file, what is typed in, what it must say, how it is run."""

    def __init__(self, file, typed="", says=(), files=None, function=(), pace=PACE):
        self.file, self.typed, self.says = file, typed, says
        self.files, self.function, self.pace = files or {}, function, pace


PAIRS = {
    "Briggs and Gray": (
        Asa("ASA-examples/Briggs.py", DIALOGUE, ["Ready to negotiate EX3 as listener", "Request accepted", "Negotiation succeeded"]),
        Asa("ASA-examples/Gray.py", DIALOGUE, ["Synchronized EX2 [1, 'two', 3]", "Flooded EX1 from", "Negotiation succeeded"]),
    ),
    "pfxm3 as origin and delegator": (
        Asa("ASA-examples/pfxm3.py", "Y\n\nN\nY\n" + DIALOGUE, ["Got request for IPv6", "Negotiation succeeded"]),
        Asa("ASA-examples/pfxm3.py", "N\n\nY\n" + DIALOGUE, ["Obtained 2001:db8:", "delegated"]),
    ),
    "pfxm4 as origin and delegator": (
        Asa("ASA-examples/pfxm4.py", "Y\n\nN\nY\n" + DIALOGUE, ["Got request for IPv6", "Negotiation succeeded"]),
        Asa("ASA-examples/pfxm4.py", "N\n\nY\n" + DIALOGUE, ["Obtained 2001:db8:", "delegated"]),
    ),
    "pusher and getter": (
        Asa("ASA-examples/pusher.py", "", ["Got request for", "Ended transfer"], {"file.bin": "x" * 5000}),
        Asa("ASA-examples/getter.py", "file.bin\n" * 9, ["Asking for", "Transfer succeeded"], {"got/.keep": ""}),
    ),
    "testserver and testclient": (
        Asa("ASA-examples/testserver.py", DIALOGUE + "one\ntwo\n", ["Got message: Start", "Peer said uno", "Peer said due"]),
        Asa("ASA-examples/testclient.py", DIALOGUE + "uno\ndue\n", ["Peer replied: one", "Peer replied: two"]),
    ),
    "GetDNSSD2 and AskDNSSD2": (
        Asa("ASA-examples/GetDNSSD2.py", DIALOGUE, ["Got request"]),
        Asa("ASA-examples/AskDNSSD2.py", DIALOGUE, ["Asking for", "req_negotiate error: Service not found|Peer reject|Answer"]),
    ),
    "quadski and qpledge": (
        Asa("quadski.py", "pass\npass\n", ["Got request for QUADS keys", "Sending keys", "Ended transfer"], {"quadskMaster.py": KEYS, "quadsk.py": "key='No key'\niv=None\n"}),
        Asa("qpledge.py", "pass\npass\n", ["quadsk.py saved OK", "Installed new key file"], {}),
    ),
    "GRASPconfig": (
        Asa("GRASPconfig.py", DIALOGUE, ["GRASPconfig is flooding"], {"graspconf.json": None}),
        Asa("heard.py", "", ["heard {"], {"heard.py": CONFIGURED}),
    ),
}


class Running(Script):
    """An ASA that runs."""

    def __init__(self, asa, engine, node, at):
        at.mkdir()
        at = at.resolve()
        if asa.file in asa.files:
            file = at / asa.file
        else:
            file = at / pathlib.Path(asa.file).name
            shutil.copy(pathlib.Path(GRASPY, asa.file), file)
        for name, text in asa.files.items():
            (at / name).parent.mkdir(exist_ok=True)
            if text is None:
                shutil.copy(pathlib.Path(GRASPY, name), at / name)
            else:
                (at / name).write_text(text)
        text = (HERE / "asa_runner.py").read_text()
        import subprocess

        super().__init__(
            node, text, engine, file, asa.pace, *asa.function, cwd=at, stdin=subprocess.PIPE, start_new_session=True
        )
        self.process.stdin.write(asa.typed)
        self.process.stdin.flush()

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()


@pytest.fixture
def line():
    """Three nodes in a line."""
    nodes = [Node(), Node(), Node()]
    connect_in_a_line(*nodes)
    yield nodes
    for node in nodes:
        node.close()


@pytest.fixture
def run(line, tmp_path):
    started = []

    def start(asa, engine, place):
        started.append(Running(asa, engine, line[place], tmp_path / str(len(started))))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def must_say(running, asa, seconds=90):
    """Whatever order it says it in."""
    for text in asa.says:
        if any(one in line for one in text.split("|") for line in running.lines):
            continue
        running.wait_for(text, seconds)
    wrong = [line for line in running.lines if "Traceback" in line or "packet dropped" in line]
    assert not wrong, "\n".join(running.lines)


@pytest.mark.parametrize("engines", ["ours-ours", "ours-graspy", "graspy-ours"])
@pytest.mark.parametrize("pair", PAIRS)
def test_two_asas_over_a_relay(run, pair, engines):
    import cbor2

    first, second = PAIRS[pair]
    if "pfxm4" in pair and hasattr(cbor2, "frozendict"):
        pytest.skip("pfxm4 changes CBORTag objects, which cbor2 6 does not allow, with any engine")
    relay = run(Asa("gremlin.py", DIALOGUE), "ours", 1)
    relay.wait_for("Daemon running")
    server = run(first, engines.split("-")[0], 0)
    client = run(second, engines.split("-")[1], 2)
    must_say(server, first)
    must_say(client, second)


@pytest.mark.parametrize("engines", ["ours-ours-ours", "ours-graspy-ours", "graspy-ours-graspy", "graspy-ours-ours"])
def test_brski_in_a_line(run, engines):
    """Registrar, join proxy and pledge, which use DULL: from link to link."""
    registrar = Asa("ASA-examples/Reggie.py", "", ["Flooding|flood"])
    proxy = Asa("ASA-examples/Procksy.py", "", ["Got AN_join_registrar at", "Flooding AN_proxy"])
    pledge = Asa("ASA-examples/Pledji.py", "", ["Found 1 result(s)", "Chose proxy: address fe80::"])
    running = [run(asa, engine, place) for place, (asa, engine) in enumerate(zip((registrar, proxy, pledge), engines.split("-")))]
    must_say(running[0], registrar)
    must_say(running[1], proxy)
    must_say(running[2], pledge)


@pytest.mark.parametrize("file", ["grasptests.py", "graspitests.py"])
@pytest.mark.parametrize("other", [None, "ours", "graspy"])
def test_graspys_own_test_suite(run, file, other):
    """It talks to itself, alone and while another instance runs beyond a relay."""
    suite = Asa(
        file,
        DIALOGUE,
        [
            "Boot discovery result",
            "Objective already registered",
            "Flooded synch obj2 ['Diamonds', 'Rubies']",
            "Synch boot2_obj Boot [1, 'two', 3]",
            "Flooded CBOR Intent.PrefixManager ['Some', 'embedded', 'CBOR', [1, 2, 3]]",
            "Got request|listened, answer EX2|Discovered locator",
            "Exit",
        ],
        function=["ASAtest"],
    )
    if other:
        run(Asa("gremlin.py", DIALOGUE), "ours", 1).wait_for("Daemon running")
        run(suite, other, 2)
    running = run(suite, "ours", 0)
    must_say(running, suite, 240)


@pytest.mark.parametrize("engine", ["ours", "graspy"])
def test_asas_of_both_are_alone_in_their_folder(run, engine, tmp_path):
    """What makes them ours is that there is no grasp.py beside them: one that is there wins."""
    asa = Asa("which.py", "", ["which"], {"which.py": "import grasp\nprint('which', grasp.__file__)\n"})
    running = run(asa, engine, 0)
    where = running.wait_for("which")
    assert (GRASPY in where) == (engine == "graspy")
    if engine == "ours":
        (tmp_path / "0" / "grasp.py").write_text("marker = 1\n")
        shadow = line_of(tmp_path / "0")
        assert str(tmp_path) in shadow


def line_of(folder):
    import subprocess

    return subprocess.run(
        [sys.executable, folder / "which.py"], capture_output=True, text=True, check=True
    ).stdout
