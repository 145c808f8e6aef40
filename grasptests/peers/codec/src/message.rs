//! The messages of RFC 8990 with the same facts, all of them owned, as `grasp::wire::Message` has: what is shown of both is the same
//! text, which `bench` compares before it measures.

#![expect(dead_code, reason = "what is decoded is shown and dropped")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Debug)]
pub struct Message<V> {
    pub body: Body<V>,
    pub extra: Vec<V>,
}

#[derive(Debug)]
pub enum Body<V> {
    Noop,
    Discovery { session: u32, initiator: IpAddr, objective: WireObjective<V> },
    Response(Response<V>),
    RequestNegotiate(Step<V>),
    RequestSynchronize(Step<V>),
    Negotiate(Step<V>),
    End { session: u32, outcome: Outcome },
    Wait { session: u32, time: u32 },
    Synch(Step<V>),
    Flood(Flood<V>),
    Invalid { session: u32, content: Option<V> },
    Unknown { message_type: u64, session: Option<u32> },
}

#[derive(Debug)]
pub struct Step<V> {
    pub session: u32,
    pub objective: WireObjective<V>,
}

#[derive(Debug)]
pub struct Response<V> {
    pub session: u32,
    pub initiator: IpAddr,
    pub ttl: u32,
    pub options: Vec<WireOption<V>>,
    pub objective: Option<WireObjective<V>>,
}

#[derive(Debug)]
pub struct Flood<V> {
    pub session: u32,
    pub initiator: IpAddr,
    pub ttl: u32,
    pub objectives: Vec<(WireObjective<V>, Option<WireLocator>)>,
}

#[derive(Debug)]
pub enum Outcome {
    Accept,
    Decline(Option<String>),
}

#[derive(Debug)]
pub enum WireOption<V> {
    Locator(WireLocator),
    Divert(Vec<WireLocator>),
    Other(V),
}

#[derive(Debug)]
pub struct WireLocator {
    pub locator: Locator,
    pub protocol: Option<Protocol>,
    pub port: Option<u16>,
}

#[derive(Debug)]
pub enum Locator {
    Ipv6(Ipv6Addr),
    Ipv4(Ipv4Addr),
    Fqdn(String),
    Uri(String),
}

#[derive(Debug)]
pub enum Protocol {
    Tcp,
    Udp,
    Ipv6,
    Other(u64),
}

#[derive(Debug)]
pub struct WireObjective<V> {
    pub name: String,
    pub flags: Flags,
    pub loop_count: u8,
    pub value: Option<V>,
}

#[derive(Debug)]
pub struct Flags(pub u64);

/// Any item.
#[derive(Debug)]
pub enum Value {
    Null,
    Undefined,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Bytes(Vec<u8>),
    Text(String),
    Array(Vec<Self>),
    Map(Vec<(Self, Self)>),
    EncodedCbor(Vec<u8>),
    Tag(u64, Box<Self>),
    Simple(u8),
}

impl<V> Body<V> {
    /// A message that consists of a session identifier and an objective.
    pub fn step(kind: u64, step: Step<V>) -> Self {
        match kind {
            3 => Self::RequestNegotiate(step),
            4 => Self::RequestSynchronize(step),
            5 => Self::Negotiate(step),
            _ => Self::Synch(step),
        }
    }
}

impl From<u64> for Protocol {
    fn from(number: u64) -> Self {
        match number {
            6 => Self::Tcp,
            17 => Self::Udp,
            41 => Self::Ipv6,
            other => Self::Other(other),
        }
    }
}

impl Value {
    pub fn tagged(tag: u64, value: Self) -> Self {
        match (tag, value) {
            (24, Self::Bytes(bytes)) => Self::EncodedCbor(bytes),
            (tag, value) => Self::Tag(tag, Box::new(value)),
        }
    }
}

/// An address by its length.
pub fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 16]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 4]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// A locator that has an address.
pub fn addressed(kind: u64, address: IpAddr) -> Option<Locator> {
    match (kind, address) {
        (103, IpAddr::V6(address)) => Some(Locator::Ipv6(address)),
        (104, IpAddr::V4(address)) => Some(Locator::Ipv4(address)),
        _ => None,
    }
}
