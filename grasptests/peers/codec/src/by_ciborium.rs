//! The messages as a user of ciborium decodes them: through serde, with visitors, since their form depends on their first element.
//! Values of objectives are ciborium's own.

use std::fmt;
use std::marker::PhantomData;

use ciborium::Value as Item;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};

use crate::message::*;

pub type Decoded = Message<Tree>;

/// Decodes exactly one message.
pub fn decode(bytes: &[u8]) -> Result<Decoded, ciborium::de::Error<std::io::Error>> {
    let mut rest = bytes;
    let message = ciborium::from_reader(&mut rest)?;
    if rest.is_empty() { Ok(message) } else { Err(ciborium::de::Error::Syntax(bytes.len() - rest.len())) }
}

/// A value that is shown as ours is.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct Tree(Item);

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        value(&self.0).fmt(f)
    }
}

fn value(item: &Item) -> Value {
    match item {
        Item::Bool(value) => Value::Bool(*value),
        Item::Integer(number) => Value::Integer((*number).into()),
        Item::Float(number) => Value::Float(*number),
        Item::Bytes(bytes) => Value::Bytes(bytes.clone()),
        Item::Text(text) => Value::Text(text.clone()),
        Item::Array(items) => Value::Array(items.iter().map(value).collect()),
        Item::Map(pairs) => Value::Map(pairs.iter().map(|(key, item)| (value(key), value(item))).collect()),
        Item::Tag(tag, item) => Value::tagged(*tag, value(item)),
        _ => Value::Null,
    }
}

/// A type that is read from an array.
trait FromArray<'de>: Sized {
    fn from_array<A: SeqAccess<'de>>(elements: A) -> Result<Self, A::Error>;
}

struct ArrayOf<T>(PhantomData<T>);

impl<'de, T: FromArray<'de>> Visitor<'de> for ArrayOf<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<T, A::Error> {
        T::from_array(elements)
    }
}

macro_rules! deserialize_from_array {
    ($($type:ty)*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_seq(ArrayOf(PhantomData))
            }
        }
    )*};
}

deserialize_from_array!(Message<Tree> WireObjective<Tree> WireLocator Outcome Pair Place Choice);

fn need<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(elements: &mut A) -> Result<T, A::Error> {
    elements.next_element()?.ok_or_else(|| A::Error::custom("an element is missing"))
}

fn rest<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(elements: &mut A) -> Result<Vec<T>, A::Error> {
    let mut all = Vec::new();
    while let Some(element) = elements.next_element()? {
        all.push(element);
    }
    Ok(all)
}

fn end<'de, A: SeqAccess<'de>>(elements: &mut A) -> Result<(), A::Error> {
    match elements.next_element::<IgnoredAny>()? {
        None => Ok(()),
        Some(_) => Err(A::Error::custom("an element too many")),
    }
}

impl<'de> FromArray<'de> for Message<Tree> {
    fn from_array<A: SeqAccess<'de>>(mut e: A) -> Result<Self, A::Error> {
        let kind: u64 = need(&mut e)?;
        let body = match kind {
            0 => Body::Noop,
            1 => Body::Discovery {
                session: need(&mut e)?,
                initiator: need::<Address, A>(&mut e)?.0,
                objective: need(&mut e)?,
            },
            2 => return response(e),
            3 | 4 | 5 | 8 => Body::step(kind, Step { session: need(&mut e)?, objective: need(&mut e)? }),
            6 => Body::End { session: need(&mut e)?, outcome: need(&mut e)? },
            7 => Body::Wait { session: need(&mut e)?, time: need(&mut e)? },
            9 => Body::Flood(Flood {
                session: need(&mut e)?,
                initiator: need::<Address, A>(&mut e)?.0,
                ttl: need(&mut e)?,
                objectives: rest::<Pair, A>(&mut e)?.into_iter().map(|pair| pair.0).collect(),
            }),
            99 => Body::Invalid { session: need(&mut e)?, content: e.next_element()? },
            message_type => Body::Unknown { message_type, session: need(&mut e).map(Some)? },
        };
        Ok(Self { body, extra: rest(&mut e)? })
    }
}

fn response<'de, A: SeqAccess<'de>>(mut e: A) -> Result<Message<Tree>, A::Error> {
    let session = need(&mut e)?;
    let initiator = need::<Address, A>(&mut e)?.0;
    // graspy sends negative ones too.
    let ttl: i64 = need(&mut e)?;
    let ttl = if ttl < 0 { 1 } else { u32::try_from(ttl).map_err(A::Error::custom)? };
    let (mut options, mut objective) = (Vec::new(), None);
    while let Some(choice) = e.next_element()? {
        match choice {
            Choice::Objective(found) => objective = Some(found),
            Choice::Option(option) => options.push(option),
        }
    }
    let body = Body::Response(Response { session, initiator, ttl, options, objective });
    Ok(Message { body, extra: Vec::new() })
}

