//! The messages on the socket: calls, answers and the events of a stream, one CBOR array each. Pure; docs/ipc.md has the CDDL.
//! Used by both sides, and by the fuzzer.

use crate::cbor::codec::VALUE_LIMITS;
use crate::cbor::head::{self, Major};
use crate::cbor::{Limits, Value, codec};
use crate::error::Error;

use super::fault;
use super::form::Formed;

/// The version of the protocol between a node and its clients. Each side refuses one that speaks another version, with a
/// sentence that says so.
pub const VERSION: u32 = 1;

/// The first call on a connection, whose number is 0.
pub(crate) const HELLO: &str = "hello";
/// Ends another call early.
pub(crate) const CANCEL: &str = "cancel";
/// Does nothing, but shows that the node is alive.
pub(crate) const PING: &str = "ping";
/// Begins a stream of what the engine does.
pub(crate) const TRACE: &str = "trace";

/// The largest message of a client, in bytes, unless messages of GRASP may be larger.
const REQUEST_LIMIT: usize = 1 << 20;
/// How much longer than the message of GRASP that it sends a call may be, in bytes.
const ALLOWANCE: usize = 1 << 16;
/// The largest message of a node, in bytes: views of full caches are large.
pub(crate) const REPLY_LIMIT: usize = 64 << 20;
/// How many levels of nesting the protocol puts around a value.
const ENVELOPE: usize = 12;

/// The limits for messages of the other side.
pub(crate) const fn limits(size: usize) -> Limits {
    Limits { size, depth: VALUE_LIMITS.depth + ENVELOPE }
}

/// The largest message of a client, in bytes, if the largest unicast message of GRASP has `unicast_size`.
pub(crate) const fn request_limit(unicast_size: usize) -> usize {
    let needed = unicast_size.saturating_add(ALLOWANCE);
    if needed > REQUEST_LIMIT { needed } else { REQUEST_LIMIT }
}

/// A call: `[id, call, argument...]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    /// Chosen by the client; no two of its open calls have the same.
    pub(crate) id: u32,
    pub(crate) call: String,
    pub(crate) arguments: Vec<Value>,
}

impl Request {
    /// Encodes a call.
    pub(crate) fn encode(id: u32, call: &str, arguments: &[Value]) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        head::put_length(&mut out, Major::Array, 2 + arguments.len());
        codec::write(&mut out, &Value::from(id));
        codec::write_text(&mut out, call);
        arguments.iter().for_each(|argument| codec::write(&mut out, argument));
        out
    }

    /// Decodes a call; `None` if the bytes are not one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let Ok(Value::Array(items)) = codec::decode(bytes, &limits(bytes.len())) else { return None };
        let mut items = items.into_iter();
        let (id, call) = (u32::read(items.next()?)?, String::read(items.next()?)?);
        Some(Self { id, call, arguments: items.collect() })
    }
}

/// An answer to a call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// `[id, 0, result]`: the call is over.
    Done(Value),
    /// `[id, code, kind, text, detail...]`: the call has failed.
    Failed(Error),
    /// `[id, -1, lost, event]`: an event of a stream, and how many events the client has lost before it; the call goes on.
    Event { lost: u64, event: Value },
}

/// The code of an event of a stream.
const EVENT: i64 = -1;

impl Answer {
    /// Encodes an answer to the call of this number.
    pub(crate) fn encode(&self, id: u32) -> Vec<u8> {
        let mut items = vec![Value::from(id)];
        match self {
            Self::Done(result) => items.extend([Value::from(0), result.clone()]),
            Self::Failed(error) => items.extend(fault::form(error)),
            Self::Event { lost, event } => items.extend([EVENT.into(), (*lost).into(), event.clone()]),
        }
        let mut out = Vec::with_capacity(64);
        head::put_length(&mut out, Major::Array, items.len());
        items.iter().for_each(|item| codec::write(&mut out, item));
        out
    }

    /// Decodes an answer and the number of its call; `None` if the bytes are not one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(u32, Self)> {
        let Ok(Value::Array(items)) = codec::decode(bytes, &limits(REPLY_LIMIT)) else { return None };
        let mut items = items.into_iter();
        let (id, code) = (u32::read(items.next()?)?, items.next()?.as_i64()?);
        let answer = match code {
            0 => Self::Done(items.next().unwrap_or_default()),
            EVENT => Self::Event { lost: u64::read(items.next()?)?, event: items.next()? },
            code => Self::Failed(fault::read(u8::try_from(code).ok()?, items)?),
        };
        Some((id, answer))
    }
}

/// The arguments of a call, taken one by one. Further ones belong to a later version, and are ignored.
#[derive(Debug)]
pub(crate) struct Arguments(std::vec::IntoIter<Value>);

impl Arguments {
    pub(crate) fn new(arguments: Vec<Value>) -> Self {
        Self(arguments.into_iter())
    }

    /// Takes the next argument; `None` if it is of another type. A missing argument is null.
    pub(crate) fn take<T: Formed>(&mut self) -> Option<T> {
        T::read(self.0.next().unwrap_or_default())
    }
}
