//! The events of a trace as items of a message: `[time, monotonic, thread, kind, detail...]`; docs/ipc.md specifies them.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::fault;
use super::form::{Form, Formed};
use crate::cbor::Value;
use crate::stats::Stats;
use crate::trace::{
    Cache, CacheEvent, Carrier, Direction, Ending, Event, MessageEvent, Removal, SessionEvent, SessionKind,
    TraceEvent,
};
use crate::types::AsaLocator;

/// Gives each variant without content its name.
macro_rules! names {
    ($($type:ty { $($variant:ident = $name:literal),* })*) => {$(
        impl Form for $type {
            fn form(&self) -> Value {
                match self { $(Self::$variant => $name,)* }.form()
            }
        }
        impl Formed for $type {
            fn read(value: Value) -> Option<Self> {
                match value.as_str()? { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    )*};
}

names! {
    Direction { In = "in", Out = "out" }
    Carrier { Multicast = "multicast", UnicastDatagram = "datagram", Tcp = "tcp" }
    SessionKind { Discovery = "discovery", RelayedDiscovery = "relayed", Exchange = "exchange" }
    Cache { Discovery = "discovery", Flood = "flood" }
    Removal { Expired = "expired", Evicted = "evicted", Forgotten = "forgotten" }
}

/// `[address, port, interface]`.
impl Form for SocketAddrV6 {
    fn form(&self) -> Value {
        (*self.ip(), self.port(), self.scope_id()).form()
    }
}

impl Formed for SocketAddrV6 {
    fn read(value: Value) -> Option<Self> {
        let (address, port, scope) = <(Ipv6Addr, u16, u32)>::read(value)?;
        Some(Self::new(address, port, 0, scope))
    }
}

/// `[id, kind, peer, objective]`.
impl Form for SessionEvent {
    fn form(&self) -> Value {
        let Self { session, kind, peer, objective } = self;
        Value::Array(vec![session.form(), kind.form(), peer.form(), objective.form()])
    }
}

impl Formed for SessionEvent {
    fn read(value: Value) -> Option<Self> {
        let mut items = items(value)?;
        Some(Self {
            session: take(&mut items)?,
            kind: take(&mut items)?,
            peer: take(&mut items)?,
            objective: take(&mut items)?,
        })
    }
}

/// `[cache, objective, locator]`.
impl Form for CacheEvent {
    fn form(&self) -> Value {
        Value::Array(vec![self.cache.form(), self.objective.form(), self.locator.form()])
    }
}

impl Formed for CacheEvent {
    fn read(value: Value) -> Option<Self> {
        let (cache, objective, locator) = <(Cache, String, AsaLocator)>::read(value)?;
        Some(Self { cache, objective, locator })
    }
}

/// `[how, detail...]`: the reason of a decline, or the items of an error.
impl Form for Ending {
    fn form(&self) -> Value {
        let (name, details) = match self {
            Self::Accepted => ("accepted", Vec::new()),
            Self::Declined(reason) => ("declined", vec![reason.form()]),
            Self::Invalid => ("invalid", Vec::new()),
            Self::Synchronized => ("synchronized", Vec::new()),
            Self::Discovered => ("discovered", Vec::new()),
            Self::Stopped => ("stopped", Vec::new()),
            Self::Abandoned => ("abandoned", Vec::new()),
            Self::Failed(error) => ("failed", fault::form(error)),
        };
        Value::Array(std::iter::once(name.form()).chain(details).collect())
    }
}

impl Formed for Ending {
    fn read(value: Value) -> Option<Self> {
        let mut items = items(value)?;
        Some(match take::<String>(&mut items)?.as_str() {
            "accepted" => Self::Accepted,
            "declined" => Self::Declined(take(&mut items)?),
            "invalid" => Self::Invalid,
            "synchronized" => Self::Synchronized,
            "discovered" => Self::Discovered,
            "stopped" => Self::Stopped,
            "abandoned" => Self::Abandoned,
            "failed" => Self::Failed(fault::read(take(&mut items)?, items)?),
            _ => return None,
        })
    }
}

type Items = std::vec::IntoIter<Value>;

fn items(value: Value) -> Option<Items> {
    match value {
        Value::Array(items) => Some(items.into_iter()),
        _ => None,
    }
}

fn take<T: Formed>(items: &mut Items) -> Option<T> {
    T::read(items.next().unwrap_or_default())
}

/// Converts an event to an item.
pub(crate) fn form(event: &TraceEvent) -> Value {
    let time = event.time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let microseconds = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let mut items = vec![microseconds.form(), event.monotonic_ms.form(), (*event.thread).form()];
    items.extend(details(&event.event));
    Value::Array(items)
}

fn details(event: &Event) -> Vec<Value> {
    match event {
        Event::Message(message) => vec![
            "message".form(),
            message.direction.form(),
            message.carrier.form(),
            message.local.form(),
            message.peer.form(),
            message.ifi.form(),
            Value::Bytes(message.bytes.to_vec()),
            message.sealed.as_ref().map_or(Value::Null, |sealed| Value::Bytes(sealed.to_vec())),
            message.secured.form(),
        ],
        // Told to the capture of the engine only.
        Event::Records { .. } => vec!["records".form()],
        Event::Connected { local, peer, direction } => {
            vec!["connected".form(), local.form(), peer.form(), direction.form()]
        }
        Event::Secured { local, peer, name } => {
            vec!["secured".form(), local.form(), peer.form(), name.form()]
        }
        Event::Disconnected { local, peer } => vec!["disconnected".form(), local.form(), peer.form()],
        Event::SessionOpened(session) => vec!["opened".form(), session.form()],
        Event::SessionEnded(session, how) => vec!["ended".form(), session.form(), how.form()],
        Event::CacheAdded(entry) => vec!["added".form(), entry.form()],
        Event::CacheRemoved(entry, why) => vec!["removed".form(), entry.form(), why.form()],
        Event::Relayed { session, except } => vec!["relayed".form(), session.form(), except.form()],
        Event::Dropped { reason } => vec!["dropped".form(), reason.form()],
        Event::Line(text) => vec!["line".form(), text.form()],
    }
}

/// Converts an item to an event; `None` if it is not an event that this version knows.
pub(crate) fn read(value: Value) -> Option<TraceEvent> {
    let mut items = items(value)?;
    let time: SystemTime = UNIX_EPOCH.checked_add(Duration::from_micros(take(&mut items)?))?;
    let (monotonic_ms, thread) = (take(&mut items)?, take::<String>(&mut items)?);
    Some(TraceEvent { time, monotonic_ms, thread: thread.into(), event: kind(&mut items)? })
}

fn kind(items: &mut Items) -> Option<Event> {
    Some(match take::<String>(items)?.as_str() {
        "message" => Event::Message(MessageEvent {
            direction: take(items)?,
            carrier: take(items)?,
            local: take(items)?,
            peer: take(items)?,
            ifi: take(items)?,
            bytes: items.next()?.as_bytes()?.into(),
            sealed: items.next().as_ref().and_then(Value::as_bytes).map(Into::into),
            // Nodes of before do not say it.
            secured: take::<Option<bool>>(items)?.unwrap_or_default(),
        }),
        "connected" => Event::Connected { local: take(items)?, peer: take(items)?, direction: take(items)? },
        "secured" => Event::Secured { local: take(items)?, peer: take(items)?, name: take(items)? },
        "disconnected" => Event::Disconnected { local: take(items)?, peer: take(items)? },
        "opened" => Event::SessionOpened(take(items)?),
        "ended" => Event::SessionEnded(take(items)?, take(items)?),
        "added" => Event::CacheAdded(take(items)?),
        "removed" => Event::CacheRemoved(take(items)?, take(items)?),
        "relayed" => Event::Relayed { session: take(items)?, except: take(items)? },
        "dropped" => Event::Dropped { reason: Stats::name(&take::<String>(items)?)? },
        "line" => Event::Line(take(items)?),
        _ => return None,
    })
}

/// A map of the counters by their names.
impl Form for Stats {
    fn form(&self) -> Value {
        Value::Map(self.named().into_iter().map(|(name, count)| (name.into(), count.into())).collect())
    }
}

/// Counters that the other side does not have are 0.
impl Formed for Stats {
    fn read(value: Value) -> Option<Self> {
        let Value::Map(pairs) = value else { return None };
        let mut stats = Self::default();
        for (name, count) in pairs {
            stats.set(name.as_str()?, u64::read(count)?);
        }
        Some(stats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn every_event_comes_back_as_it_was() {
        let (local, peer) = ("[fe80::1%3]:7017".parse().unwrap(), "[::ffff:10.0.0.1]:9".parse().unwrap());
        let session = SessionEvent {
            session: 7,
            kind: SessionKind::RelayedDiscovery,
            peer: Some(Ipv6Addr::LOCALHOST),
            objective: "EX1".into(),
        };
        let entry = || CacheEvent {
            cache: Cache::Flood,
            objective: "EX2".into(),
            locator: AsaLocator::uri("coap://x").with_ifi(3),
        };
        let message = MessageEvent {
            direction: Direction::In,
            carrier: Carrier::Tcp,
            local,
            peer,
            ifi: 3,
            bytes: [1, 2].as_slice().into(),
            sealed: Some([3].as_slice().into()),
            secured: true,
        };
        let mut events = vec![
            Event::Message(MessageEvent { sealed: None, secured: false, ..message.clone() }),
            Event::Message(message),
            Event::Connected { local, peer, direction: Direction::Out },
            Event::Secured { local, peer, name: "0@acp.example.com".into() },
            Event::Disconnected { local, peer },
            Event::SessionOpened(session.clone()),
            Event::CacheAdded(entry()),
            Event::CacheRemoved(entry(), Removal::Evicted),
            Event::Relayed { session: 7, except: 2 },
            Event::Dropped { reason: "dropped_malformed" },
            Event::Line("text".into()),
        ];
        let endings = [
            Ending::Accepted,
            Ending::Declined(Some("no".into())),
            Ending::Declined(None),
            Ending::Invalid,
            Ending::Synchronized,
            Ending::Discovered,
            Ending::Stopped,
            Ending::Abandoned,
            Ending::Failed(Error::TooLarge { size: 2, limit: 1 }),
        ];
        events.extend(endings.map(|how| Event::SessionEnded(session.clone(), how)));
        for event in events {
            let time = UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
            let told = TraceEvent { time, monotonic_ms: 99, thread: "_mhandler".into(), event };
            assert_eq!(format!("{:?}", read(form(&told)).unwrap()), format!("{told:?}"));
        }
        let odd = TraceEvent {
            time: UNIX_EPOCH,
            monotonic_ms: 0,
            thread: "".into(),
            event: Event::Line("x".into()),
        };
        let Value::Array(mut items) = form(&odd) else { unreachable!() };
        items[3] = "of a later version".into();
        assert!(read(Value::Array(items)).is_none());
    }

    #[test]
    fn counters_keep_their_names() {
        let stats = Stats { floods_sent: 3, panics: u64::MAX, ..Stats::default() };
        assert_eq!(Stats::read(stats.form()), Some(stats));
    }
}
