"""GRASP (RFC 8990) for Autonomic Service Agents: graspy's module grasp on a different engine.

The names, arguments, results and errors are those of graspy's grasp.py, so that its ASAs run unchanged. graspi is the
API of RFC 8991 on top of it. The engine is anima-grasp, written in Rust; docs/python.md lists the differences.

    import grasp

    grasp.skip_dialogue()
    err, asa = grasp.register_asa("Gray")
    money = grasp.objective("EX3")
    money.neg = True
    money.value = ["NZD", 47]
    err = grasp.register_obj(asa, money)
    err, session, offer = grasp.req_negotiate(asa, money, None, 10000)
    if err:
        print(grasp.etext[err])

A call blocks only its own thread. Timeouts are in milliseconds. Most calls first return an error number, which is 0 on
success; errors has the numbers by name, etext their texts.
"""

import sys
import threading
import types

from grasp import _grasp
from grasp._grasp import (
    deregister_asa,
    deregister_obj,
    discover,
    end_negotiate,
    expire_flood,
    flood,
    get_flood,
    grecv,
    gsend,
    listen_negotiate,
    listen_synchronize,
    negotiate_step,
    negotiate_wait,
    register_obj,
    req_negotiate,
    send_invalid,
    stop_negotiate,
    stop_synchronize,
    synchronize,
)
from grasp._types import (
    ALL_GRASP_NEIGHBORS_4,
    ALL_GRASP_NEIGHBORS_6,
    B_DISC,
    B_DRY,
    B_NEG,
    B_SYNCH,
    F_DISC,
    F_NEG,
    F_NEG_DRY,
    F_SYNCH,
    GRASP_DEF_LOOPCT,
    GRASP_DEF_MAX_SIZE,
    GRASP_DEF_TIMEOUT,
    GRASP_LISTEN_PORT,
    M_DISCOVERY,
    M_END,
    M_FLOOD,
    M_INVALID,
    M_NEGOTIATE,
    M_NOOP,
    M_REQ_NEG,
    M_REQ_SYN,
    M_RESPONSE,
    M_SYNCH,
    M_WAIT,
    O_ACCEPT,
    O_DECLINE,
    O_DIVERT,
    O_FQDN_LOCATOR,
    O_IPv4_LOCATOR,
    O_IPv6_LOCATOR,
    O_URI_LOCATOR,
    _asa_instance,
    _discovered_objective,
    _error_codes,
    _flooded_objective,
    _message,
    _option,
    _registered_objective,
    _session_handle,
    _session_instance,
    _unspec_address,
    asa_locator,
    errors,
    etext,
    objective,
    tagged_objective,
)

_version = "RFC8990-anima-grasp-0.1.0"

# Variables that ASAs read and assign. skip_dialogue() and the start dialogue set them.
test_mode = False
DULL = False
_silent = False
_mess_check = False
_listen_self = False
_be_dull = False
_figging = True
_skip_dialogue = False
_dobubbles = False
_multi_asas = False
_rapid_supported = False
_grasp_initialised = _grasp._is_running()

_starting = threading.RLock()


def tname(x):
    """Returns the name of the type of x."""
    return type(x).__name__


def skip_dialogue(
    testing=False, selfing=False, diagnosing=True, quadsing=True, be_dull=False, silent=False, figging=True
):
    """Answers the start dialogue in advance. Call it before register_asa(); later it has no effect.

    testing     test mode: ttprint() prints
    selfing     receive own multicasts
    diagnosing  print the faults in received messages
    quadsing    has no effect, as in graspy
    be_dull     run in DULL mode: for insecure links, without sessions
    silent      print nothing
    figging     let floods of GraspConfig change the maximum message sizes

    testing, selfing, diagnosing and be_dull may be "ask".
    """
    global _skip_dialogue, test_mode, _listen_self, _mess_check, _be_dull, _silent, _figging
    if _grasp_initialised:
        return
    _skip_dialogue = True
    test_mode, _listen_self, _mess_check, _be_dull = testing, selfing, diagnosing, be_dull
    _silent, _figging = silent, figging