/// What may stand in a response.
enum Choice {
    Objective(WireObjective<Tree>),
    Option(WireOption<Tree>),
}

/// What an array begins with.
enum First {
    Text(String),
    Number(u64),
}

impl<'de> Deserialize<'de> for First {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByKind;
        impl Visitor<'_> for ByKind {
            type Value = First;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name or the type of an option")
            }

            fn visit_u64<E>(self, number: u64) -> Result<First, E> {
                Ok(First::Number(number))
            }

            fn visit_str<E>(self, text: &str) -> Result<First, E> {
                Ok(First::Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<First, E> {
                Ok(First::Text(text))
            }
        }
        deserializer.deserialize_any(ByKind)
    }
}

impl<'de> FromArray<'de> for Choice {
    fn from_array<A: SeqAccess<'de>>(mut e: A) -> Result<Self, A::Error> {
        Ok(match need(&mut e)? {
            First::Text(name) => Self::Objective(objective(name, e)?),
            First::Number(100) => Self::Option(WireOption::Divert(rest(&mut e)?)),
            First::Number(kind @ 103..=106) => Self::Option(WireOption::Locator(locator(kind, e)?)),
            First::Number(kind) => {
                let mut items = vec![Item::from(kind)];
                items.extend(rest::<Item, A>(&mut e)?);
                Self::Option(WireOption::Other(Tree(Item::Array(items))))
            }
        })
    }
}

impl<'de> FromArray<'de> for WireObjective<Tree> {
    fn from_array<A: SeqAccess<'de>>(mut e: A) -> Result<Self, A::Error> {
        objective(need(&mut e)?, e)
    }
}

fn objective<'de, A: SeqAccess<'de>>(name: String, mut e: A) -> Result<WireObjective<Tree>, A::Error> {
    let (flags, loop_count) = (Flags(need(&mut e)?), need(&mut e)?);
    let value = e.next_element()?;
    end(&mut e)?;
    Ok(WireObjective { name, flags, loop_count, value })
}

impl<'de> FromArray<'de> for WireLocator {
    fn from_array<A: SeqAccess<'de>>(mut e: A) -> Result<Self, A::Error> {
        locator(need(&mut e)?, e)
    }
}

fn locator<'de, A: SeqAccess<'de>>(kind: u64, mut e: A) -> Result<WireLocator, A::Error> {
    let locator = match kind {
        103 | 104 => addressed(kind, need::<Address, A>(&mut e)?.0),
        105 => Some(Locator::Fqdn(need(&mut e)?)),
        106 => Some(Locator::Uri(need(&mut e)?)),
        _ => None,
    };
    let locator = locator.ok_or_else(|| A::Error::custom("no locator"))?;
    // graspy leaves both out.
    let (protocol, port) = match e.next_element::<Option<u64>>()? {
        Some(protocol) => (protocol, need(&mut e)?),
        None => (None, None),
    };
    end(&mut e)?;
    Ok(WireLocator { locator, protocol: protocol.map(Protocol::from), port })
}

impl<'de> FromArray<'de> for Outcome {
    fn from_array<A: SeqAccess<'de>>(mut e: A) -> Result<Self, A::Error> {
        let outcome = match need(&mut e)? {
            101_u64 => Self::Accept,
            102 => Self::Decline(e.next_element()?),
            _ => return Err(A::Error::custom("neither accept nor decline")),
        };
        end(&mut e)?;
        Ok(outcome)
    }
}

/// A flooded objective and its locator.
struct Pair((WireObjective<Tree>, Option<WireLocator>));

impl<'de> FromArray<'de> for Pair {
    fn from_array<A: SeqAccess<'de>>(mut e: A) -> Result<Self, A::Error> {
        let pair = (need(&mut e)?, need::<Place, A>(&mut e)?.0);
        end(&mut e)?;
        Ok(Self(pair))
    }
}

/// A locator, or an empty array.
struct Place(Option<WireLocator>);

impl<'de> FromArray<'de> for Place {
    fn from_array<A: SeqAccess<'de>>(mut e: A) -> Result<Self, A::Error> {
        Ok(Self(match e.next_element()? {
            Some(kind) => Some(locator(kind, e)?),
            None => None,
        }))
    }
}

struct Address(std::net::IpAddr);

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByLength;
        impl Visitor<'_> for ByLength {
            type Value = Address;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("4 or 16 bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Address, E> {
                address(bytes).map(Address).ok_or_else(|| E::custom("no address"))
            }
        }
        deserializer.deserialize_bytes(ByLength)
    }
}
