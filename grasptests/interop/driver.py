"""A graspy node that a test drives.

Reads one command per line from standard input, a JSON object {"id": number, "do": name, ...}, and runs each in
a thread of its own, because some of them block. Prints one line per event on standard output: RESULT and a JSON
object with the same "id", graspy's error number as "error", and what else the call returned; or "raised" with a
traceback. What graspy itself prints goes to standard error. It ends when standard input is closed.

CBOR values travel as the hexadecimal form of their encoding. GRASPY_DIR is the checkout of graspy that is used.
"""

import hashlib
import ipaddress
import json
import os
import sys
import threading
import time
import traceback
import types

import cbor2


def quads_keys(password):
    """What quadsk.py would hold: the keys that the other side derives from the same password, or none."""
    if not password:
        return types.SimpleNamespace(key="No key", iv=None)
    salt = bytes.fromhex("f474526a2e74accee189f1fbc1c34ceb")
    key = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 100000)
    skip = key[0] % 10
    return types.SimpleNamespace(key=key, iv=key[skip : skip + 16])


# graspy prints a line in several writes: results need a stream of their own.
RESULTS = os.dup(1)
sys.stdout = sys.stderr

# QUADS as the environment says, without graspy asking for a password; and no pause of ten seconds where tkinter
# is missing.
sys.modules["quadsk"] = quads_keys(os.environ.get("GRASP_QUADS_PASSWORD"))
sys.modules["tkinter"] = types.SimpleNamespace(font=None)
sys.path.insert(0, os.environ["GRASPY_DIR"])
import grasp  # noqa: E402  (it has to come after the above)