def register_asa(asa_name):
    """Registers an ASA under a unique name, and starts GRASP if it is not running yet.

    Returns (0, handle), or (errorcode, None): ASAfull, dupASA. The handle identifies the ASA in all later calls.
    """
    if not _grasp_initialised:
        _initialise_grasp()
    return _grasp._register_asa(asa_name)


def _initialise_grasp():
    """Starts GRASP: asks the questions that skip_dialogue() left open, finds the QUADS keys, starts the engine."""
    global _grasp_initialised, test_mode, DULL, _mess_check, _listen_self
    with _starting:
        if _grasp_initialised:
            return
        tprint("anima-grasp", _version, "with the API of graspy")
        tprint("Will use port", GRASP_LISTEN_PORT, "and multicast address", ALL_GRASP_NEIGHBORS_6)
        everything = not _skip_dialogue
        if everything or test_mode == "ask":
            test_mode = _ask("Test mode (many extra diagnostics)?", False)
        if everything or _mess_check == "ask":
            _mess_check = _ask("Diagnostics for inbound message parse errors?", True)
        if everything or _listen_self == "ask":
            _listen_self = _ask("Listen to own multicasts?", True)
        if everything or _be_dull == "ask":
            DULL = _ask("Insecure link-local mode (DULL)?", False)
        else:
            DULL = bool(_be_dull)
        _grasp._start(
            test_mode=bool(test_mode),
            listen_self=bool(_listen_self),
            diagnose=bool(_mess_check),
            dull=DULL,
            silent=bool(_silent),
            figging=bool(_figging),
            **({} if DULL else _security()),
        )
        _grasp_initialised = True
        secure, sealed, relaying, *_ = _grasp._state()
        if DULL:
            tprint("Security status: DULL mode")
        elif sealed:
            tprint("Security status: QUADS active")
        elif secure:
            tprint("Security status: everything on the links is trusted")
        else:
            tprint("Security status: GRASP is insecure")
        address, locator, links = _grasp._addresses()
        tprint("My global scope address:", address)
        tprint("Session locator:", locator)
        for link in links:
            tprint("Link:", link)
        tprint("Multicast relay needed" if relaying else "Multicast relay not needed")


def _ask(question, default):
    """Asks a question of the start dialogue. Without an answer, or without a terminal, returns the default."""
    try:
        answer = input(question + " Y/N:")
    except EOFError:
        return default
    return {"Y": True, "N": False}.get(answer[:1].upper(), default)


def _security():
    """Returns the QUADS keys: those named in the environment, or of the module quadsk, or derived from a password."""
    import os

    if os.environ.get("GRASP_QUADS_KEYFILE") or os.environ.get("GRASP_QUADS_PASSWORD"):
        return {}
    try:
        import quadsk

        key, iv = quadsk.key, quadsk.iv
    except Exception:  # Whatever the fault is, graspy then asks for a password.
        tprint("No pre-installed cryptography keys")
        return _password()
    if key == "No key":
        tprint("No encryption key: GRASP is insecure.")
        return {}
    return {"keys": (bytes(key), bytes(iv))} if key else _password()


def _password():
    import getpass

    if not (sys.stdin and sys.stdin.isatty()):
        tprint("No terminal to ask for a password: encryption off.")
        return {}
    print("Please enter the keying password for the domain (empty=insecure).")
    while True:
        password = getpass.getpass()
        if password == getpass.getpass("Confirm:"):
            break
        print("Mismatch, try again.")
    print("Password accepted" if password else "Encryption off: GRASP is insecure.")
    return {"password": password} if password else {}


def _hexit(item):
    """Returns the item with all bytes in hexadecimal, for printing."""
    if type(item) is bytes:
        return item.hex().encode()
    if type(item) is list:
        return [_hexit(one) for one in item]
    return item


def tprint(*whatever, ttp=False):
    """Prints like print(), as one whole line that begins with the thread's kind and number.

    Prints nothing in silent mode, and bytes in hexadecimal in test mode. The page of init_bubble_text() shows the text.
    """
    if _silent:
        return
    items = [_text(_hexit(item) if test_mode else item) for item in whatever]
    # One write for one line needs no lock, which an interrupt could leave locked.
    _write(f"{type(threading.current_thread()).__name__} {threading.get_ident()}", items)
    if _dobubbles and not ttp:
        said = "".join(item + " " for item in items)
        _grasp._say(said if len(said) <= 200 else said[:200] + " ...")


