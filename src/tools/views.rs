//! Verbs that show what the node holds: status, asas, objectives, peers, sessions, stats, floods.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Value as Json, json};

use super::command::{Floods, Stats, Watched};
use super::failure::{Failure, Outcome};
use super::output::{Table, locator_json, validity};
use super::plain;
use super::run::Run;
use super::shown::{Form, is_nothing, is_wanted, merge, objective_json, place, sourced_json};
use crate::clock::monotonic_ms;
use crate::engine::Engine;
use crate::trace::SessionKind;
use crate::types::{FloodView, Locator, ObjectiveView};

/// A table for people, and the same as JSON objects.
type View = (Table, Vec<Json>);

/// Shows a view once, or again whenever it changes.
pub(super) fn show(
    run: &mut Run<'_>,
    watched: &Watched,
    empty: &str,
    view: impl Fn(&Engine) -> Result<View, Failure>,
) -> Outcome {
    let trace = watched.watch.then(|| run.engine.trace());
    let deadline = run.deadline();
    let mut before = None;
    loop {
        run.check_node()?;
        let shown = view(&run.engine)?;
        let is_empty = shown.0.is_empty();
        let Some(trace) = &trace else {
            return if is_empty { Err(Failure::nothing(empty)) } else { run.show(&shown) };
        };
        // The remaining times change all the time: that is not a change of the view.
        let now: Vec<_> = shown.1.iter().map(without_times).collect();
        if before.as_ref() != Some(&now) {
            if is_empty && !run.options.json {
                run.say(empty)?;
            }
            if !is_empty {
                run.show(&shown)?;
            }
            if !run.options.json {
                run.say("")?;
            }
            before = Some(now);
        }
        if !run.wait(trace, deadline, |_| true) {
            return Ok(());
        }
    }
}

fn without_times(object: &Json) -> Json {
    match object {
        Json::Object(members) => {
            let kept = members.iter().filter(|(name, _)| *name != "valid_ms");
            Json::Object(kept.map(|(name, value)| (name.clone(), without_times(value))).collect())
        }
        Json::Array(items) => items.iter().map(without_times).collect(),
        other => other.clone(),
    }
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

/// `grasp status`
pub(super) fn status(engine: &Engine) -> View {
    let (state, stats) = (engine.state(), engine.stats());
    let links: Vec<_> = engine.links().into_iter().zip(engine.link_names()).collect();
    let (asas, objectives, floods) = (engine.asas(), engine.objectives(), engine.flood_cache());
    let security = match (state.dull, state.secure, state.sealed, state.trusting) {
        (true, ..) => "none: a DULL instance".to_owned(),
        (_, false, ..) => "none: there is no secure substrate, and nothing is sent".to_owned(),
        (_, _, true, _) => "encrypted (QUADS)".to_owned(),
        (.., Some(why)) => why.to_owned(),
        _ => "secure substrate".to_owned(),
    };
    let address = engine.my_address().map(|address| address.to_string());
    let missing = engine.missing_interfaces();
    let mut table = Table::unnamed();
    let mut line = |name: &str, value: String| table.row([name.to_owned(), value]);
    line("address", address.clone().unwrap_or_else(|| "none of more than link scope".to_owned()));
    for ((ifi, address), name) in &links {
        line("interface", format!("{} {address} (index {ifi})", plain(name)));
    }
    for name in &missing {
        line("interface", format!("{} is configured and does not exist", plain(name)));
    }
    line("security", security.clone());
    line("relays", yes(state.relaying));
    line("largest message", format!("{} bytes, multicast {}", state.unicast_size, state.multicast_size));
    line("ASAs", asas.len().to_string());
    line("objectives", objectives.len().to_string());
    line("floods", floods.len().to_string());
    line("sessions", engine.open_sessions().to_string());
    line(
        "multicasts",
        format!("{} received, {} malformed", stats.multicast_received, stats.dropped_malformed),
    );
    line("library", env!("CARGO_PKG_VERSION").to_owned());
    let object = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "address": address,
        "interfaces": links.iter().map(|((ifi, address), name)| {
            json!({ "name": name, "index": ifi, "address": address.to_string() })
        }).collect::<Vec<_>>(),
        "missing_interfaces": missing,
        "security": security,
        "secure": state.secure,
        "sealed": state.sealed,
        "dull": state.dull,
        "relaying": state.relaying,
        "unicast_size": state.unicast_size,
        "multicast_size": state.multicast_size,
        "asas": asas.len(),
        "objectives": objectives.len(),
        "floods": floods.len(),
        "sessions": engine.open_sessions(),
        "multicast_received": stats.multicast_received,
        "dropped_malformed": stats.dropped_malformed,
    });
    (table, vec![object])
}

