//! Numbers, texts and the types of the API as items of a message; docs/ipc.md specifies them. `api::forms` has those of the
//! types that `api` defines.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::cbor::Value;
use crate::types::{
    AsaLocator, AsaNonce, AsaView, DiscoveryView, FloodView, Locator, Objective, ObjectiveView, Protocol,
    SessionNonce, TaggedObjective,
};

/// A type that can be put into a message.
pub(crate) trait Form {
    fn form(&self) -> Value;
}

/// A type that can be taken out of a message.
pub(crate) trait Formed: Sized {
    /// `None` if the value is of another type, or out of range.
    fn read(value: Value) -> Option<Self>;
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Form for $number {
            fn form(&self) -> Value {
                Value::from(*self)
            }
        }
        impl Formed for $number {
            fn read(value: Value) -> Option<Self> {
                match value {
                    Value::Integer(number) => Self::try_from(number).ok(),
                    _ => None,
                }
            }
        }
    )*};
}

numbers!(u8 u16 u32 u64 usize i64);

impl Form for bool {
    fn form(&self) -> Value {
        Value::from(*self)
    }
}

impl Formed for bool {
    fn read(value: Value) -> Option<Self> {
        value.as_bool()
    }
}

impl Form for str {
    fn form(&self) -> Value {
        Value::from(self)
    }
}

impl Form for String {
    fn form(&self) -> Value {
        Value::from(self.as_str())
    }
}

impl Formed for String {
    fn read(value: Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl Form for Value {
    fn form(&self) -> Value {
        self.clone()
    }
}

impl Formed for Value {
    fn read(value: Value) -> Option<Self> {
        Some(value)
    }
}

impl Formed for () {
    fn read(_: Value) -> Option<Self> {
        Some(())
    }
}

impl Form for () {
    fn form(&self) -> Value {
        Value::Null
    }
}

impl<T: Form + ?Sized> Form for &T {
    fn form(&self) -> Value {
        (**self).form()
    }
}

/// Null is `None`. So an optional [`Value`] that is null counts as `None`.
impl<T: Form> Form for Option<T> {
    fn form(&self) -> Value {
        self.as_ref().map_or(Value::Null, Form::form)
    }
}

impl<T: Formed> Formed for Option<T> {
    fn read(value: Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::read(value).map(Some),
        }
    }
}

impl<T: Form> Form for [T] {
    fn form(&self) -> Value {
        Value::Array(self.iter().map(Form::form).collect())
    }
}

impl<T: Form> Form for Vec<T> {
    fn form(&self) -> Value {
        self.as_slice().form()
    }
}

impl<T: Formed> Formed for Vec<T> {
    fn read(value: Value) -> Option<Self> {
        match value {
            Value::Array(items) => items.into_iter().map(T::read).collect(),
            _ => None,
        }
    }
}

macro_rules! tuples {
    ($($name:ident: $index:tt),*) => {
        impl<$($name: Form),*> Form for ($($name,)*) {
            fn form(&self) -> Value {
                Value::Array(vec![$(self.$index.form()),*])
            }
        }
        impl<$($name: Formed),*> Formed for ($($name,)*) {
            fn read(value: Value) -> Option<Self> {
                let Value::Array(items) = value else { return None };
                let mut items = items.into_iter();
                Some(($($name::read(items.next()?)?,)*))
            }
        }
    };
}

tuples!(A: 0, B: 1);
tuples!(A: 0, B: 1, C: 2);

/// A map of named fields. Unknown fields belong to a later version, and are ignored.
#[derive(Debug)]
pub(crate) struct Fields(HashMap<String, Value>);

impl Fields {
    pub(crate) fn read(value: Value) -> Option<Self> {
        let Value::Map(pairs) = value else { return None };
        let named = |(key, value)| Some((String::read(key)?, value));
        Some(Self(pairs.into_iter().map(named).collect::<Option<_>>()?))
    }

    /// Takes a field. A missing field is null.
    pub(crate) fn take<T: Formed>(&mut self, name: &str) -> Option<T> {
        T::read(self.0.remove(name).unwrap_or_default())
    }

