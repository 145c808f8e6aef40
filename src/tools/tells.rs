//! Verbs that tell the network: flood, publish, listen.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use serde_json::json;

use super::asks::{known_or_new, policy};
use super::command::{Flood, Listen, Publish, Told};
use super::failure::{Failure, Outcome, Status};
use super::output::json_line;
use super::plain;
use super::policy::{Concluded, Side};
use super::run::{LOOK, Run};
use super::shown::{merge, objective_json, sourced_json};
use crate::api::{Flooding, Port, RegisterObj, Session};
use crate::interruptible;
use crate::objectives::{self, Hops, Known, Severity};
use crate::types::{AsaLocator, Objective, Protocol, TaggedObjective, Value};

/// How often `publish` floods, in milliseconds, and for how many intervals a flood is valid, if no definition says so.
const EVERY: u32 = 60_000;
const INTERVALS: u32 = 3;

/// What is told, and how long it is valid.
struct Telling {
    tagged: TaggedObjective,
    ttl: u32,
    every: Option<u32>,
    local: bool,
}

/// Combines the command line with the definition of the objective. Refuses what does not agree with the definition.
fn telling(
    run: &Run<'_>,
    name: &str,
    value: Option<&Value>,
    every: Option<u32>,
    told: &Told,
) -> Result<Telling, Failure> {
    let (mut objective, known) = known_or_new(name);
    objective.loop_count = told.loop_count.unwrap_or(objective.loop_count);
    objective.value = match (value, known) {
        (Some(value), _) => value.clone(),
        (None, Some(Known::JoinRegistrar)) => Value::from(objectives::EST_TLS),
        (None, Some(Known::Proxy)) => Value::from(""),
        (None, Some(Known::Service)) => Value::Null,
        (None, _) => return Err(Failure::usage(format!("{}: a value is missing", plain(name)))),
    };
    let is_local = known.is_some_and(Known::stays_on_the_link);
    let protocol = match told.protocol.as_str() {
        "udp" => Protocol::Udp,
        "ipv6" => Protocol::Ipv6,
        _ => Protocol::Tcp,
    };
    let source = match (&told.at, told.port) {
        (Some(at), _) => Some(at.clone().with_protocol(protocol)),
        (None, Some(port)) => Some(own_locator(run, is_local)?.with_port(port).with_protocol(protocol)),
        (None, None) => None,
    };
    let times = known.and_then(Known::times);
    let ttl = told
        .ttl
        .or_else(|| times.map(|(_, ttl)| ttl))
        .unwrap_or_else(|| every.unwrap_or(EVERY).saturating_mul(INTERVALS));
    let tagged = TaggedObjective::new(objective, source);
    let mut findings = objectives::check(&tagged, Hops::None);
    findings.retain(|finding| finding.severity == Severity::Wrong);
    if let (Some(finding), false) = (findings.first(), told.anyway) {
        return Err(Failure::usage(format!("{finding}; use --anyway to do it nevertheless")));
    }
    Ok(Telling { tagged, ttl, every: every.or_else(|| times.map(|(every, _)| every)), local: is_local })
}

/// This node's address, of the scope that the objective needs.
fn own_locator(run: &Run<'_>, is_local: bool) -> Result<AsaLocator, Failure> {
    let links = run.engine.links();
    match (is_local, links.first(), run.engine.my_address()) {
        (true, Some((ifi, address)), _) if links.len() == 1 => Ok(AsaLocator::new(*address, Some(*ifi))),
        (true, ..) => Err(Failure::usage(
            "this node has several interfaces, or none: give the link-local address with --at, or one --interface",
        )),
        (false, _, Some(address)) => Ok(AsaLocator { locator: Some(address), ..AsaLocator::null() }),
        (false, ..) => Err(Failure::usage(
            "this node has no address of more than link scope: give one with --at, or give the node a ULA",
        )),
    }
}

/// Options for an objective that other ASAs of this node may have registered, too. It gets the port at which peers
/// remember it from an earlier run, which may have been killed.
fn offered() -> RegisterObj {
    RegisterObj { overlap: true, port: Port::Last, ..RegisterObj::default() }
}

/// Registers the objective.
fn register(run: &mut Run<'_>, telling: &Telling) -> Outcome {
    let options = RegisterObj { local: telling.local, ..offered() };
    let asa = run.asa()?;
    asa.engine().register_obj(asa.nonce(), &telling.tagged.objective, options)?;
    Ok(())
}

/// `grasp flood`
pub(super) fn flood(run: &mut Run<'_>, verb: &Flood) -> Outcome {
    let mut telling = telling(run, &verb.named.name, verb.value.as_ref(), verb.every, &verb.told)?;
    if verb.told.ttl.is_none() && verb.every.is_none() && Known::of(&verb.named.name).is_none() {
        // Flooded once, it is valid until another value is flooded.
        telling.ttl = 0;
    }
    register(run, &telling)?;
    let tagged = [telling.tagged.clone()];
    let ttl = telling.ttl;
    let asa = run.asa()?;
    let Some(every) = verb.every else {
        asa.engine().flood(asa.nonce(), ttl, &tagged)?;
        return announce(run, "floods", &telling, None);
    };
    outlasts(&telling, every)?;
    let flooding = asa.engine().flood_every(asa.nonce(), every, ttl, &tagged)?;
    announce(run, "floods", &telling, Some(every))?;
    stay(run, Some(flooding))
}

