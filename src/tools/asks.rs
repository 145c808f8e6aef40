//! Verbs that ask the network: discover, browse, get, negotiate.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Instant;

use crossbeam_channel::bounded;
use serde_json::json;

use super::command::{Browse, Discover, Get, Negotiate};
use super::failure::{Failure, Outcome, Status};
use super::output::{Table, locator_json, validity, write_atomically};
use super::plain;
use super::policy::{Concluded, Policy, Side};
use super::run::Run;
use super::shown::{Form, is_wanted, merge, objective_json, place, sourced_json};
use super::views::{flood_json, show, valid_floods};
use crate::api::{self, Negotiation, RegisterObj, Source};
use crate::clock::monotonic_ms;
use crate::objectives::Known;
use crate::types::{FloodView, Objective};

/// `grasp discover`
pub(super) fn discover(run: &mut Run<'_>, verb: &Discover) -> Outcome {
    let name = &verb.named.name;
    let mut wanted = Objective::new(name);
    wanted.loop_count = verb.loop_count.unwrap_or(wanted.loop_count);
    let options =
        api::Discover { flush: verb.fresh, enough: (!verb.all).then_some(1), ..api::Discover::default() };
    let timeout = run.options.timeout;
    let started = Instant::now();
    let asa = run.asa()?;
    let found = asa.engine().discover(asa.nonce(), &wanted, timeout, options)?;
    if found.is_empty() {
        let took = started.elapsed().as_millis();
        return Err(Failure::nothing(format!("{}: nobody answers ({took} ms)", plain(name))));
    }
    let mut table = Table::new(&["OBJECTIVE", "AT", "VALID", "LEARNT"]);
    let mut objects = Vec::new();
    for locator in &found {
        let way = if locator.diverted { "from a relay" } else { "itself" };
        table.row([plain(name), locator.to_string(), validity(locator.expire), way.to_owned()]);
        let mut object = json!({ "objective": name });
        merge(&mut object, locator_json(locator));
        objects.push(object);
    }
    run.show(&(table, objects))
}

/// `grasp browse`: what there is, by name. Names without a star are discovered, too.
pub(super) fn browse(run: &mut Run<'_>, verb: &Browse) -> Outcome {
    let exact: BTreeSet<_> = verb.names.iter().filter(|name| !name.ends_with('*')).cloned().collect();
    let timeout = run.options.timeout;
    for name in &exact {
        let options = api::Discover { enough: Some(1), ..api::Discover::default() };
        let asa = run.asa()?;
        asa.engine().discover(asa.nonce(), &Objective::new(name), timeout, options)?;
    }
    let trace = run.engine.trace();
    let patience = run.patience();
    while exact.is_empty()
        && !verb.watched.watch
        && valid_floods(&run.engine, &verb.names).is_empty()
        && run.wait(&trace, Some(patience), |_| true)
    {
        run.check_node()?;
    }
    drop(trace);
    let form = verb.shown.form.unwrap_or(Form::Words);
    show(run, &verb.watched, "nothing is known: nothing was flooded, and nothing was discovered", |engine| {
        let mut rows = Vec::new();
        for view in valid_floods(engine, &verb.names) {
            let FloodView { tagged, .. } = &view;
            // A value of another kind than the requested one must not hide the others.
            let value =
                form.line(&tagged.objective).unwrap_or_else(|_| format!("? {}", tagged.objective.value));
            let cells = [plain(&tagged.objective.name), "flood".to_owned(), place(&tagged.source), value];
            let mut object = flood_json(&view);
            merge(&mut object, json!({ "by": "flood" }));
            rows.push((cells, object));
        }
        for view in engine.discovery_cache().into_iter().filter(|view| is_wanted(&view.name, &verb.names)) {
            for locator in view.locators.iter().filter(|locator| locator.is_valid_at(monotonic_ms())) {
                let cells = [plain(&view.name), "discovery".to_owned(), place(locator), String::new()];
                let object =
                    json!({ "objective": view.name, "by": "discovery", "source": locator_json(locator) });
                rows.push((cells, object));
            }
        }
        rows.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut table = Table::new(&["OBJECTIVE", "BY", "AT", "VALUE"]);
        let mut objects = Vec::new();
        for (cells, object) in rows {
            table.row(cells);
            objects.push(object);
        }
        Ok((table, objects))
    })
}