class Node:
    """One ASA on one graspy instance, and its open sessions by number."""

    def __init__(self):
        self.handle = None
        self.sessions = []

    # Conversions between JSON and graspy's objects

    def objective(self, given):
        made = grasp.objective(given["name"])
        for flag in ("neg", "dry", "synch", "loop_count"):
            setattr(made, flag, given[flag])
        made.value = cbor2.loads(bytes.fromhex(given["value"]))
        return made

    def shown(self, objective):
        if objective is None:
            return None
        fields = {name: getattr(objective, name) for name in ("name", "neg", "dry", "synch", "loop_count")}
        return {**fields, "value": cbor2.dumps(objective.value).hex()}

    def locator(self, given):
        if given is None or given["kind"] == "none":
            return None
        is_ip = given["kind"] == "ip"
        where = ipaddress.ip_address(given["locator"]) if is_ip else given["locator"]
        made = grasp.asa_locator(where, given["ifi"], False)
        made.port, made.protocol = given["port"], given["protocol"]
        setattr(made, {"ip": "is_ipaddress", "fqdn": "is_fqdn", "uri": "is_uri"}[given["kind"]], True)
        return made

    def place(self, locator):
        kinds = {"ip": locator.is_ipaddress, "fqdn": locator.is_fqdn, "uri": locator.is_uri}
        kind = next((kind for kind, true in kinds.items() if true), "none")
        life = None if locator.expire == 0 else int(1000 * (locator.expire - time.monotonic()))
        return {
            "kind": kind if locator.locator is not None else "none",
            "locator": None if locator.locator is None else str(locator.locator),
            "protocol": locator.protocol,
            "port": locator.port,
            "ifi": locator.ifi,
            "diverted": locator.diverted,
            "life": life,
        }

    def reply(self, error, session, result):
        """What req_negotiate and negotiate_step return: the third is an objective or the reason."""
        declined = error == grasp.errors.declined
        return {
            "error": error,
            "session": self.keep(session),
            "objective": None if declined else self.shown(result),
            "reason": result if declined else None,
        }

    def keep(self, session):
        if session is None:
            return None
        if session not in self.sessions:
            self.sessions.append(session)
        return self.sessions.index(session)

    # Commands

    def start(self, name, selfing):
        grasp.skip_dialogue(testing=False, selfing=selfing, diagnosing=True)
        error, self.handle = grasp.register_asa(name)
        return {"error": error, "address": str(grasp._my_address)}

    def register_obj(self, objective, **options):
        return {"error": grasp.register_obj(self.handle, self.objective(objective), **options)}

    def discover(self, objective, timeout, flush):
        error, found = grasp.discover(self.handle, self.objective(objective), timeout, flush=flush)
        return {"error": error, "locators": [self.place(one) for one in found]}

    def req_negotiate(self, objective, peer, timeout):
        peer = self.locator(peer)
        return self.reply(*grasp.req_negotiate(self.handle, self.objective(objective), peer, timeout))

    def open_session(self, objective, peer):
        peer = self.locator(peer)
        error, session, _ = grasp.req_negotiate(self.handle, self.objective(objective), peer, None, noloop=True)
        # graspy says noReply for success.
        return {"error": 0 if error == grasp.errors.noReply else error, "session": self.keep(session)}

    def listen_negotiate(self, objective):
        error, session, asked = grasp.listen_negotiate(self.handle, self.objective(objective))
        return {"error": error, "session": self.keep(session), "objective": self.shown(asked)}

    def negotiate_step(self, session, objective, timeout):
        session = self.sessions[session]
        return self.reply(*grasp.negotiate_step(self.handle, session, self.objective(objective), timeout))

    def negotiate_wait(self, session, timeout):
        return {"error": grasp.negotiate_wait(self.handle, self.sessions[session], timeout)}

    def end_negotiate(self, session, accept, reason):
        return {"error": grasp.end_negotiate(self.handle, self.sessions[session], accept, reason=reason)}

    def send_invalid(self, session, info):
        return {"error": grasp.send_invalid(self.handle, self.sessions[session], info)}

    def synchronize(self, objective, peer, timeout):
        peer = self.locator(peer)
        error, got = grasp.synchronize(self.handle, self.objective(objective), peer, timeout)
        return {"error": error, "objective": self.shown(got)}

    def listen_synchronize(self, objective):
        return {"error": grasp.listen_synchronize(self.handle, self.objective(objective))}

    def flood(self, ttl, tagged):
        tagged = [grasp.tagged_objective(self.objective(o), self.locator(source)) for o, source in tagged]
        return {"error": grasp.flood(self.handle, ttl, tagged)}

    def get_flood(self, objective):
        error, found = grasp.get_flood(self.handle, self.objective(objective))
        return {"error": error, "tagged": [[self.shown(one.objective), self.place(one.source)] for one in found]}

    def gsend(self, session, message):
        item = cbor2.loads(bytes.fromhex(message))
        return {"error": grasp.gsend(self.handle, self.sessions[session], item)}

    def grecv(self, session, timeout):
        error, item = grasp.grecv(self.handle, self.sessions[session], timeout)
        return {"error": error, "message": cbor2.dumps(item).hex()}

    def sizes(self):
        """What Configger may have changed. Can be asked before graspy has started."""
        sizes = {name: getattr(grasp, f"_{name}_size", None) for name in ("multicast", "unicast")}
        return {"error": 0, **sizes}


def run(node, number, name, arguments):
    try:
        result = getattr(node, name)(**arguments)
    except Exception:  # Whatever it is, the test is told.
        result = {"raised": traceback.format_exc()}
    os.write(RESULTS, b"RESULT " + json.dumps({"id": number, **result}).encode() + b"\n")


def main():
    node = Node()
    for line in sys.stdin:
        command = json.loads(line)
        number, name = command.pop("id"), command.pop("do")
        # graspy's tprint fails in a thread with a parenthesis in its name, as Python's default has.
        thread = threading.Thread(target=run, name=name, args=(node, number, name, command), daemon=True)
        thread.start()
    # Without waiting for graspy's threads.
    os._exit(0)


main()
