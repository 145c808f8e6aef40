from typing import Any, Optional, Tuple

import grasp as grasp
from grasp import (
    _session_handle,
    asa_locator as asa_locator,
    deregister_asa as deregister_asa,
    deregister_obj as deregister_obj,
    discover as discover,
    dump_all as dump_all,
    end_negotiate as end_negotiate,
    errors as errors,
    etext as etext,
    expire_flood as expire_flood,
    flood as flood,
    get_flood as get_flood,
    init_bubble_text as init_bubble_text,
    listen_negotiate as listen_negotiate,
    listen_synchronize as listen_synchronize,
    negotiate_wait as negotiate_wait,
    objective as objective,
    register_asa as register_asa,
    register_obj as register_obj,
    send_invalid as send_invalid,
    skip_dialogue as skip_dialogue,
    stop_negotiate as stop_negotiate,
    stop_synchronize as stop_synchronize,
    synchronize as synchronize,
    tagged_objective as tagged_objective,
    tprint as tprint,
    ttprint as ttprint,
)

def request_negotiate(
    asa_handle: int, obj: objective, peer: Optional[asa_locator], timeout: Optional[float]
) -> Tuple[int, Optional[_session_handle], Optional[objective], Optional[str]]: ...
def negotiate_step(
    asa_handle: int, shandle: _session_handle, obj: objective, timeout: Optional[float]
) -> Tuple[int, Optional[_session_handle], Optional[objective], Optional[str]]: ...