def _text(item):
    try:
        return str(item)
    except Exception:
        return "[unprintable]"


def _write(heading, items):
    out = sys.stdout
    if out is None:
        return
    try:
        out.write(" ".join([heading, *items, "\n"]))
    except UnicodeEncodeError:
        out.write(" ".join([heading, *(_encodable(item, out) for item in items), "\n"]))


def _encodable(item, out):
    try:
        item.encode(out.encoding or "ascii", out.errors or "strict")
    except UnicodeEncodeError:
        return "[unprintable]"
    return item


def ttprint(*whatever):
    """Prints like tprint(), but only in test mode."""
    if test_mode:
        tprint(*whatever, ttp=True)


def init_bubble_text(cap):
    """Shows the output of the ASA, and its messages, on a page for the browser, and prints the address of the page.

    cap: a title for the page. The environment variable GRASP_BUBBLES sets the address; by default it is a port of
    127.0.0.1 that the system chooses. Starts GRASP if it is not running yet. A process has one page.
    """
    global _dobubbles
    if _dobubbles:
        return
    if not _grasp_initialised:
        _initialise_grasp()
    try:
        # This prints the address of the page.
        _grasp._serve_bubbles(str(cap) or "GRASP")
    except RuntimeError as error:
        tprint("Could not show speech bubbles:", error)
        return
    _dobubbles = True


def dump_all(partial=False):
    """Prints the registries and caches; with partial, only the objectives and the flooded values."""

    def heading(text):
        lines.extend(("", text, "-" * len(text)))

    lines = []
    address, session_locator, links = _grasp._addresses()
    if not partial:
        heading(f"Thread count: {threading.active_count()} and {_grasp._state()[5]} of the engine")
        heading(f"My address: {address}")
        heading(f"Session locator: {session_locator}")
        heading("Link local zone index(es):")
        lines.extend(map(str, links))
        heading("ASA registry contents:")
        lines.extend(f"{asa.name} handle: {asa.handle}" for asa in _asas())
    heading("Objective registry contents:")
    for x in _objectives():
        o = x.objective
        lines.append(
            f"{o.name} ASA: {x.asa_id} Listen: {x.listening} Port {x.port} Neg: {o.neg} "
            f"Synch: {o.synch} Count: {o.loop_count} Value: {o.value}"
        )
        if x.locators:
            lines.append("Predefined locators: " + ", ".join(str(y.locator) for y in x.locators))
    if not partial:
        heading("Discovery cache contents:")
        for x in _discoveries():
            lines.append(f"{x.objective.name} locators:")
            for y in x.asa_locators:
                lines.append(f"{y.locator} {y.protocol} {y.port} Diverted: {y.diverted} Expiry: {y.expire}")
            if x.received:
                lines.append(f"Received {x.received.name} rapid value {x.received.value}")
    heading("Flood cache contents:")
    for x in _grasp._flood_cache():
        s = x.source
        lines.append(
            f"{x.objective.name} count: {x.objective.loop_count} value: {x.objective.value} "
            f"source: {s.locator} {s.protocol} {s.port} {s.expire}"
        )
    if not partial:
        heading("Session ID cache contents:")
        for x in _sessions():
            lines.append(
                f"Handle: {x.id_value:8} Source: {x.id_source} Active: {x.id_active} Relayed: {x.id_relayed}"
            )
    print("\n".join(lines))


def _asas():
    return [_asa_instance(handle, name) for name, handle in _grasp._asa_registry()]


def _objectives():
    entries = []
    for obj, owners, flags, locators, (port, ttl, listening) in _grasp._obj_registry():
        entry = _registered_objective(obj, None)
        entry.asa_id = owners
        entry.overlap_OK, entry.discoverable, entry.local, entry.rapid = flags
        entry.locators, entry.port, entry.ttl, entry.listening = locators, port, ttl, listening
        entries.append(entry)
    return entries


