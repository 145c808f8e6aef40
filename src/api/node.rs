//! Carries out the calls of a node's clients on the node's engine. `ipc` reads the calls and sends the results.

use std::io;
use std::sync::Arc;

use super::{Discover, RegisterObj};
use crate::engine::{Engine, Seat};
use crate::error::Result;
use crate::ipc::{
    Arguments, Connection, Deed, Form, Formed, Refused, Right, Server, ServerOptions, Service, VERSION,
    fields,
};
use crate::trace::Trace;
use crate::types::{AsaLocator, AsaNonce, Objective, SessionNonce, TaggedObjective, Value};

impl Server {
    /// Lets other processes use an engine of this process. The server is listening when this returns. Call it from a thread
    /// of the engine's network namespace: clients' calls are carried out in the namespace of the caller.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use grasp::ipc::{Server, ServerOptions};
    ///
    /// let engine = grasp::Engine::start(grasp::Config::new())?;
    /// let server = Server::start(&engine, ServerOptions::new("/run/grasp/grasp.sock"))?;
    /// // In another process: Engine::connect("/run/grasp/grasp.sock")
    /// # drop(server);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `AddrInUse` if another node listens at the path, or the path names something that is not a socket; `Unsupported` for
    /// a connected engine; [`Error::OtherNamespace`](crate::Error::OtherNamespace), inside an error of the kind `Other`, for
    /// a caller in another network namespace. Otherwise the system's error: the socket cannot be created, or given its mode
    /// and group, or no thread can be started. A retry helps once the cause is removed.
    pub fn start(engine: &Engine, options: ServerOptions) -> io::Result<Self> {
        match &engine.seat {
            Seat::Here(here) => {
                here.core.check_namespace().map_err(io::Error::other)?;
                Self::launch(&here.core, Arc::new(Calls { engine: engine.unowned() }), options)
            }
            Seat::Node(_) => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "the engine is in another process already"))
            }
        }
    }
}

/// The longest name of an ASA, and how much longer than the largest message a registration may be, in bytes.
const ALLOWANCE: usize = 1 << 16;

/// The service that carries out the calls of clients.
#[derive(Debug)]
struct Calls {
    engine: Engine,
}

/// The result of a call, as an item.
type Answer = std::result::Result<Value, Refused>;

/// A call that is being carried out.
struct Call<'a> {
    engine: &'a Engine,
    client: &'a Connection,
    arguments: Arguments,
}

impl Service for Calls {
    fn unicast_size(&self) -> usize {
        self.engine.config().unicast_size
    }

    fn welcome(&self, largest_call: usize) -> Value {
        let config = self.engine.config();
        let (unicast_size, multicast_size) = self.engine.message_sizes();
        fields([
            ("version", VERSION.form()),
            ("program", env!("CARGO_PKG_VERSION").form()),
            ("largest_call", largest_call.form()),
            ("dull", config.dull.form()),
            ("listen_self", config.listen_self.form()),
            ("default_timeout", config.default_timeout.form()),
            ("objective_ttl", config.objective_ttl.form()),
            ("unicast_size", unicast_size.form()),
            ("multicast_size", multicast_size.form()),
            ("multicast_send_size", config.multicast_send_size.form()),
        ])
    }

    fn waits(&self, call: &str) -> Option<bool> {
        match call {
            "discover" | "req_negotiate" | "open" | "negotiate_step" | "negotiate_wait" | "end_negotiate"
            | "send_invalid" | "listen_negotiate" | "gsend" | "grecv" | "synchronize" => Some(true),
            "register_asa" | "deregister_asa" | "register_obj" | "deregister_obj" | "announce_listening"
            | "stop_negotiate" | "listen_synchronize" | "stop_synchronize" | "certified_name" | "flood"
            | "check_flood" | "get_flood" | "expire_flood" | "asas" | "objectives" | "discovery_cache"
            | "flood_cache" | "sessions" | "state" | "stats" | "links" | "link_names"
            | "missing_interfaces" | "open_sessions" | "thread_count" | "my_address" | "session_locator"
            | "message_sizes" | "set_test_divert" | "make_invalid" | "make_badmess" => Some(false),
            _ => None,
        }
    }

