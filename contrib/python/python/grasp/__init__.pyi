from ipaddress import IPv4Address, IPv6Address
from random import SystemRandom
from typing import Any, List, Optional, Tuple, Union

_Bool = Union[bool, str]
_Handle = int

M_NOOP: int
M_DISCOVERY: int
M_RESPONSE: int
M_REQ_NEG: int
M_REQ_SYN: int
M_NEGOTIATE: int
M_END: int
M_WAIT: int
M_SYNCH: int
M_FLOOD: int
M_INVALID: int
O_DIVERT: int
O_ACCEPT: int
O_DECLINE: int
O_IPv6_LOCATOR: int
O_IPv4_LOCATOR: int
O_FQDN_LOCATOR: int
O_URI_LOCATOR: int
F_DISC: int
F_NEG: int
F_SYNCH: int
F_NEG_DRY: int
B_DISC: int
B_NEG: int
B_SYNCH: int
B_DRY: int
ALL_GRASP_NEIGHBORS_6: IPv6Address
ALL_GRASP_NEIGHBORS_4: IPv4Address
GRASP_LISTEN_PORT: int
GRASP_DEF_TIMEOUT: int
GRASP_DEF_LOOPCT: int
GRASP_DEF_MAX_SIZE: int

test_mode: _Bool
DULL: bool
errors: _error_codes
etext: List[str]

_prng: SystemRandom
_unspec_address: IPv6Address
_my_address: Optional[IPv6Address]
_session_locator: IPv6Address
_ll_zone_ids: List[List[Any]]
_relay_needed: bool
_secure: bool
_crypto: bool
_obj_registry: List[Any]
_flood_cache: List[tagged_objective]
_multi_asas: bool
_test_divert: bool
_make_invalid: bool
_make_badmess: bool
_mess_check: _Bool

class objective:
    name: str
    discoverable: bool
    neg: bool
    dry: bool
    synch: bool
    loop_count: int
    value: Any
    def __init__(self, name: str) -> None: ...
    def __getattr__(self, name: str) -> Any: ...
    def __setattr__(self, name: str, value: Any) -> None: ...

class asa_locator:
    locator: Union[IPv6Address, IPv4Address, str, None]
    ifi: Optional[int]
    diverted: bool
    protocol: Optional[int]
    port: Optional[int]
    expire: int
    is_ipaddress: bool
    is_fqdn: bool
    is_uri: bool
    def __init__(
        self, locator: Union[IPv6Address, IPv4Address, str, None], ifi: Optional[int], diverted: bool
    ) -> None: ...
    def __getattr__(self, name: str) -> Any: ...
    def __setattr__(self, name: str, value: Any) -> None: ...

class tagged_objective:
    objective: objective
    source: Optional[asa_locator]
    def __init__(self, objective: objective, source: Optional[asa_locator]) -> None: ...
    def __getattr__(self, name: str) -> Any: ...
    def __setattr__(self, name: str, value: Any) -> None: ...

class _session_handle:
    id_value: int
    id_source: Optional[bytes]
    def __init__(self, id_value: int, id_source: Optional[bytes]) -> None: ...

class _error_codes:
    ok: int
    declined: int
    noReply: int
    unspec: int
    ASAfull: int
    dupASA: int
    noASA: int
    notYourASA: int
    notBoth: int
    notDry: int
    notOverlap: int
    objFull: int
    objReg: int
    notYourObj: int
    notObj: int
    notNeg: int
    noSecurity: int
    noDiscReply: int
    sockErrNegRq: int
    noSession: int
    noSocket: int
    loopExhausted: int
    sockErrNegStep: int
    noPeer: int
    CBORfail: int
    invalidNeg: int
    invalidEnd: int
    noNegReply: int
    noValidStep: int
    sockErrWait: int
    sockErrEnd: int
    IDclash: int
    notSynch: int
    notFloodDisc: int
    sockErrSynRq: int
    noListener: int
    noSynchReply: int
    noValidSynch: int
    invalidLoc: int
    sockErr: int

def tname(x: Any) -> str: ...
def skip_dialogue(
    testing: _Bool = ...,
    selfing: _Bool = ...,
    diagnosing: _Bool = ...,
    quadsing: bool = ...,
    be_dull: _Bool = ...,
    silent: bool = ...,
    figging: bool = ...,
) -> None: ...
def register_asa(asa_name: str) -> Tuple[int, Optional[_Handle]]: ...
def deregister_asa(asa_handle: _Handle, asa_name: str) -> int: ...
def register_obj(
    asa_handle: _Handle,
    obj: objective,
    ttl: Optional[int] = ...,
    discoverable: bool = ...,
    overlap: bool = ...,
    local: bool = ...,
    rapid: bool = ...,
    locators: List[asa_locator] = ...,
) -> int: ...
def deregister_obj(asa_handle: _Handle, obj: objective) -> int: ...
def discover(
    asa_handle: _Handle, obj: objective, timeout: Optional[float], flush: bool = ..., minimum_TTL: float = ...
) -> Tuple[int, List[asa_locator]]: ...
def req_negotiate(
    asa_handle: _Handle,
    obj: objective,
    peer: Optional[asa_locator],
    timeout: Optional[float],
    noloop: bool = ...,
) -> Tuple[int, Optional[_session_handle], Any]: ...
def negotiate_step(
    asa_handle: _Handle, shandle: _session_handle, obj: objective, timeout: Optional[float]
) -> Tuple[int, Optional[_session_handle], Any]: ...
def negotiate_wait(asa_handle: _Handle, shandle: _session_handle, timeout: Optional[float]) -> int: ...
def end_negotiate(
    asa_handle: _Handle, shandle: _session_handle, result: bool, reason: Optional[str] = ...
) -> int: ...
def send_invalid(asa_handle: _Handle, shandle: _session_handle, info: Any = ...) -> int: ...
def listen_negotiate(
    asa_handle: _Handle, obj: objective
) -> Tuple[int, Optional[_session_handle], Optional[objective]]: ...
def stop_negotiate(asa_handle: _Handle, obj: objective) -> int: ...
def gsend(asa_handle: _Handle, shandle: _session_handle, message: Any) -> int: ...
def grecv(asa_handle: _Handle, shandle: _session_handle, timeout: float) -> Tuple[int, Any]: ...
def synchronize(
    asa_handle: _Handle, obj: objective, loc: Optional[asa_locator], timeout: Optional[float]
) -> Tuple[int, Optional[objective]]: ...
def listen_synchronize(asa_handle: _Handle, obj: objective) -> int: ...
def stop_synchronize(asa_handle: _Handle, obj: objective) -> int: ...
def flood(
    asa_handle: _Handle, ttl: Optional[float], *tagged_obj: Union[tagged_objective, List[tagged_objective]]
) -> int: ...
def get_flood(asa_handle: _Handle, obj: objective) -> Tuple[int, Optional[List[tagged_objective]]]: ...
def expire_flood(asa_handle: _Handle, tagged_obj: tagged_objective) -> int: ...
def tprint(*whatever: Any, ttp: bool = ...) -> None: ...
def ttprint(*whatever: Any) -> None: ...
def init_bubble_text(cap: str) -> None: ...
def dump_all(partial: bool = ...) -> None: ...
def _initialise_grasp() -> None: ...
def _parse_msg(payload: Any) -> Any: ...
