//! The compiled part of graspy's module `grasp` on the engine of anima-grasp. The Python part, in `python/`, has the
//! classes, the start dialogue, printing, and whatever else of graspy's names programs use.
//!
//! | file | what |
//! |---|---|
//! | `engine` | start, stop, forks, Ctrl-C, the interpreter lock |
//! | `calls` | the calls of the API |
//! | `objects` | objectives, locators, handles |
//! | `value` | CBOR values |
//! | `views` | registries, caches, addresses |
//! | `messages` | received messages in graspy's form, for programs that look at captures |

mod calls;
mod engine;
mod messages;
mod objects;
mod value;
mod views;

/// The compiled part of grasp. Use grasp instead.
#[pyo3::pymodule(gil_used = false)]
mod _grasp {
    #[pymodule_export]
    use super::calls::{
        _register_asa, deregister_asa, deregister_obj, discover, end_negotiate, expire_flood, flood,
        get_flood, grecv, gsend, listen_negotiate, listen_synchronize, negotiate_step, negotiate_wait,
        register_obj, req_negotiate, send_invalid, stop_negotiate, stop_synchronize, synchronize,
    };
    #[pymodule_export]
    use super::engine::{_exit, _is_running, _say, _serve_bubbles, _set_switch, _start};
    #[pymodule_export]
    use super::messages::_parse;
    #[pymodule_export]
    use super::objects::_bind;
    #[pymodule_export]
    use super::value::_round_trip;
    #[pymodule_export]
    use super::views::{
        _addresses, _asa_registry, _discovery_cache, _flood_cache, _obj_registry, _session_id_cache, _state,
    };
}
