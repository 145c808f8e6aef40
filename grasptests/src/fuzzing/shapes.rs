//! Messages from bytes, so that most of what is tried gets past the decoder: names, identifiers and addresses come
//! from small pools, where they meet again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arbitrary::{Result, Unstructured};
use grasp::wire::{
    Body, Flags, Flood, Message, Outcome, Response, Step, WireLocator, WireObjective, WireOption,
};
use grasp::{AsaLocator, Locator, Protocol, Value};

/// The names that meet each other.
pub(super) const NAMES: [&str; 6] = ["EX1", "EX2", "EX3", "EX4", "GraspConfig", "EX1234567890"];

/// What has been seen of the identifiers in use.
pub(super) type Known = [(u32, IpAddr)];

/// A link-local address of a neighbour.
pub(super) fn neighbour(u: &mut Unstructured<'_>) -> Result<Ipv6Addr> {
    Ok(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, u16::from(u.int_in_range(1..=6_u8)?)))
}

/// An address of any kind.
fn address(u: &mut Unstructured<'_>) -> Result<Ipv6Addr> {
    match u.int_in_range(0..=5)? {
        0 => neighbour(u),
        1 => u.arbitrary::<u128>().map(Ipv6Addr::from),
        last => Ok(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last)),
    }
}

/// A session with its initiator: one that is known, or another.
fn id(u: &mut Unstructured<'_>, known: &Known) -> Result<(u32, IpAddr)> {
    let last = known.len().saturating_sub(1);
    if !known.is_empty() && u.ratio(2, 3)? {
        return Ok(known
            .get(u.int_in_range(0..=last)?)
            .copied()
            .unwrap_or_else(|| (0, Ipv6Addr::LOCALHOST.into())));
    }
    let session = if u.ratio(7, 8)? { u32::from(u.int_in_range(0..=9_u8)?) } else { u.arbitrary()? };
    let initiator =
        if u.ratio(15, 16)? { address(u)?.into() } else { Ipv4Addr::from(u.arbitrary::<u32>()?).into() };
    Ok((session, initiator))
}

fn value(u: &mut Unstructured<'_>) -> Result<Value> {
    Ok(match u.int_in_range(0..=6)? {
        0 => Value::Null,
        1 => Value::Integer(u.arbitrary::<i64>()?.into()),
        2 => Value::Bytes(u.arbitrary::<&[u8]>()?.to_vec()),
        3 => Value::Text(u.arbitrary::<&str>()?.to_owned()),
        4 => Value::Float(u.arbitrary()?),
        5 => Value::Array(vec![Value::Bool(true), Value::Undefined]),
        _ => Value::Map(vec![(Value::from("MAX"), Value::from(1))]),
    })
}

/// An objective as it is in messages.
pub(super) fn objective(u: &mut Unstructured<'_>) -> Result<WireObjective> {
    let name = *u.choose(&NAMES)?;
    let flags = if u.ratio(7, 8)? { *u.choose(&[1, 3, 5, 11, 2, 4])? } else { u.arbitrary()? };
    let loop_count = if u.ratio(7, 8)? { u.int_in_range(0..=6)? } else { u.arbitrary()? };
    let value = if u.ratio(7, 8)? { Some(value(u)?) } else { None };
    Ok(WireObjective { name: name.to_owned(), flags: Flags(flags), loop_count, value })
}

/// A locator as ASAs have it.
pub(super) fn locator(u: &mut Unstructured<'_>) -> Result<AsaLocator> {
    let host = *u.choose(&["asa.example", "printer.local", "x"])?;
    let (protocol, port) =
        (*u.choose(&[Protocol::Tcp, Protocol::Udp, Protocol::Ipv6])?, u.int_in_range(0..=3)?);
    Ok(match u.int_in_range(0..=5)? {
        0 => AsaLocator::fqdn(host, protocol, port),
        1 => AsaLocator::uri(&format!("coap://{host}/{port}")),
        2 => AsaLocator::new(Ipv4Addr::new(192, 0, 2, 1), None).with_port(port),
        _ => AsaLocator::new(address(u)?, None).with_port(port),
    })
}

fn wire_locator(u: &mut Unstructured<'_>) -> Result<WireLocator> {
    let locator = WireLocator::from_locator(&locator(u)?);
    Ok(locator.unwrap_or(WireLocator {
        locator: Locator::Ipv6(Ipv6Addr::LOCALHOST),
        protocol: Some(Protocol::Tcp),
        port: Some(1),
    }))
}

fn some<T>(
    u: &mut Unstructured<'_>,
    most: usize,
    one: impl Fn(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    (0..u.int_in_range(1..=most)?).map(|_| one(u)).collect()
}

fn lifetime(u: &mut Unstructured<'_>) -> Result<u32> {
    Ok(*u.choose(&[0, 1, 1000, 60_000, u32::MAX])?)
}

/// A session identifier with an objective.
fn step(u: &mut Unstructured<'_>, known: &Known) -> Result<Step> {
    Ok(Step { session: id(u, known)?.0, objective: objective(u)? })
}

/// A message of any type.
pub(super) fn message(u: &mut Unstructured<'_>, known: &Known) -> Result<Message> {
    let body = match u.int_in_range(0..=15)? {
        0 => Body::Noop,
        1 => Body::Unknown { message_type: u64::from(u.int_in_range(10..=98_u8)?), session: None },
        2 => Body::Invalid { session: id(u, known)?.0, content: Some(value(u)?) },
        3 => Body::Wait { session: id(u, known)?.0, time: u.arbitrary()? },
        4 => {
            let outcome =
                if u.arbitrary()? { Outcome::Accept } else { Outcome::Decline(Some("no".to_owned())) };
            Body::End { session: id(u, known)?.0, outcome }
        }
        5 => Body::RequestNegotiate(step(u, known)?),
        6 => Body::RequestSynchronize(step(u, known)?),
        7 => Body::Negotiate(step(u, known)?),
        8 => Body::Synch(step(u, known)?),
        9 | 10 => {
            let (session, initiator) = id(u, known)?;
            let options = some(u, 3, |u| {
                Ok(match u.int_in_range(0..=4)? {
                    0 => WireOption::Divert(some(u, 4, wire_locator)?),
                    1 => WireOption::Other(Value::Array(vec![Value::from(111)])),
                    _ => WireOption::Locator(wire_locator(u)?),
                })
            })?;
            let objective = if u.ratio(1, 3)? { Some(objective(u)?) } else { None };
            Body::Response(Response { session, initiator, ttl: lifetime(u)?, options, objective })
        }
        11..=13 => {
            let (session, initiator) = id(u, known)?;
            Body::Discovery { session, initiator, objective: objective(u)? }
        }
        _ => {
            let (session, initiator) = id(u, known)?;
            let objectives = some(u, 3, |u| {
                Ok((objective(u)?, if u.ratio(3, 4)? { Some(wire_locator(u)?) } else { None }))
            })?;
            Body::Flood(Flood { session, initiator, ttl: lifetime(u)?, objectives })
        }
    };
    Ok(Message::new(body))
}
