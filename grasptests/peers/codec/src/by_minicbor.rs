//! The messages as a user of minicbor decodes them: by hand, since their form depends on their first element.

use minicbor::data::Type;
use minicbor::decode::Error;
use minicbor::{Decode, Decoder};

use crate::message::*;

pub type Decoded = Message<Value>;

/// Decodes exactly one message.
pub fn decode(bytes: &[u8]) -> Result<Decoded, Error> {
    let mut decoder = Decoder::new(bytes);
    let message = decoder.decode()?;
    if decoder.position() == bytes.len() { Ok(message) } else { Err(Error::message("bytes follow")) }
}

/// The elements of an array that are still to come.
struct Elements(Option<u64>);

impl Elements {
    fn of(d: &mut Decoder<'_>) -> Result<Self, Error> {
        d.array().map(Self)
    }

    fn more(&mut self, d: &mut Decoder<'_>) -> Result<bool, Error> {
        match &mut self.0 {
            Some(0) => Ok(false),
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
            None if d.datatype()? == Type::Break => {
                d.skip()?;
                self.0 = Some(0);
                Ok(false)
            }
            None => Ok(true),
        }
    }

    fn need<'b, T: Decode<'b, ()>>(&mut self, d: &mut Decoder<'b>) -> Result<T, Error> {
        if self.more(d)? { d.decode() } else { Err(Error::message("an element is missing")) }
    }

    fn rest<'b, T: Decode<'b, ()>>(&mut self, d: &mut Decoder<'b>) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        while self.more(d)? {
            all.push(d.decode()?);
        }
        Ok(all)
    }

    fn end(&mut self, d: &mut Decoder<'_>) -> Result<(), Error> {
        if self.more(d)? { Err(Error::message("an element too many")) } else { Ok(()) }
    }
}

impl<'b> Decode<'b, ()> for Message<Value> {
    fn decode(d: &mut Decoder<'b>, (): &mut ()) -> Result<Self, Error> {
        let mut elements = Elements::of(d)?;
        let kind: u64 = elements.need(d)?;
        let body = match kind {
            0 => Body::Noop,
            1 => Body::Discovery {
                session: elements.need(d)?,
                initiator: elements.need::<Address>(d)?.0,
                objective: elements.need(d)?,
            },
            2 => return response(&mut elements, d),
            3 | 4 | 5 | 8 => {
                Body::step(kind, Step { session: elements.need(d)?, objective: elements.need(d)? })
            }
            6 => Body::End { session: elements.need(d)?, outcome: elements.need(d)? },
            7 => Body::Wait { session: elements.need(d)?, time: elements.need(d)? },
            9 => Body::Flood(Flood {
                session: elements.need(d)?,
                initiator: elements.need::<Address>(d)?.0,
                ttl: elements.need(d)?,
                objectives: elements.rest::<Pair>(d)?.into_iter().map(|pair| pair.0).collect(),
            }),
            99 => Body::Invalid {
                session: elements.need(d)?,
                content: if elements.more(d)? { Some(d.decode()?) } else { None },
            },
            message_type => Body::Unknown { message_type, session: elements.need(d).map(Some)? },
        };
        Ok(Message { body, extra: elements.rest(d)? })
    }
}

fn response(elements: &mut Elements, d: &mut Decoder<'_>) -> Result<Message<Value>, Error> {
    let session = elements.need(d)?;
    let initiator = elements.need::<Address>(d)?.0;
    let ttl = if elements.more(d)? { ttl(d)? } else { return Err(Error::message("no ttl")) };
    let (mut options, mut objective, mut extra) = (Vec::new(), None, Vec::new());
    while elements.more(d)? {
        match first_of(d)? {
            First::Text if objective.is_none() => objective = Some(d.decode()?),
            First::Number(103..=106) => options.push(WireOption::Locator(d.decode()?)),
            First::Number(100) => {
                let mut inside = Elements::of(d)?;
                let _: u64 = inside.need(d)?;
                options.push(WireOption::Divert(inside.rest(d)?));
            }
            _ if objective.is_some() => extra.push(d.decode()?),
            _ => options.push(WireOption::Other(d.decode()?)),
        }
    }
    Ok(Message { body: Body::Response(Response { session, initiator, ttl, options, objective }), extra })
}

/// graspy sends negative ones too.
fn ttl(d: &mut Decoder<'_>) -> Result<u32, Error> {
    match d.datatype()? {
        Type::I8 | Type::I16 | Type::I32 | Type::I64 => d.skip().map(|()| 1),
        _ => d.u32(),
    }
}

enum First {
    Text,
    Number(u64),
    Other,
}