/// `grasp asas`
pub(super) fn asas(engine: &Engine) -> View {
    let objectives = engine.objectives();
    let mut table = Table::new(&["ASA", "HANDLE", "OBJECTIVES"]);
    let mut objects = Vec::new();
    for asa in engine.asas() {
        let owned = objectives.iter().filter(|view| view.owners.contains(&asa.nonce));
        let names: Vec<_> = owned.map(|view| view.objective.name.clone()).collect();
        let listed = names.iter().map(|name| plain(name)).collect::<Vec<_>>().join(", ");
        table.row([plain(&asa.name), asa.nonce.to_string(), listed]);
        objects.push(json!({ "asa": asa.name, "handle": asa.nonce.id(), "objectives": names }));
    }
    (table, objects)
}

/// `grasp objectives`
pub(super) fn objectives(engine: &Engine) -> View {
    let names: BTreeMap<_, _> = engine.asas().into_iter().map(|asa| (asa.nonce, asa.name)).collect();
    let mut table = Table::new(&["OBJECTIVE", "KIND", "PORT", "LISTENS", "ASA", "VALUE"]);
    let mut objects = Vec::new();
    for view in engine.objectives() {
        let ObjectiveView { objective, owners, listening, port, discoverable, local, ttl, locators, .. } =
            &view;
        let owners: Vec<_> = owners.iter().filter_map(|owner| names.get(owner).cloned()).collect();
        let kind = match (objective.neg, objective.dry, objective.synch) {
            (true, true, _) => "negotiation, dry",
            (true, ..) => "negotiation",
            (.., true) => "synchronization",
            _ => "discovery",
        };
        let value = if is_nothing(&objective.value) { String::new() } else { objective.value.to_string() };
        table.row([
            plain(&objective.name),
            kind.to_owned(),
            if *port == 0 { "-".to_owned() } else { port.to_string() },
            listening.to_string(),
            owners.iter().map(|name| plain(name)).collect::<Vec<_>>().join(", "),
            value,
        ]);
        let mut object = objective_json(objective);
        merge(
            &mut object,
            json!({
                "asas": owners, "listening": listening, "port": port, "discoverable": discoverable,
                "local": local, "ttl_ms": ttl, "locators": locators.iter().map(locator_json).collect::<Vec<_>>(),
            }),
        );
        objects.push(object);
    }
    (table, objects)
}

/// `grasp peers`: every node whose address is known, and by what it is known.
pub(super) fn peers(engine: &Engine) -> View {
    let interfaces: BTreeMap<_, _> =
        engine.links().into_iter().map(|(ifi, _)| ifi).zip(engine.link_names()).collect();
    let mut peers: BTreeMap<(IpAddr, Option<u32>), BTreeSet<String>> = BTreeMap::new();
    let mut known = |address: IpAddr, ifi: Option<u32>, why: String| {
        let is_near = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
        peers.entry((address.to_canonical(), ifi.filter(|_| is_near))).or_default().insert(why);
    };
    for FloodView { tagged, from } in engine.flood_cache() {
        let name = plain(&tagged.objective.name);
        if let Some((ifi, address)) = from {
            known(address.into(), Some(ifi), format!("flood {name}"));
        }
    }
    for view in engine.discovery_cache() {
        for locator in view.locators.iter().filter(|locator| locator.is_valid_at(monotonic_ms())) {
            let address = match locator.locator {
                Some(Locator::Ipv6(address)) => address.into(),
                Some(Locator::Ipv4(address)) => address.into(),
                _ => continue,
            };
            known(address, locator.ifi, format!("offers {}", plain(&view.name)));
        }
    }
    for session in engine.sessions().into_iter().filter(|session| session.kind == SessionKind::Exchange) {
        if let Some(peer) = session.peer {
            known(peer.into(), None, format!("session {}", plain(&session.objective)));
        }
    }
    let mut table = Table::new(&["PEER", "INTERFACE", "KNOWN BY"]);
    let mut objects = Vec::new();
    for ((address, ifi), why) in peers {
        let name = ifi.and_then(|ifi| interfaces.get(&ifi).cloned());
        let why: Vec<_> = why.into_iter().collect();
        table.row([
            address.to_string(),
            name.as_deref().map_or_else(|| "-".to_owned(), plain),
            why.join(", "),
        ]);
        objects.push(
            json!({ "address": address.to_string(), "interface": name, "index": ifi, "known_by": why }),
        );
    }
    (table, objects)
}

