//! The verbs of the network: nodes, links, cut, unplug, heal, impair, link, unlink, address.

use std::{fmt::Write as _, net::Ipv6Addr, time::Duration};

use grasptests::lab::Node;

use super::{
    bench::{Bench, Cable, Impairment, Place, State, noticed},
    failure::Failure,
    listen::Registered,
};
use grasp::tools::words;

/// `nodes`
pub(crate) fn nodes(bench: &mut Bench, _: usize, args: &[&str]) -> Result<(), Failure> {
    if !args.is_empty() {
        return Err(Failure::Usage);
    }
    for place in &bench.places {
        let mut line = place.node.name().to_owned();
        for (interface, cable) in bench.interfaces(&place.node) {
            let addresses = place.node.addresses(&interface)?;
            let shown: Vec<_> = addresses.iter().map(|(address, _)| address.to_string()).collect();
            // Writing to a string does not fail.
            let _ = write!(line, "  {interface} (link {}) {}", cable.link.number(), shown.join(" "));
        }
        for (name, registered) in &place.objectives {
            let doing = match registered {
                Registered::Negotiation(Some(policy)) => format!("listens, {}", policy.lock()),
                Registered::Negotiation(None) => "asks".to_owned(),
                Registered::Synchronization(true) => "serves its value".to_owned(),
                Registered::Synchronization(false) => "floods".to_owned(),
            };
            let _ = write!(line, "  {name}: {doing}");
        }
        bench.printer.say(line);
    }
    Ok(())
}

/// `links`
pub(crate) fn links(bench: &mut Bench, _: usize, args: &[&str]) -> Result<(), Failure> {
    if !args.is_empty() {
        return Err(Failure::Usage);
    }
    for cable in &bench.cables {
        bench.printer.say(cable);
    }
    if bench.cables.is_empty() {
        bench.printer.say("there are no links");
    }
    Ok(())
}

impl std::fmt::Display for Cable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ends: Vec<_> =
            self.link.members().iter().map(|(node, end)| format!("{} {end}", node.name())).collect();
        write!(f, "link {}: {}", self.link.number(), ends.join(" -- "))?;
        if let Some(prefix) = self.link.prefix() {
            write!(f, "  {prefix}/64")?;
        }
        match self.state {
            State::Whole => {}
            State::Cut => f.write_str("  cut")?,
            State::Unplugged => f.write_str("  unplugged")?,
        }
        match self.impairment {
            Some(impairment) => write!(f, "  {impairment}"),
            None => Ok(()),
        }
    }
}

impl std::fmt::Display for Impairment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "delay {} ms, loss {} %", self.delay.as_millis(), self.loss_percent)
    }
}

/// `cut LINK`
pub(crate) fn cut(bench: &mut Bench, _: usize, args: &[&str]) -> Result<(), Failure> {
    set(bench, args, State::Cut)
}

/// `unplug LINK`
pub(crate) fn unplug(bench: &mut Bench, _: usize, args: &[&str]) -> Result<(), Failure> {
    set(bench, args, State::Unplugged)
}

/// `heal LINK`
pub(crate) fn heal(bench: &mut Bench, _: usize, args: &[&str]) -> Result<(), Failure> {
    set(bench, args, State::Whole)
}

fn set(bench: &mut Bench, args: &[&str], state: State) -> Result<(), Failure> {
    let [word] = args else { return Err(Failure::Usage) };
    let meant = bench.cables(word)?;
    for &index in &meant {
        let cable = &mut bench.cables[index];
        if cable.state == state {
            continue;
        }
        match state {
            State::Whole => cable.link.heal()?,
            State::Cut => cable.link.cut()?,
            State::Unplugged => cable.link.unplug()?,
        }
        cable.state = state;
    }
    bench.lab.route_all()?;
    if state == State::Whole {
        for &index in &meant {
            await_use(bench, &bench.cables[index]);
        }
    }
    for &index in &meant {
        let whole = if state == State::Whole { "  whole" } else { "" };
        bench.printer.say(format_args!("{}{whole}", bench.cables[index]));
    }
    Ok(())
}

/// Waits until the engines at all ends use the link.
fn await_use(bench: &Bench, cable: &Cable) {
    for (node, interface) in cable.link.members() {
        let (Some(place), Ok(index)) = (of(bench, &node), node.interface_index(&interface)) else { continue };
        if !noticed(|| place.uses(index)) {
            bench.printer.say(format_args!("{}: the engine has not noticed {interface} yet", node.name()));
        }
    }
}

fn of<'a>(bench: &'a Bench, node: &Node) -> Option<&'a Place> {
    bench.places.iter().find(|place| place.node == *node)
}

