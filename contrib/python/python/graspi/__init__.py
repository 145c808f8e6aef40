"""The API of RFC 8991 for Autonomic Service Agents, as graspy's graspi.py has it. The rest of grasp is graspi.grasp."""

import grasp
from grasp import (
    asa_locator,
    deregister_asa,
    deregister_obj,
    discover,
    dump_all,
    end_negotiate,
    errors,
    etext,
    expire_flood,
    flood,
    get_flood,
    init_bubble_text,
    listen_negotiate,
    listen_synchronize,
    negotiate_wait,
    objective,
    register_asa,
    register_obj,
    send_invalid,
    skip_dialogue,
    stop_negotiate,
    stop_synchronize,
    synchronize,
    tagged_objective,
    tprint,
    ttprint,
)

__all__ = [
    "objective",
    "asa_locator",
    "tagged_objective",
    "register_asa",
    "deregister_asa",
    "register_obj",
    "deregister_obj",
    "discover",
    "negotiate_wait",
    "end_negotiate",
    "listen_negotiate",
    "stop_negotiate",
    "send_invalid",
    "synchronize",
    "listen_synchronize",
    "stop_synchronize",
    "flood",
    "get_flood",
    "expire_flood",
    "skip_dialogue",
    "tprint",
    "ttprint",
    "init_bubble_text",
    "dump_all",
    "errors",
    "etext",
    "request_negotiate",
    "negotiate_step",
]


def request_negotiate(asa_handle, obj, peer, timeout):
    """Asks a peer to negotiate an objective; the arguments are those of grasp.req_negotiate().

    Returns one of
      (0, None, objective, None)     the peer agrees; the session is over
      (0, session, objective, None)  the peer offers another value: use that objective for the next step
      (declined, None, None, reason) the peer declines
      (errorcode, None, None, None)  anything else: wait before you ask again
    """
    return _with_reason(grasp.req_negotiate(asa_handle, obj, peer, timeout))


def negotiate_step(asa_handle, shandle, obj, timeout):
    """Continues a negotiation; the arguments are those of grasp.negotiate_step().

    Returns the same as request_negotiate().
    """
    return _with_reason(grasp.negotiate_step(asa_handle, shandle, obj, timeout))


def _with_reason(result):
    error, session, rest = result
    if error == errors.ok:
        return error, session, rest, None
    return error, None, None, rest if error == errors.declined else None
