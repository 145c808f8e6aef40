//! The verbs of GRASP that ask and tell: discover, negotiate, flood, floods, sync, stats, dump.

use std::sync::Arc;
use std::time::{Duration, Instant};

use grasp::{AsaLocator, Discover, Negotiation, Objective, TaggedObjective, monotonic_ms};

use super::{
    bench::Bench,
    failure::Failure,
    listen::{Purpose, objective, register},
};
use grasp::tools::policy::{Policy, Side};
use grasp::tools::words;

/// `discover NAME [MS] [fresh]`
pub(crate) fn discover(bench: &mut Bench, at: usize, args: &[&str]) -> Result<(), Failure> {
    let (args, fresh) = match args {
        [args @ .., "fresh"] => (args, true),
        _ => (args, false),
    };
    let (name, timeout) = match args {
        [name] => (words::name(name)?, None),
        [name, time] => (words::name(name)?, Some(words::milliseconds(time)?)),
        _ => return Err(Failure::Usage),
    };
    // Neither flag is needed to ask who has it.
    let wanted = Objective { loop_count: bench.loop_count, ..Objective::new(&name) };
    let options = Discover { flush: fresh, ..Discover::default() };
    let started = Instant::now();
    let found = bench.call(at, move |engine, nonce| engine.discover(nonce, &wanted, timeout, options))??;
    let (here, took) = (bench.places[at].node.name(), started.elapsed().as_millis());
    for locator in &found {
        let way = if locator.diverted { ", learnt from a relay" } else { "" };
        let valid = validity(locator);
        bench
            .printer
            .say(format_args!("{here}: {name} is at {}{way}, {valid} ({took} ms)", bench.show(locator)));
    }
    if found.is_empty() {
        bench.printer.say(format_args!("{here}: {name}: nobody answers ({took} ms)"));
    }
    Ok(())
}

fn validity(locator: &AsaLocator) -> String {
    match locator.expire {
        0 => "valid for ever".to_owned(),
        until => format!("valid for {} s", until.saturating_sub(monotonic_ms()) / 1000),
    }
}

/// `negotiate NAME VALUE [POLICY]`
pub(crate) fn negotiate(bench: &mut Bench, at: usize, args: &[&str]) -> Result<(), Failure> {
    let [name, value, policy @ ..] = args else { return Err(Failure::Usage) };
    let (name, value, policy) = (words::name(name)?, words::value(value)?, Policy::parse(policy)?);
    register(&mut bench.places[at], &name, Purpose::Negotiation)?;
    let place = &bench.places[at];
    let asked = objective(&name, Purpose::Negotiation);
    let wanted = Objective { value: value.clone(), loop_count: bench.loop_count, ..asked };
    let who = format!("{}: {name}", place.node.name());
    let (printer, over) = (Arc::clone(&bench.printer), bench.over.clone());
    printer.say(format_args!("{who}: asks for {value} (loop count {})", wanted.loop_count));
    bench.call(at, move |engine, nonce| match engine.req_negotiate(nonce, &wanted, None, None)? {
        Negotiation::Agreed(agreed) => {
            printer.say(format_args!("{who}: agreed on {}", agreed.value));
            Ok(())
        }
        Negotiation::Offer(session, offer) => {
            printer.say(format_args!("{who}: is offered {} (loop count {})", offer.value, offer.loop_count));
            let say = |text| printer.say(format_args!("{who}: {text}"));
            Side { engine, nonce, say: &say, over: &over, policy }
                .negotiate(session, Some(value), offer)
                .map(drop)
        }
    })??;
    Ok(())
}

/// `sync NAME [MS]`
pub(crate) fn sync(bench: &mut Bench, at: usize, args: &[&str]) -> Result<(), Failure> {
    let (name, timeout) = match args {
        [name] => (words::name(name)?, None),
        [name, time] => (words::name(name)?, Some(words::milliseconds(time)?)),
        _ => return Err(Failure::Usage),
    };
    let loop_count = bench.loop_count;
    let wanted = Objective { loop_count, ..objective(&name, Purpose::Synchronization) };
    let got = bench.call(at, move |engine, nonce| engine.synchronize(nonce, &wanted, None, timeout))??;
    bench.printer.say(format_args!("{}: {name} = {}", bench.places[at].node.name(), got.value));
    Ok(())
}