/// `grasp sessions`
pub(super) fn sessions(engine: &Engine) -> View {
    let names: BTreeMap<_, _> = engine.asas().into_iter().map(|asa| (asa.nonce, asa.name)).collect();
    let mut table = Table::new(&["SESSION", "KIND", "OBJECTIVE", "PEER", "OPENED BY", "ASA"]);
    let mut objects = Vec::new();
    for view in engine.sessions() {
        let kind = match view.kind {
            SessionKind::Discovery => "discovery",
            SessionKind::RelayedDiscovery => "relayed discovery",
            SessionKind::Exchange => "exchange",
        };
        let peer = view.peer.map(|peer| peer.to_canonical().to_string());
        let by = view.session.id_source.map(|source| source.to_canonical().to_string());
        let owner = view.owner.and_then(|owner| names.get(&owner).cloned());
        table.row([
            view.session.id_value.to_string(),
            kind.to_owned(),
            plain(&view.objective),
            peer.clone().unwrap_or_else(|| "-".to_owned()),
            by.clone().unwrap_or_else(|| "this node".to_owned()),
            owner.as_deref().map_or_else(|| "-".to_owned(), plain),
        ]);
        objects.push(json!({
            "session": view.session.id_value, "kind": kind, "objective": view.objective,
            "peer": peer, "opened_by": by, "asa": owner,
        }));
    }
    (table, objects)
}

/// `grasp stats`: with `--json` one object with the counters as members.
pub(super) fn stats(engine: &Engine, wanted: &Stats) -> View {
    let counters = engine.stats().named();
    let text = wanted.text.as_deref().unwrap_or_default();
    let shown: Vec<_> = counters
        .into_iter()
        .filter(|(name, count)| name.contains(text) && (wanted.all || *count > 0))
        .collect();
    let mut table = Table::new(&["COUNTER", "COUNT"]);
    shown.iter().for_each(|(name, count)| table.row([(*name).to_owned(), count.to_string()]));
    let object: serde_json::Map<_, _> =
        shown.iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
    (table, vec![Json::Object(object)])
}

/// The valid floods in the cache, with names that are wanted.
pub(super) fn valid_floods(engine: &Engine, wanted: &[String]) -> Vec<FloodView> {
    let now = monotonic_ms();
    let mut floods = engine.flood_cache();
    floods
        .retain(|view| view.tagged.source.is_valid_at(now) && is_wanted(&view.tagged.objective.name, wanted));
    floods.sort_by(|one, other| one.tagged.objective.name.cmp(&other.tagged.objective.name));
    floods
}

/// A flooded value as an object.
pub(super) fn flood_json(view: &FloodView) -> Json {
    let mut object = sourced_json(&view.tagged.objective, Some(&view.tagged.source));
    let from = view.from.map(|(ifi, address)| json!({ "interface": ifi, "address": address.to_string() }));
    merge(&mut object, json!({ "from": from }));
    object
}

/// `grasp floods`
pub(super) fn floods(run: &mut Run<'_>, verb: &Floods) -> Outcome {
    let wanted: Vec<_> = verb.name.iter().cloned().collect();
    let form = verb.shown.form.unwrap_or(Form::Diagnostic);
    let trace = run.engine.trace();
    let patience = run.patience();
    if !verb.watched.watch {
        while valid_floods(&run.engine, &wanted).is_empty() && run.wait(&trace, Some(patience), |_| true) {
            run.check_node()?;
        }
    }
    drop(trace);
    let empty =
        format!("no flood of {} has come", verb.name.as_deref().map_or_else(|| "anything".to_owned(), plain));
    show(run, &verb.watched, &empty, |engine| {
        let mut table = Table::new(&["OBJECTIVE", "VALUE", "AT", "VALID", "FROM"]);
        let mut objects = Vec::new();
        for view in valid_floods(engine, &wanted) {
            let (objective, source) = (&view.tagged.objective, &view.tagged.source);
            let from =
                view.from.map_or_else(|| "this node".to_owned(), |(ifi, address)| format!("{address}%{ifi}"));
            let value = form
                .line(objective)
                .or_else(|error| if wanted.is_empty() { Ok("?".to_owned()) } else { Err(error) })?;
            table.row([plain(&objective.name), value, place(source), validity(source.expire), from]);
            objects.push(flood_json(&view));
        }
        Ok((table, objects))
    })
}