    /// Takes a field. A missing field has the default of its type.
    pub(crate) fn take_or<T: Formed + Default>(&mut self, name: &str) -> Option<T> {
        self.0.remove(name).map_or_else(|| Some(T::default()), T::read)
    }
}

/// A map of named fields, without those that are null.
pub(crate) fn fields<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let present = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Map(present.map(|(name, value)| (Value::from(name), value)).collect())
}

impl Form for AsaNonce {
    fn form(&self) -> Value {
        self.0.form()
    }
}

impl Formed for AsaNonce {
    fn read(value: Value) -> Option<Self> {
        u32::read(value).map(Self)
    }
}

/// The bytes of the address.
impl Form for Ipv6Addr {
    fn form(&self) -> Value {
        Value::Bytes(self.octets().to_vec())
    }
}

impl Formed for Ipv6Addr {
    fn read(value: Value) -> Option<Self> {
        match value {
            Value::Bytes(bytes) => <[u8; 16]>::try_from(bytes).ok().map(Self::from),
            _ => None,
        }
    }
}

impl Form for IpAddr {
    fn form(&self) -> Value {
        match self {
            Self::V4(address) => Value::Bytes(address.octets().to_vec()),
            Self::V6(address) => address.form(),
        }
    }
}

impl Formed for IpAddr {
    fn read(value: Value) -> Option<Self> {
        match &value {
            Value::Bytes(bytes) if bytes.len() == 4 => {
                <[u8; 4]>::try_from(bytes.as_slice()).ok().map(|bytes| Ipv4Addr::from(bytes).into())
            }
            _ => Ipv6Addr::read(value).map(Self::V6),
        }
    }
}

/// `[id, source]`; the source is null for sessions that began here.
impl Form for SessionNonce {
    fn form(&self) -> Value {
        (self.id_value, self.id_source).form()
    }
}

impl Formed for SessionNonce {
    fn read(value: Value) -> Option<Self> {
        let (id_value, id_source) = <(u32, Option<Ipv6Addr>)>::read(value)?;
        Some(Self { id_value, id_source })
    }
}

/// The flags of an objective, with the bits of RFC 8990 §2.10.2.
const FLAGS: [u8; 4] = [0b0001, 0b0010, 0b0100, 0b1000];

/// `[name, flags, loop-count, value]`, as in RFC 8990 §2.10.1; the bit `F_NEG_DRY` may stand without `F_NEG`.
impl Form for Objective {
    fn form(&self) -> Value {
        let set = [self.discoverable, self.neg, self.synch, self.dry];
        let bits: u8 = set.iter().zip(FLAGS).filter(|(set, _)| **set).map(|(_, bit)| bit).sum();
        Value::Array(vec![self.name.form(), bits.form(), self.loop_count.form(), self.value.clone()])
    }
}

impl Formed for Objective {
    fn read(value: Value) -> Option<Self> {
        let Value::Array(items) = value else { return None };
        let mut items = items.into_iter();
        let name = String::read(items.next()?)?;
        let bits = u8::read(items.next()?)?;
        let loop_count = u8::read(items.next()?)?;
        let [discoverable, neg, synch, dry] = FLAGS.map(|bit| bits & bit != 0);
        let value = items.next().unwrap_or_default();
        Some(Self { name, neg, dry, synch, discoverable, loop_count, value })
    }
}

/// The tag of a URI (RFC 8949 §3.4.5.3).
const TAG_URI: u64 = 32;

/// An address as its bytes, a name as text, a URI as tagged text.
impl Form for Locator {
    fn form(&self) -> Value {
        match self {
            Self::Ipv6(address) => address.form(),
            Self::Ipv4(address) => IpAddr::V4(*address).form(),
            Self::Fqdn(name) => name.form(),
            Self::Uri(uri) => Value::Tag(TAG_URI, Box::new(uri.form())),
        }
    }
}