def _discoveries():
    entries = []
    for name, locators, received in _grasp._discovery_cache():
        entry = _discovered_objective(objective(name), locators)
        entry.received = received
        entries.append(entry)
    return entries


def _sessions():
    entries = []
    for id_value, source, relayed in _grasp._session_id_cache():
        entry = _session_instance(id_value, True, source)
        entry.id_relayed = relayed
        entries.append(entry)
    return entries


def _oclone(obj):
    """Returns a copy of an objective, which shares its value."""
    clone = objective(obj.name)
    for name in ("neg", "dry", "synch", "loop_count", "value"):
        setattr(clone, name, getattr(obj, name))
    return clone


def _flagword(obj):
    """Returns the flags of an objective as the number used in messages."""
    bits = ((obj.discoverable, B_DISC), (obj.neg, B_NEG), (obj.synch, B_SYNCH), (obj.dry, B_DRY))
    return sum(bit for is_set, bit in bits if is_set)


def _flags(flagword):
    """Returns (neg, synch, dry) from the flags in a message."""
    return bool(flagword & B_NEG), bool(flagword & B_SYNCH), bool(flagword & B_DRY)


def _detag_obj(x):
    """Replaces an embedded CBOR item (tag 24) in the value of an objective by its bytes."""
    if getattr(x.value, "tag", None) == 24:
        x.value = x.value.value
    return x


def _parse_msg(payload):
    """Parses a message decoded by cbor2: returns a _message, or None if invalid; prints why if _mess_check is set."""
    fields, wrong = _grasp._parse(payload)
    if fields is None:
        if _mess_check:
            tprint("Message parsing error:", wrong)
        return None
    options = fields.pop("options", [])
    floods = fields.pop("flood_list", None)
    message = _fill(_message(None), fields)
    message.options = [_made_option(option) for option in options]
    if floods is not None:
        message.flood_list = [_flooded_objective(obj, option and _made_option(option)) for obj, option in floods]
    return message


def _made_option(fields):
    embedded = fields.pop("embedded", [])
    option = _fill(_option(None), fields)
    option.embedded = [_made_option(one) for one in embedded]
    return option


def _fill(made, fields):
    for name, value in fields.items():
        setattr(made, name, value)
    return made


# Data of the engine, as ASAs read it. Each access gets it anew.
_LOOKS = {
    "_asa_registry": _asas,
    "_obj_registry": _objectives,
    "_discovery_cache": _discoveries,
    "_session_id_cache": _sessions,
    "_flood_cache": _grasp._flood_cache,
    "_my_address": lambda: _grasp._addresses()[0],
    "_session_locator": lambda: _grasp._addresses()[1],
    "_ll_zone_ids": lambda: _grasp._addresses()[2],
    "_secure": lambda: _grasp._state()[0],
    "_tls_required": lambda: not _grasp._state()[0],
    "_crypto": lambda: _grasp._is_running() and _grasp._state()[1],
    "_relay_needed": lambda: _grasp._state()[2],
    "_unicast_size": lambda: _grasp._state()[3] if _grasp._is_running() else GRASP_DEF_MAX_SIZE,
    "_multicast_size": lambda: _grasp._state()[4] if _grasp._is_running() else GRASP_DEF_MAX_SIZE,
}


def __getattr__(name):
    global _prng
    if name == "_prng":
        # Its imports take longer than all of grasp.
        import random

        _prng = random.SystemRandom()
        return _prng
    look = _LOOKS.get(name)
    if look is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return look()
    except RuntimeError as error:
        # As in graspy, these do not exist before GRASP runs.
        raise AttributeError(f"module {__name__!r} has no attribute {name!r} yet: {error}") from None


def __dir__():
    return sorted({*globals(), *_LOOKS, "_prng"})


class _Module(types.ModuleType):
    """Passes the test switches, which are assigned to the module, on to the engine."""

    def __setattr__(self, name, value):
        if name in ("_test_divert", "_make_invalid", "_make_badmess"):
            _grasp._set_switch(name, bool(value))
        super().__setattr__(name, value)


_test_divert = False
_make_invalid = False
_make_badmess = False
sys.modules[__name__].__class__ = _Module