/// `flood NAME VALUE [MS]`
pub(crate) fn flood(bench: &mut Bench, at: usize, args: &[&str]) -> Result<(), Failure> {
    let (name, value, ttl) = match args {
        [name, value] => (words::name(name)?, words::value(value)?, 0),
        [name, value, ttl] => (words::name(name)?, words::value(value)?, words::milliseconds(ttl)?),
        _ => return Err(Failure::Usage),
    };
    let place = &mut bench.places[at];
    register(place, &name, Purpose::Synchronization)?;
    let loop_count = bench.loop_count;
    let told = Objective { value, loop_count, ..objective(&name, Purpose::Synchronization) };
    let tagged = [TaggedObjective::new(told, None)];
    place.run(|engine, nonce| engine.flood(nonce, ttl, &tagged))?;
    let (here, value) = (place.node.name(), &tagged[0].objective.value);
    let valid = if ttl == 0 { "valid for ever".to_owned() } else { format!("valid for {ttl} ms") };
    bench.printer.say(format_args!("{here}: {name}: floods {value}, {valid}"));
    bench.flooded.insert(name);
    Ok(())
}

/// `floods [NAME [MS]]`
pub(crate) fn floods(bench: &mut Bench, at: usize, args: &[&str]) -> Result<(), Failure> {
    let (names, patience) = match args {
        [] => (bench.flooded.iter().cloned().collect(), 0),
        [name] => (vec![words::name(name)?], 0),
        [name, time] => (vec![words::name(name)?], words::milliseconds(time)?),
        _ => return Err(Failure::Usage),
    };
    let place = &bench.places[at];
    let here = place.node.name();
    let until = Instant::now() + Duration::from_millis(patience.into());
    let mut any = false;
    for name in &names {
        let wanted = objective(name, Purpose::Synchronization);
        let cached = loop {
            let cached = place.asa.engine().get_flood(place.asa.nonce(), &wanted)?;
            if !cached.is_empty() || Instant::now() >= until {
                break cached;
            }
            bench.pause(Duration::from_millis(5))?;
        };
        for TaggedObjective { objective, source } in &cached {
            let valid = validity(source);
            let from = match source.locator {
                Some(_) => format!(" from {}", bench.show(source)),
                None => String::new(),
            };
            bench.printer.say(format_args!("{here}: {name} = {}{from}, flooded, {valid}", objective.value));
            any = true;
        }
    }
    if !any {
        let what = names.first().filter(|_| names.len() == 1).map_or("anything", String::as_str);
        bench.printer.say(format_args!("{here}: no flood of {what} has come"));
    }
    Ok(())
}

/// `loop-count [N]`
pub(crate) fn loop_count(bench: &mut Bench, _: usize, args: &[&str]) -> Result<(), Failure> {
    match args {
        [] => {}
        [count] => {
            let parsed = count.parse().ok().filter(|count| *count > 0);
            bench.loop_count = parsed.ok_or_else(|| format!("{count} is no loop count: 1 to 255"))?;
        }
        _ => return Err(Failure::Usage),
    }
    bench.printer.say(format_args!("what is sent has a loop count of {}", bench.loop_count));
    Ok(())
}

/// `stats [NODE]`
pub(crate) fn stats(bench: &mut Bench, at: usize, args: &[&str]) -> Result<(), Failure> {
    let at = match args {
        [] => at,
        [node] => bench.place(node)?,
        _ => return Err(Failure::Usage),
    };
    let place = &bench.places[at];
    let here = place.node.name();
    let counts = place.asa.engine().stats().named();
    for (name, count) in counts.iter().filter(|(_, count)| *count > 0) {
        bench.printer.say(format_args!("{here}: {name} {count}"));
    }
    if counts.iter().all(|(_, count)| *count == 0) {
        bench.printer.say(format_args!("{here}: all counters are 0"));
    }
    Ok(())
}

/// `dump`
pub(crate) fn dump(bench: &mut Bench, at: usize, args: &[&str]) -> Result<(), Failure> {
    if !args.is_empty() {
        return Err(Failure::Usage);
    }
    bench.printer.say(bench.places[at].asa.engine().dump(false).trim());
    Ok(())
}