impl Formed for Locator {
    fn read(value: Value) -> Option<Self> {
        match value {
            Value::Text(name) => Some(Self::Fqdn(name)),
            Value::Tag(TAG_URI, uri) => String::read(*uri).map(Self::Uri),
            address => IpAddr::read(address).map(Self::from),
        }
    }
}

/// `[locator, port, protocol, interface, expiry, diverted]`.
impl Form for AsaLocator {
    fn form(&self) -> Value {
        Value::Array(vec![
            self.locator.form(),
            self.port.form(),
            self.protocol.map(Protocol::number).form(),
            self.ifi.form(),
            self.expire.form(),
            self.diverted.form(),
        ])
    }
}

impl Formed for AsaLocator {
    fn read(value: Value) -> Option<Self> {
        let Value::Array(items) = value else { return None };
        let mut items = items.into_iter();
        Some(Self {
            locator: Option::read(items.next()?)?,
            port: Option::read(items.next()?)?,
            protocol: <Option<u64>>::read(items.next()?)?.map(Protocol::from_number),
            ifi: Option::read(items.next()?)?,
            expire: u64::read(items.next()?)?,
            diverted: bool::read(items.next()?)?,
        })
    }
}

/// `[objective, locator]`.
impl Form for TaggedObjective {
    fn form(&self) -> Value {
        Value::Array(vec![self.objective.form(), self.source.form()])
    }
}

impl Formed for TaggedObjective {
    fn read(value: Value) -> Option<Self> {
        let (objective, source) = <(Objective, AsaLocator)>::read(value)?;
        Some(Self { objective, source })
    }
}

impl Form for AsaView {
    fn form(&self) -> Value {
        Value::Array(vec![self.name.form(), self.nonce.form()])
    }
}

impl Formed for AsaView {
    fn read(value: Value) -> Option<Self> {
        let (name, nonce) = <(String, AsaNonce)>::read(value)?;
        Some(Self { name, nonce })
    }
}

impl Form for ObjectiveView {
    fn form(&self) -> Value {
        fields([
            ("objective", self.objective.form()),
            ("owners", self.owners.form()),
            ("listening", self.listening.form()),
            ("port", self.port.form()),
            ("discoverable", self.discoverable.form()),
            ("overlap", self.overlap.form()),
            ("local", self.local.form()),
            ("rapid", self.rapid.form()),
            ("ttl", self.ttl.form()),
            ("locators", self.locators.form()),
        ])
    }
}

impl Formed for ObjectiveView {
    fn read(value: Value) -> Option<Self> {
        let mut fields = Fields::read(value)?;
        Some(Self {
            objective: fields.take("objective")?,
            owners: fields.take_or("owners")?,
            listening: fields.take_or("listening")?,
            port: fields.take_or("port")?,
            discoverable: fields.take_or("discoverable")?,
            overlap: fields.take_or("overlap")?,
            local: fields.take_or("local")?,
            rapid: fields.take_or("rapid")?,
            ttl: fields.take_or("ttl")?,
            locators: fields.take_or("locators")?,
        })
    }
}

impl Form for DiscoveryView {
    fn form(&self) -> Value {
        fields([
            ("name", self.name.form()),
            ("locators", self.locators.form()),
            ("rapid", self.rapid.form()),
            ("rapid_expire", self.rapid_expire.form()),
        ])
    }
}

impl Formed for DiscoveryView {
    fn read(value: Value) -> Option<Self> {
        let mut fields = Fields::read(value)?;
        Some(Self {
            name: fields.take("name")?,
            locators: fields.take_or("locators")?,
            rapid: fields.take("rapid")?,
            rapid_expire: fields.take_or("rapid_expire")?,
        })
    }
}

impl Form for FloodView {
    fn form(&self) -> Value {
        Value::Array(vec![self.tagged.form(), self.from.form()])
    }
}

impl Formed for FloodView {
    fn read(value: Value) -> Option<Self> {
        let (tagged, from) = <(TaggedObjective, Option<(u32, Ipv6Addr)>)>::read(value)?;
        Some(Self { tagged, from })
    }
}