    fn answer(&self, client: &Connection, call: &str, arguments: Vec<Value>) -> Answer {
        let mut this = Call { engine: &self.engine, client, arguments: Arguments::new(arguments) };
        match call {
            "register_asa" | "deregister_asa" | "register_obj" | "deregister_obj" => this.registration(call),
            "req_negotiate" | "open" | "negotiate_step" | "negotiate_wait" | "end_negotiate"
            | "send_invalid" | "gsend" | "grecv" | "certified_name" => this.negotiation(call),
            "listen_negotiate" | "announce_listening" | "stop_negotiate" | "listen_synchronize"
            | "stop_synchronize" => this.listening(call),
            "discover" | "synchronize" | "flood" | "check_flood" | "get_flood" | "expire_flood" => {
                this.values(call)
            }
            "my_address" | "session_locator" | "message_sizes" => this.about(call),
            "set_test_divert" | "make_invalid" | "make_badmess" => this.testing(call),
            _ => this.views(call),
        }
    }

    fn trace(&self, capacity: usize) -> Trace {
        self.engine.trace_with(capacity)
    }

    fn deregister(&self, asa: AsaNonce, name: &str) {
        // The engine or the ASA may be gone: then nothing is left to do.
        let _ = self.engine.deregister_asa(asa, name);
    }
}

/// Converts the result of a call.
fn form(result: Result<impl Form>) -> Answer {
    Ok(result?.form())
}