/// What the array that comes next begins with.
fn first_of(d: &mut Decoder<'_>) -> Result<First, Error> {
    let start = d.position();
    let first = match d.datatype()? {
        Type::Array | Type::ArrayIndef if d.array()? != Some(0) => match d.datatype()? {
            Type::String | Type::StringIndef => First::Text,
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => First::Number(d.u64()?),
            _ => First::Other,
        },
        _ => First::Other,
    };
    d.set_position(start);
    Ok(first)
}

impl<'b> Decode<'b, ()> for WireObjective<Value> {
    fn decode(d: &mut Decoder<'b>, (): &mut ()) -> Result<Self, Error> {
        let mut elements = Elements::of(d)?;
        let (name, flags, loop_count) = (elements.need(d)?, Flags(elements.need(d)?), elements.need(d)?);
        let value = if elements.more(d)? { Some(d.decode()?) } else { None };
        elements.end(d)?;
        Ok(Self { name, flags, loop_count, value })
    }
}

struct Address(std::net::IpAddr);

impl<'b> Decode<'b, ()> for Address {
    fn decode(d: &mut Decoder<'b>, (): &mut ()) -> Result<Self, Error> {
        address(d.bytes()?).map(Self).ok_or_else(|| Error::message("no address"))
    }
}

impl<'b> Decode<'b, ()> for Outcome {
    fn decode(d: &mut Decoder<'b>, (): &mut ()) -> Result<Self, Error> {
        let mut elements = Elements::of(d)?;
        let outcome = match elements.need::<u64>(d)? {
            101 => Self::Accept,
            102 => Self::Decline(if elements.more(d)? { Some(d.decode()?) } else { None }),
            _ => return Err(Error::message("neither accept nor decline")),
        };
        elements.end(d)?;
        Ok(outcome)
    }
}

impl<'b> Decode<'b, ()> for WireLocator {
    fn decode(d: &mut Decoder<'b>, (): &mut ()) -> Result<Self, Error> {
        let mut elements = Elements::of(d)?;
        let kind = elements.need(d)?;
        locator(kind, &mut elements, d)
    }
}

fn locator(kind: u64, elements: &mut Elements, d: &mut Decoder<'_>) -> Result<WireLocator, Error> {
    let locator = match kind {
        103 | 104 => addressed(kind, elements.need::<Address>(d)?.0),
        105 => Some(Locator::Fqdn(elements.need(d)?)),
        106 => Some(Locator::Uri(elements.need(d)?)),
        _ => None,
    };
    let locator = locator.ok_or_else(|| Error::message("no locator"))?;
    // graspy leaves both out.
    let (protocol, port) =
        if elements.more(d)? { (d.decode::<Option<u64>>()?, elements.need(d)?) } else { (None, None) };
    elements.end(d)?;
    Ok(WireLocator { locator, protocol: protocol.map(Protocol::from), port })
}

/// A flooded objective and its locator.
struct Pair((WireObjective<Value>, Option<WireLocator>));

impl<'b> Decode<'b, ()> for Pair {
    fn decode(d: &mut Decoder<'b>, (): &mut ()) -> Result<Self, Error> {
        let mut elements = Elements::of(d)?;
        let objective = elements.need(d)?;
        let mut inside = if elements.more(d)? {
            Elements::of(d)?
        } else {
            return Err(Error::message("no locator"));
        };
        let place = if inside.more(d)? {
            let kind = d.u64()?;
            Some(locator(kind, &mut inside, d)?)
        } else {
            None
        };
        elements.end(d)?;
        Ok(Self((objective, place)))
    }
}

impl<'b> Decode<'b, ()> for Value {
    fn decode(d: &mut Decoder<'b>, (): &mut ()) -> Result<Self, Error> {
        Ok(match d.datatype()? {
            Type::Null => d.null().map(|()| Self::Null)?,
            Type::Undefined => d.undefined().map(|()| Self::Undefined)?,
            Type::Bool => Self::Bool(d.bool()?),
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => Self::Integer(d.u64()?.into()),
            Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => Self::Integer(d.int()?.into()),
            Type::F16 | Type::F32 | Type::F64 => Self::Float(d.f64()?),
            Type::Simple => Self::Simple(d.simple()?),
            Type::Bytes => Self::Bytes(d.bytes()?.to_vec()),
            Type::BytesIndef => Self::Bytes(d.bytes_iter()?.collect::<Result<Vec<_>, _>>()?.concat()),
            Type::String => Self::Text(d.str()?.to_owned()),
            Type::StringIndef => Self::Text(d.str_iter()?.collect::<Result<String, _>>()?),
            Type::Array | Type::ArrayIndef => Self::Array(d.array_iter()?.collect::<Result<_, _>>()?),
            Type::Map | Type::MapIndef => Self::Map(d.map_iter()?.collect::<Result<_, _>>()?),
            Type::Tag => Self::tagged(d.tag()?.as_u64(), d.decode()?),
            _ => return Err(Error::message("no item")),
        })
    }
}
