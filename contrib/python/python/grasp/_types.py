"""The classes, numbers and texts of graspy's module grasp. `grasp` exports them all; this part is imported only once,
so that reloading grasp does not change the classes of existing objects."""

import atexit
import ipaddress
import time

from grasp import _grasp

# Message types (RFC 8990 §4).
M_NOOP, M_DISCOVERY, M_RESPONSE, M_REQ_NEG, M_REQ_SYN, M_NEGOTIATE, M_END, M_WAIT, M_SYNCH, M_FLOOD = range(10)
M_INVALID = 99

# Options.
O_DIVERT, O_ACCEPT, O_DECLINE, O_IPv6_LOCATOR, O_IPv4_LOCATOR, O_FQDN_LOCATOR, O_URI_LOCATOR = range(100, 107)

# Bits of the flags of an objective, and their values.
F_DISC, F_NEG, F_SYNCH, F_NEG_DRY = range(4)
B_DISC, B_NEG, B_SYNCH, B_DRY = (1 << bit for bit in (F_DISC, F_NEG, F_SYNCH, F_NEG_DRY))

ALL_GRASP_NEIGHBORS_6 = ipaddress.IPv6Address("ff02::13")
ALL_GRASP_NEIGHBORS_4 = ipaddress.IPv4Address("224.0.0.119")
GRASP_LISTEN_PORT = 7017
GRASP_DEF_TIMEOUT = 60000
GRASP_DEF_LOOPCT = 6
GRASP_DEF_MAX_SIZE = 2048

_TCP = 6
_unspec_address = ipaddress.IPv6Address("::")


class objective:
    """An objective: ASAs discover, negotiate, synchronize or flood it.

    name          a unique text
    neg           whether it may be negotiated
    dry           whether it may also be negotiated as a dry run
    synch         whether it may be synchronized and flooded
    discoverable  whether it may be discovered (True)
    loop_count    how many times it may be relayed or answered (6)
    value         any value that CBOR can express (None)
    """

    def __init__(self, name):
        self.name = name
        self.discoverable = True
        self.neg = False
        self.dry = False
        self.synch = False
        self.loop_count = GRASP_DEF_LOOPCT
        self.value = None


class asa_locator:
    """The location of an ASA.

    locator   an ipaddress object, or the text of a name or URI, as the flags say
    ifi       the index of the interface on which it was learned, or None
    diverted  whether it came in a Divert option
    protocol  the number of the transport protocol (6, TCP)
    port      the port (7017)
    expire    when it expires, in seconds of time.monotonic(); 0 means never
    is_ipaddress, is_fqdn, is_uri
    """

    def __init__(self, locator, ifi, diverted):
        self.locator = locator
        self.ifi = ifi
        self.diverted = diverted
        self.protocol = _TCP
        self.port = GRASP_LISTEN_PORT
        self.expire = 0
        self.is_ipaddress = False
        self.is_fqdn = False
        self.is_uri = False


class tagged_objective:
    """An objective with the asa_locator that belongs to it in a flood, or None."""

    def __init__(self, objective, source):
        self.objective = objective
        self.source = source


class _session_handle:
    """Identifies a session: its identifier, and the packed address of the peer if the peer opened it."""

    def __init__(self, id_value, id_source):
        self.id_value = id_value
        self.id_source = id_source


class _asa_instance:
    """An entry of _asa_registry."""

    def __init__(self, handle, name):
        self.handle = handle
        self.name = name


class _registered_objective:
    """An entry of _obj_registry."""

    def __init__(self, objective, asa_handle):
        self.objective = objective
        self.asa_id = [asa_handle]
        self.overlap_OK = False
        self.protocol = _TCP
        self.locators = []
        self.port = 0
        self.discoverable = False
        self.local = False
        self.rapid = False
        self.ttl = 10 * GRASP_DEF_TIMEOUT
        self.listening = 0
        self.listen_q = None


class _discovered_objective:
    """An entry of _discovery_cache."""

    def __init__(self, objective, asa_locators):
        self.objective = objective
        self.asa_locators = asa_locators
        self.received = None


class _session_instance:
    """An entry of _session_id_cache."""

    def __init__(self, id_value, id_active, id_source):
        self.id_value = id_value
        self.id_active = id_active
        self.id_source = id_source
        self.id_dq = None
        self.id_sock = None
        self.id_relayed = False


class _flooded_objective:
    """An objective in a flood with its locator option, or None."""

    def __init__(self, obj, loco):
        self.obj = obj
        self.loco = loco


class _message:
    """A parsed message."""

    def __init__(self, mtype):
        self.mtype = mtype
        self.id_value = 0
        self.id_source = _unspec_address.packed
        self.ttl = 0
        self.options = []
        self.obj = None
        self.flood_list = None
        self.content = None


class _option:
    """An option of a message."""

    def __init__(self, otype):
        self.otype = otype
        self.embedded = []
        self.locator = None
        self.protocol = 0
        self.port = 0
        self.reason = None


_TEXTS = (
    ("ok", "OK"),
    ("declined", "Declined"),
    ("noReply", "No reply"),
    ("unspec", "Unspecified error"),
    ("ASAfull", "ASA registry full"),
    ("dupASA", "Duplicate ASA name"),
    ("noASA", "ASA not registered"),
    ("notYourASA", "ASA registered but not by you"),
    ("notBoth", "Objective cannot support both negotiation and synchronization"),
    ("notDry", "Dry-run allowed only with negotiation"),
    ("notOverlap", "Overlap not supported by this implementation"),
    ("objFull", "Objective registry full"),
    ("objReg", "Objective already registered"),
    ("notYourObj", "Objective not registered by this ASA"),
    ("notObj", "Objective not found"),
    ("notNeg", "Objective not negotiable"),
    ("noSecurity", "No security"),
    ("noDiscReply", "No reply to discovery"),
    ("sockErrNegRq", "Socket error sending negotiation request"),
    ("noSession", "No session"),
    ("noSocket", "No socket"),
    ("loopExhausted", "Loop count exhausted"),
    ("sockErrNegStep", "Socket error sending negotiation step"),
    ("noPeer", "Negotiation peer not listening"),
    ("CBORfail", "CBOR decode failure"),
    ("invalidNeg", "Invalid Negotiate message"),
    ("invalidEnd", "Invalid end message"),
    ("noNegReply", "No reply to negotiation step"),
    ("noValidStep", "No valid reply to negotiation step"),
    ("sockErrWait", "Socket error sending wait message"),
    ("sockErrEnd", "Socket error sending end message"),
    ("IDclash", "Incoming request Session ID clash"),
    ("notSynch", "Not a synchronization objective"),
    ("notFloodDisc", "Not flooded and no reply to discovery"),
    ("sockErrSynRq", "Socket error sending synch request"),
    ("noListener", "Synchronization peer not listening"),
    ("noSynchReply", "No reply to synchronization request"),
    ("noValidSynch", "No valid reply to synchronization request"),
    ("invalidLoc", "Invalid locator"),
    ("sockErr", "Socket error sending gmessage"),
)


class _error_codes:
    """The error numbers by name: errors.noASA is 6. etext has their texts."""

    def __init__(self):
        for number, (name, _) in enumerate(_TEXTS):
            setattr(self, name, number)


errors = _error_codes()
etext = [text for _, text in _TEXTS]

# Users see the module grasp: document, pickle and print these classes as part of it.
for _class in (objective, asa_locator, tagged_objective, _session_handle):
    _class.__module__ = "grasp"

atexit.register(_grasp._exit)
_grasp._bind(objective, asa_locator, tagged_objective, _session_handle, ipaddress.ip_address, time.monotonic)