impl Call<'_> {
    fn take<T: Formed>(&mut self) -> std::result::Result<T, Refused> {
        self.arguments.take().ok_or(Refused::Garbage)
    }

    /// Takes the handle of an ASA. A handle that is not the client's own is replaced by one that no ASA has.
    fn asa(&mut self) -> std::result::Result<AsaNonce, Refused> {
        let asa = self.take()?;
        Ok(self.client.own(asa))
    }

    fn may(&self, deed: Deed, objective: &Objective) -> Result<()> {
        self.client.check(Right::With(deed, &objective.name))
    }

    fn registration(&mut self, call: &str) -> Answer {
        let (engine, client) = (self.engine, self.client);
        match call {
            "register_asa" => {
                let (name, wanted): (String, Option<AsaNonce>) = (self.take()?, self.take()?);
                client.check(Right::Act)?;
                client.room_for_asa()?;
                super::too_large(name.len(), ALLOWANCE)?;
                let asa = engine.register_asa_as(&name, wanted)?;
                client.add_asa(asa, name);
                Ok(asa.form())
            }
            "deregister_asa" => {
                let (asa, name): (_, String) = (self.asa()?, self.take()?);
                client.check(Right::Act)?;
                engine.deregister_asa(asa, &name)?;
                client.remove_asa(asa);
                Ok(Value::Null)
            }
            "register_obj" => {
                let (asa, objective): (_, Objective) = (self.asa()?, self.take()?);
                let options: RegisterObj = self.take()?;
                self.may(Deed::Register, &objective)?;
                client.room_for_objective()?;
                // A registration is kept, copied for each discovery, and part of every view.
                let size = objective.form().encode().len() + options.form().encode().len();
                super::too_large(size, engine.message_sizes().0.saturating_add(ALLOWANCE))?;
                engine.register_obj(asa, &objective, options)?;
                client.add_objective(asa, &objective.name);
                Ok(Value::Null)
            }
            _ => {
                let (asa, name): (_, String) = (self.asa()?, self.take()?);
                client.check(Right::Act)?;
                engine.deregister_obj(asa, &Objective::new(name.as_str()))?;
                client.remove_objective(asa, &name);
                Ok(Value::Null)
            }
        }
    }

    fn negotiation(&mut self, call: &str) -> Answer {
        let (engine, asa) = (self.engine, self.asa()?);
        self.client.check(Right::Act)?;
        if matches!(call, "req_negotiate" | "open") {
            let (objective, peer): (Objective, Option<AsaLocator>) = (self.take()?, self.take()?);
            let timeout = self.take()?;
            return match call {
                "open" => form(engine.open_with(asa, &objective, peer.as_ref(), timeout)),
                _ => form(engine.negotiate_with(asa, &objective, peer.as_ref(), timeout)),
            };
        }
        let session: SessionNonce = self.take()?;
        match call {
            "negotiate_step" => {
                let (objective, timeout): (Objective, _) = (self.take()?, self.take()?);
                form(engine.negotiate_step(asa, session, &objective, timeout))
            }
            "negotiate_wait" => form(engine.negotiate_wait(asa, session, self.take()?)),
            "end_negotiate" => {
                let (accept, reason): (_, Option<String>) = (self.take()?, self.take()?);
                form(engine.end_negotiate(asa, session, accept, reason.as_deref()))
            }
            "send_invalid" => form(engine.send_invalid(asa, session, self.take()?)),
            "gsend" => form(engine.gsend(asa, session, &self.take()?)),
            "certified_name" => form(engine.certified_name(asa, session)),
            _ => form(engine.grecv(asa, session, self.take()?)),
        }
    }

    fn listening(&mut self, call: &str) -> Answer {
        let (engine, asa, objective): (_, _, Objective) = (self.engine, self.asa()?, self.take()?);
        if call.starts_with("stop") {
            self.client.check(Right::Act)?;
        } else {
            self.may(Deed::Listen, &objective)?;
        }
        match call {
            "listen_negotiate" => form(engine.listen_negotiate(asa, &objective)),
            "announce_listening" => form(engine.announce_listening(asa, &objective)),
            "stop_negotiate" => form(engine.stop_negotiate(asa, &objective)),
            "listen_synchronize" => form(engine.listen_synchronize(asa, &objective)),
            _ => form(engine.stop_synchronize(asa, &objective)),
        }
    }

    fn values(&mut self, call: &str) -> Answer {
        let (engine, asa) = (self.engine, self.asa()?);
        self.client.check(Right::Act)?;
        match call {
            "flood" | "check_flood" => {
                let (ttl, tagged): (_, Vec<TaggedObjective>) = (self.take()?, self.take()?);
                for one in &tagged {
                    self.may(Deed::Flood, &one.objective)?;
                }
                match call {
                    "flood" => form(engine.flood(asa, ttl, &tagged)),
                    _ => form(engine.check_flood(asa, ttl, &tagged)),
                }
            }
            "expire_flood" => form(engine.expire_flood(asa, &self.take()?)),
            "get_flood" => form(engine.get_flood(asa, &self.take()?)),
            "discover" => {
                let (objective, timeout): (Objective, _) = (self.take()?, self.take()?);
                let options: Discover = self.take()?;
                form(engine.discover(asa, &objective, timeout, options))
            }
            _ => {
                let (objective, peer): (Objective, Option<AsaLocator>) = (self.take()?, self.take()?);
                form(engine.synchronize_with(asa, &objective, peer.as_ref(), self.take()?))
            }
        }
    }

    /// Calls that are permitted to every client.
    fn about(&self, call: &str) -> Answer {
        let engine = self.engine;
        Ok(match call {
            "my_address" => match engine.my_address() {
                Some(crate::Locator::Ipv6(address)) => address.form(),
                _ => Value::Null,
            },
            "session_locator" => engine.session_locator().form(),
            _ => engine.message_sizes().form(),
        })
    }

    /// The switches for tests, which change what all clients see.
    fn testing(&mut self, call: &str) -> Answer {
        let on: Option<bool> = self.take()?;
        self.client.check(Right::Everything)?;
        match call {
            "set_test_divert" => self.engine.set_test_divert(on.unwrap_or(true)),
            "make_invalid" => self.engine.make_invalid(),
            _ => self.engine.make_badmess(),
        }
        Ok(Value::Null)
    }

    fn views(&self, call: &str) -> Answer {
        self.client.check(Right::Watch)?;
        let engine = self.engine;
        Ok(match call {
            "asas" => engine.asas().form(),
            "objectives" => engine.objectives().form(),
            "discovery_cache" => engine.discovery_cache().form(),
            "flood_cache" => engine.flood_cache().form(),
            "sessions" => engine.sessions().form(),
            "state" => engine.state().form(),
            "stats" => engine.stats().form(),
            "links" => engine.links().form(),
            "link_names" => engine.link_names().form(),
            "missing_interfaces" => engine.missing_interfaces().form(),
            "open_sessions" => engine.open_sessions().form(),
            _ => engine.thread_count().form(),
        })
    }
}