/// `grasp get`
pub(super) fn get(run: &mut Run<'_>, verb: &Get) -> Outcome {
    let name = &verb.named.name;
    let wanted = Objective { synch: true, ..Objective::new(name) };
    let timeout = run.options.timeout;
    let asa = run.asa()?;
    let got = asa
        .synchronize(&wanted, verb.from.as_ref(), timeout)
        .map_err(|error| Failure::from(error).about(plain(name)))?;
    let form = verb.shown.form.unwrap_or(Form::Diagnostic);
    if let Some(path) = &verb.write {
        let contents = form.bytes(&got.objective)?;
        write_atomically(path, &contents)
            .map_err(|error| Failure::usage(format!("{} cannot be written: {error}", path.display())))?;
    }
    if run.options.json {
        let (mut object, peer) = match &got.source {
            Source::Flooded(source) => (sourced_json(&got.objective, Some(source)), None),
            Source::Peer(peer) => (sourced_json(&got.objective, peer.locator.as_ref()), peer.address),
        };
        let by = if matches!(got.source, Source::Flooded(_)) { "flood" } else { "peer" };
        merge(&mut object, json!({ "by": by, "peer": peer.map(|peer| peer.to_string()) }));
        return run.json(&object);
    }
    if verb.write.is_some() {
        return Ok(());
    }
    match form {
        Form::Cbor => {
            run.out.write_all(&form.bytes(&got.objective)?)?;
            Ok(run.out.flush()?)
        }
        form => run.say(form.line(&got.objective)?),
    }
}

/// `grasp negotiate`
pub(super) fn negotiate(run: &mut Run<'_>, verb: &Negotiate) -> Outcome {
    let policy = policy(&verb.answers.answer)?;
    let name = &verb.named.name;
    let mut asked = Objective { neg: true, dry: verb.dry, value: verb.value.clone(), ..Objective::new(name) };
    asked.loop_count = verb.loop_count.unwrap_or(asked.loop_count);
    let about = |error: crate::Error| Failure::from(error).about(plain(name));
    let (json, timeout) = (run.options.json, run.options.timeout);
    let asa = run.asa()?;
    let (engine, nonce) = (asa.engine().clone(), asa.nonce());
    // Other ASAs of this node may have registered it, too.
    let options = RegisterObj { overlap: true, ..RegisterObj::default() };
    engine.register_obj(nonce, &Objective { dry: true, ..asked.clone() }, options).map_err(about)?;
    let concluded = match engine.req_negotiate(nonce, &asked, verb.with.as_ref(), timeout).map_err(about)? {
        Negotiation::Agreed(agreed) => Concluded::Agreed(agreed.value),
        Negotiation::Offer(session, offer) => {
            let out = RefCell::new(&mut *run.out);
            let say = |text: String| {
                if !json {
                    // If nobody reads the output any more, the negotiation continues to its end nevertheless.
                    let _ = writeln!(out.borrow_mut(), "{text}");
                }
            };
            say(format!("is offered {} (loop count {})", offer.value, offer.loop_count));
            let (_going_on, over) = bounded(0);
            let side = Side { engine: &engine, nonce, say: &say, over: &over, policy };
            side.negotiate(session, Some(asked.value.clone()), offer).map_err(about)?
        }
    };
    match concluded {
        Concluded::Agreed(value) if json => {
            let mut object = objective_json(&Objective { value, ..asked });
            merge(&mut object, json!({ "outcome": "agreed" }));
            run.json(&object)
        }
        Concluded::Agreed(value) => run.say(format_args!("{} = {value}", plain(name))),
        Concluded::Declined => {
            Err(Failure::new(Status::Refused, format!("{}: no agreement: declined here", plain(name))))
        }
    }
}

/// How offers are answered, from the words of the command line.
pub(super) fn policy(words: &[String]) -> Result<Policy, Failure> {
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    Ok(Policy::parse(&words)?)
}

/// A well-known objective as its definition has it; another one as an objective that can be synchronized.
pub(super) fn known_or_new(name: &str) -> (Objective, Option<Known>) {
    match Known::of(name) {
        Some(known) => (known.objective(name), Some(known)),
        None => (Objective { synch: true, ..Objective::new(name) }, None),
    }
}
