//! Objectives that a node listens for: `listen`, `listen-synch`, `unregister`.

use std::sync::Arc;

use grasp::{AsaNonce, Engine, Error, Objective, RegisterObj, SessionNonce};
use grasptests::lab::Node;
use parking_lot::Mutex;

use super::{
    bench::{Bench, Place, noticed},
    failure::{Failure, error_text},
};
use grasp::tools::policy::{Policy, Side};
use grasp::tools::words;

/// What the prompt has registered an objective for.
pub(crate) enum Registered {
    /// Negotiation, and how requests are answered if a thread listens.
    Negotiation(Option<Arc<Mutex<Policy>>>),
    /// Synchronization and floods; whether its value is served.
    Synchronization(bool),
}

/// What an objective is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Negotiation,
    Synchronization,
}

/// An objective with the flag of its purpose.
pub(crate) fn objective(name: &str, purpose: Purpose) -> Objective {
    let mut objective = Objective::new(name);
    match purpose {
        Purpose::Negotiation => objective.neg = true,
        Purpose::Synchronization => objective.synch = true,
    }
    objective
}

/// Registers an objective, unless the prompt has done so already.
pub(crate) fn register(place: &mut Place, name: &str, purpose: Purpose) -> Result<(), Failure> {
    let (other, fresh) = match purpose {
        Purpose::Negotiation => ("synchronization and floods", Registered::Negotiation(None)),
        Purpose::Synchronization => ("negotiation", Registered::Synchronization(false)),
    };
    match (place.objectives.get(name), purpose) {
        (Some(Registered::Negotiation(_)), Purpose::Negotiation)
        | (Some(Registered::Synchronization(_)), Purpose::Synchronization) => return Ok(()),
        (Some(_), _) => {
            let here = place.node.name();
            let sentence = format!("{name} is registered at {here} for {other}: first unregister {name}");
            return Err(Failure::Said(sentence));
        }
        (None, _) => {}
    }
    let new = objective(name, purpose);
    place.run(|engine, nonce| engine.register_obj(nonce, &new, RegisterObj::default()))?;
    place.objectives.insert(name.to_owned(), fresh);
    Ok(())
}

/// `listen NAME [POLICY]`
pub(crate) fn listen(bench: &mut Bench, at: usize, args: &[&str]) -> Result<(), Failure> {
    let [name, policy @ ..] = args else { return Err(Failure::Usage) };
    let (name, policy) = (words::name(name)?, Policy::parse(policy)?);
    let here = bench.places[at].node.name().to_owned();
    let doing = format!("{here}: {name}: listens, {policy}");
    register(&mut bench.places[at], &name, Purpose::Negotiation)?;
    if let Some(Registered::Negotiation(Some(known))) = bench.places[at].objectives.get(&name) {
        *known.lock() = policy;
    } else {
        let policy = Arc::new(Mutex::new(policy));
        start_listener(bench, at, &name, &policy);
        bench.places[at].objectives.insert(name, Registered::Negotiation(Some(policy)));
    }
    bench.printer.say(doing);
    Ok(())
}

/// What a listener needs in its own thread.
struct Listener {
    engine: Engine,
    nonce: AsaNonce,
    node: Node,
    name: String,
    policy: Arc<Mutex<Policy>>,
    printer: Arc<super::Printer>,
    over: crossbeam_channel::Receiver<()>,
}

fn start_listener(bench: &mut Bench, at: usize, name: &str, policy: &Arc<Mutex<Policy>>) {
    let place = &mut bench.places[at];
    let engine = place.asa.engine().clone();
    let listener = Arc::new(Listener {
        engine: engine.clone(),
        nonce: place.asa.nonce(),
        node: place.node.clone(),
        name: name.to_owned(),
        policy: Arc::clone(policy),
        printer: Arc::clone(&bench.printer),
        over: bench.over.clone(),
    });
    place.threads.retain(|thread| !thread.is_finished());
    let thread = place.node.spawn(&format!("{} listens", place.node.name()), move || listener.run());
    place.threads.push(thread);
    // The next command may already be a discovery that is to find it.
    noticed(|| is_listening(&engine, name) || place.threads.last().is_none_or(|t| t.is_finished()));
}

/// Only the dump tells whether a thread listens.
fn is_listening(engine: &Engine, name: &str) -> bool {
    let start = format!("{name} ASA: ");
    engine.dump(true).lines().any(|line| line.starts_with(&start) && !line.contains(" Listen: 0 "))
}

impl Listener {
    fn run(self: Arc<Self>) {
        let mut answering: Vec<std::thread::JoinHandle<()>> = Vec::new();
        let mine = objective(&self.name, Purpose::Negotiation);
        loop {
            match self.engine.listen_negotiate(self.nonce, &mine) {
                Ok((session, asked)) => {
                    answering.retain(|thread| !thread.is_finished());
                    let listener = Arc::clone(&self);
                    let body = move || listener.answer(session, asked);
                    answering.push(self.node.spawn(&format!("{} answers", self.node.name()), body));
                }
                // Unregistered, or the lab ends.
                Err(Error::NoSession | Error::Stopped) => break,
                Err(error) => {
                    self.say(format_args!("listens no more: {}", error_text(&error)));
                    break;
                }
            }
        }
        for thread in answering {
            if thread.join().is_err() {
                self.say("a thread that answered panicked");
            }
        }
    }

    fn answer(&self, session: SessionNonce, asked: Objective) {
        self.say(format_args!("is asked for {} (loop count {})", asked.value, asked.loop_count));
        let side = Side {
            engine: &self.engine,
            nonce: self.nonce,
            say: &|text| self.say(text),
            over: &self.over,
            policy: self.policy.lock().clone(),
        };
        if let Err(error) = side.negotiate(session, None, asked) {
            self.say(format_args!("the negotiation ends: {}", error_text(&error)));
        }
    }

    fn say(&self, text: impl std::fmt::Display) {
        self.printer.say(format_args!("{}: {}: {text}", self.node.name(), self.name));
    }
}

/// `listen-synch NAME VALUE`
pub(crate) fn listen_synch(bench: &mut Bench, at: usize, args: &[&str]) -> Result<(), Failure> {
    let [name, value] = args else { return Err(Failure::Usage) };
    let (name, value) = (words::name(name)?, words::value(value)?);
    let place = &mut bench.places[at];
    register(place, &name, Purpose::Synchronization)?;
    let mut serving = objective(&name, Purpose::Synchronization);
    serving.value = value;
    place.run(|engine, nonce| engine.listen_synchronize(nonce, &serving))?;
    let here = place.node.name();
    bench.printer.say(format_args!("{here}: {name}: serves {}", serving.value));
    place.objectives.insert(name, Registered::Synchronization(true));
    Ok(())
}

/// `unregister NAME`
pub(crate) fn unregister(bench: &mut Bench, at: usize, args: &[&str]) -> Result<(), Failure> {
    let [name] = args else { return Err(Failure::Usage) };
    let name = words::name(name)?;
    let place = &mut bench.places[at];
    // Which purpose does not matter for this.
    place.run(|engine, nonce| engine.deregister_obj(nonce, &Objective::new(&name)))?;
    place.objectives.remove(&name);
    bench.printer.say(format_args!("{}: {name}: unregistered", place.node.name()));
    Ok(())
}