/// `grasp publish`
pub(super) fn publish(run: &mut Run<'_>, verb: &Publish) -> Outcome {
    let telling = telling(run, &verb.named.name, verb.value.as_ref(), verb.every, &verb.told)?;
    if telling.tagged.objective.neg {
        let name = plain(&verb.named.name);
        return Err(Failure::usage(format!("{name} is negotiated, not published: use grasp listen")));
    }
    register(run, &telling)?;
    let every = telling.every.unwrap_or(EVERY);
    outlasts(&telling, every)?;
    let tagged = [telling.tagged.clone()];
    let ttl = telling.ttl;
    let asa = run.asa()?;
    asa.engine().listen_synchronize(asa.nonce(), &telling.tagged.objective)?;
    let flooding = match every {
        0 => None,
        every => Some(asa.engine().flood_every(asa.nonce(), every, ttl, &tagged)?),
    };
    announce(run, "publishes", &telling, (every > 0).then_some(every))?;
    stay(run, flooding)
}

/// Refuses a value that readers would forget before it is flooded again.
fn outlasts(telling: &Telling, every: u32) -> Outcome {
    if telling.ttl > 0 && telling.ttl < every {
        let why = format!(
            "readers would forget the value in between: --ttl must be at least --every, and it is {} ms",
            telling.ttl
        );
        return Err(Failure::usage(why));
    }
    Ok(())
}

fn announce(run: &mut Run<'_>, does: &str, telling: &Telling, every: Option<u32>) -> Outcome {
    let TaggedObjective { objective, source } = &telling.tagged;
    if run.options.json {
        let mut object = sourced_json(objective, Some(source));
        merge(&mut object, json!({ "event": does, "every_ms": every, "ttl_ms": telling.ttl }));
        return run.json(&object);
    }
    let at = source.locator.as_ref().map(|_| format!(" at {source}")).unwrap_or_default();
    let every = every.map(|every| format!(" every {} s", f64::from(every) / 1000.0)).unwrap_or_default();
    let valid = match telling.ttl {
        0 => "for ever".to_owned(),
        ttl => format!("{} s", f64::from(ttl) / 1000.0),
    };
    run.say(format_args!("{does} {} = {}{at}{every}, valid {valid}", plain(&objective.name), objective.value))
}

/// Waits until the time is over, the node has gone, or flooding fails.
fn stay(run: &Run<'_>, flooding: Option<Flooding>) -> Outcome {
    let deadline = run.deadline();
    loop {
        run.check_node()?;
        if let Some(error) = flooding.as_ref().and_then(Flooding::error)
            && error != crate::Error::NoSecurity
        {
            return Err(error.into());
        }
        let left =
            deadline.map_or(LOOK, |deadline| deadline.saturating_duration_since(Instant::now()).min(LOOK));
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left);
    }
}

/// `grasp listen`
pub(super) fn listen(run: &mut Run<'_>, verb: &Listen) -> Outcome {
    let policy = policy(&verb.answers.answer)?;
    let name = &verb.named.name;
    let objective = Objective { neg: true, dry: verb.dry, ..Objective::new(name) };
    let deadline = run.deadline();
    let json = run.options.json;
    let asa = run.asa()?;
    let (engine, nonce) = (asa.engine().clone(), asa.nonce());
    engine.register_obj(nonce, &objective, offered())?;
    if !json {
        run.say(format_args!("listens for {}, {policy}", plain(name)))?;
    }
    let mut negotiations = 0;
    while verb.count.is_none_or(|count| negotiations < count) {
        let asa = run.asa()?;
        let Some(session) = next_session(asa, &objective, deadline)? else { break };
        negotiations += 1;
        let (peer, asked) = (session.peer().address, session.objective().clone());
        let out = RefCell::new(&mut *run.out);
        let say = |text: String| {
            if !json {
                // If nobody reads the output any more, the peer gets its answer nevertheless.
                let _ = writeln!(out.borrow_mut(), "{text}");
            }
        };
        let who = peer.map_or_else(|| "a peer".to_owned(), |peer| peer.to_string());
        say(format!("{who} asks for {} (loop count {})", asked.value, asked.loop_count));
        let (_going_on, over) = bounded(0);
        let side = Side { engine: &engine, nonce, say: &say, over: &over, policy: policy.clone() };
        let concluded = side.negotiate(session.release(), None, asked.clone());
        if let Err(error) = &concluded {
            say(format!("the negotiation ends: {}", super::failure::sentence(error)));
        }
        if json {
            let (outcome, value) = match &concluded {
                Ok(Concluded::Agreed(value)) => ("agreed", value.clone()),
                Ok(Concluded::Declined) => ("declined", asked.value.clone()),
                Err(_) => ("failed", asked.value.clone()),
            };
            let mut object = objective_json(&Objective { value, ..asked });
            let error = concluded.as_ref().err().map(super::failure::sentence);
            merge(&mut object, json!({ "outcome": outcome, "error": error, "peer": who }));
            json_line(&object, run.out)?;
        }
        run.out.flush()?;
    }
    if negotiations > 0 || verb.count.is_none() {
        return Ok(());
    }
    Err(Failure::new(Status::TimedOut, format!("{}: nobody asked", plain(name))))
}

/// The next request; `None` once the deadline has passed.
fn next_session(
    asa: &crate::Asa,
    objective: &Objective,
    deadline: Option<Instant>,
) -> Result<Option<Session>, Failure> {
    let Some(deadline) = deadline else { return Ok(Some(asa.accept(objective)?)) };
    let is_over = move || Instant::now() >= deadline;
    match interruptible(Duration::from_millis(50), is_over, || asa.accept(objective)) {
        Ok(session) => Ok(Some(session)),
        Err(_) if is_over() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