/// `impair LINK MS PERCENT`
pub(crate) fn impair(bench: &mut Bench, _: usize, args: &[&str]) -> Result<(), Failure> {
    let [word, delay, loss] = args else { return Err(Failure::Usage) };
    let delay = Duration::from_millis(words::milliseconds(delay)?.into());
    let loss_percent: f64 =
        loss.trim_end_matches('%').parse().map_err(|_| format!("{loss} is no percentage"))?;
    let impairment = Impairment { delay, loss_percent };
    let wanted = (!delay.is_zero() || loss_percent != 0.0).then_some(impairment);
    for index in bench.cables(word)? {
        let cable = &mut bench.cables[index];
        match wanted {
            Some(Impairment { delay, loss_percent }) => cable.link.set_impairment(delay, loss_percent)?,
            None => cable.link.clear_impairment()?,
        }
        cable.impairment = wanted;
        bench
            .printer
            .say(format_args!("{cable}{}", if wanted.is_none() { "  no delay, no loss" } else { "" }));
    }
    Ok(())
}

/// `link A B`
pub(crate) fn link(bench: &mut Bench, _: usize, args: &[&str]) -> Result<(), Failure> {
    let [a, b] = args else { return Err(Failure::Usage) };
    let (first, second) = (bench.place(a)?, bench.place(b)?);
    if first == second {
        return Err(Failure::Said(format!("{a} cannot be linked to itself")));
    }
    let link = bench.lab.link(&bench.places[first].node, &bench.places[second].node)?;
    bench.add_cable(link)?;
    bench.lab.route_all()?;
    if let Some(cable) = bench.cables.last() {
        await_use(bench, cable);
        bench.printer.say(cable);
    }
    Ok(())
}

/// `unlink LINK`
pub(crate) fn unlink(bench: &mut Bench, _: usize, args: &[&str]) -> Result<(), Failure> {
    let [word] = args else { return Err(Failure::Usage) };
    for index in bench.cables(word)?.into_iter().rev() {
        let shown = bench.cables[index].to_string();
        let members = bench.cables[index].link.members();
        let indices: Vec<_> = members
            .iter()
            .filter_map(|(node, interface)| Some((node.clone(), node.interface_index(interface).ok()?)))
            .collect();
        bench.cables[index].link.remove()?;
        bench.cables.remove(index);
        bench.lab.route_all()?;
        for (node, interface) in indices {
            let gone = of(bench, &node).is_none_or(|place| noticed(|| !place.uses(interface)));
            if !gone {
                bench.printer.say(format_args!("{}: the engine has not noticed it yet", node.name()));
            }
        }
        bench.printer.say(format_args!("{shown}  removed"));
    }
    Ok(())
}

/// `address NODE add|remove ADDR/LEN [INTERFACE]`
pub(crate) fn address(bench: &mut Bench, _: usize, args: &[&str]) -> Result<(), Failure> {
    let (node, doing, text, interface) = match args {
        [node, doing @ ("add" | "remove"), text] => (node, *doing, text, None),
        [node, doing @ ("add" | "remove"), text, interface] => (node, *doing, text, Some(*interface)),
        _ => return Err(Failure::Usage),
    };
    let place = &bench.places[bench.place(node)?];
    let (address, length) = parse_address(text)?;
    let has = |interface: &str| {
        let addresses = place.node.addresses(interface).unwrap_or_default();
        addresses.contains(&(address, length))
    };
    let mut interfaces = bench.interfaces(&place.node).map(|(interface, _)| interface);
    let interface = match (interface, doing) {
        (Some(named), _) => Some(named.to_owned()),
        (None, "remove") => interfaces.find(|interface| has(interface)),
        (None, _) => interfaces.next(),
    };
    let interface = interface.ok_or_else(|| match doing {
        "remove" => format!("{node} has no address {address}/{length}"),
        _ => format!("{node} has no interface: link it first"),
    })?;
    let engine = place.asa.engine();
    let before = engine.my_address();
    if doing == "add" {
        place.node.add_address(&interface, address, length)?;
        // A node without one takes it at once; otherwise the first stays.
        noticed(|| before.is_some() || address.is_unicast_link_local() || engine.my_address().is_some());
    } else {
        place.node.remove_address(&interface, address, length)?;
        noticed(|| engine.my_address() != Some(grasp::Locator::Ipv6(address)));
    }
    let done = if doing == "add" { "added to" } else { "removed from" };
    let preferred = engine
        .my_address()
        .map_or_else(|| "has no address of more than link scope".to_owned(), |now| format!("uses {now}"));
    bench.printer.say(format_args!("{node}: {address}/{length} {done} {interface}; the engine {preferred}"));
    Ok(())
}

fn parse_address(text: &str) -> Result<(Ipv6Addr, u8), String> {
    let wrong = || format!("{text} is no IPv6 address with a prefix length, as fd00:99::1/64");
    let (address, length) = text.split_once('/').ok_or_else(wrong)?;
    let length: u8 = length.parse().map_err(|_| wrong())?;
    let address = address.parse().map_err(|_| wrong())?;
    if length > 128 { Err(wrong()) } else { Ok((address, length)) }
}
