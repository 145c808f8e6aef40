//! The values of PrefixManager and PrefixManager.Params: what is asked and offered (RFC 8992).
//!
//! ```text
//! PrefixManager   (RFC 8992 §4)      [6, length, ?prefix]    prefix: 16 bytes
//!                                    [4, length, ?prefix]    prefix: 4 bytes
//! PrefixManagerT  (RFC 9164 §3.1.2)  54([length, prefix])    prefix without zero bytes at its end
//!                                    52([length, prefix])
//! ```
//!
//! A request has no prefix: graspy sends null instead in the first form, zero bytes in the second. This module
//! understands all of these, and sends the same, because graspy fails without it: it cannot read `54([57, h''])`, which
//! is the encoding of `::/57` in RFC 9164.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::prefix::{Family, Prefix, PrefixError};
use crate::plain::Plain;
use crate::types::Value;

/// The form that is used, one of two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Arrays, RFC 8992.
    #[default]
    Array,
    /// Tags 52 and 54, RFC 9164.
    Tags,
}

/// A request or an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// IPv4 or IPv6.
    pub family: Family,
    /// The length wanted or offered.
    pub length: u8,
    /// The prefix; in a request, one that was offered before and could not be accepted.
    pub prefix: Option<Prefix>,
}

/// Why a value is not a valid message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadMessage {
    /// Not the expected array or tag.
    Shape,
    /// Neither IPv4 nor IPv6, or a wrong tag.
    Version,
    /// A wrong prefix.
    Prefix(PrefixError),
}

impl Form {
    /// The name of the objective.
    #[must_use]
    pub const fn objective(self) -> &'static str {
        match self {
            Self::Array => "PrefixManager",
            Self::Tags => "PrefixManagerT",
        }
    }

    /// Encodes a message as a value.
    #[must_use]
    pub fn encode(self, message: &Message) -> Value {
        let length = Value::from(message.length);
        match self {
            Self::Array => {
                let prefix = Value::from(message.prefix.map(|prefix| prefix.bytes()));
                Value::from(vec![Value::from(message.family.version()), length, prefix])
            }
            Self::Tags => {
                let whole = usize::from(message.family.width() / 8);
                let mut bytes = message.prefix.map_or_else(|| vec![0; whole], |prefix| prefix.bytes());
                let used = usize::from(message.length.div_ceil(8));
                // graspy looks at the last byte if not all of its bits count, so that byte stays.
                let short = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                bytes.truncate(if message.length.is_multiple_of(8) { short } else { used });
                Value::Tag(tag(message.family), Box::new(Value::from(vec![length, Value::from(bytes)])))
            }
        }
    }

    /// Decodes a message from a value. Opens a value that is encoded a second time (tag 24).
    ///
    /// # Errors
    /// See [`BadMessage`].
    pub fn decode(self, value: &Value) -> Result<Message, BadMessage> {
        if let Some(inner) = value.embedded() {
            // A value that is encoded a third time is not opened: the peer decides how deep that goes.
            return match inner {
                Ok(Value::EncodedCbor(_)) | Err(_) => Err(BadMessage::Shape),
                Ok(inner) => self.decode(&inner),
            };
        }
        let (family, length, prefix) = match (self, value) {
            (Self::Array, Value::Array(items)) => match items.as_slice() {
                [version, length, rest @ ..] => (version_of(version)?, length, rest.first()),
                _ => return Err(BadMessage::Shape),
            },
            (Self::Tags, Value::Tag(tag, inside)) => match inside.as_array() {
                Some([length, prefix]) => (family_of_tag(*tag)?, length, Some(prefix)),
                _ => return Err(BadMessage::Shape),
            },
            _ => return Err(BadMessage::Shape),
        };
        let length = length.as_i64().ok_or(BadMessage::Shape)?;
        let length = u8::try_from(length).ok().filter(|length| *length <= family.width());
        let length = length.ok_or(BadMessage::Prefix(PrefixError::Length))?;
        let prefix = match prefix {
            None | Some(Value::Null) => None,
            // The unspecified address is not a prefix, however many of its bytes are present.
            Some(Value::Bytes(bytes)) if bytes.iter().all(|byte| *byte == 0) => None,
            Some(Value::Bytes(bytes)) => Some(bytes),
            Some(_) => return Err(BadMessage::Shape),
        };
        let prefix = prefix.map(|bytes| Prefix::from_bytes(family, length, bytes)).transpose();
        Ok(Message { family, length, prefix: prefix.map_err(BadMessage::Prefix)? })
    }
}

const fn tag(family: Family) -> u64 {
    match family {
        Family::V4 => 52,
        Family::V6 => 54,
    }
}

fn family_of_tag(number: u64) -> Result<Family, BadMessage> {
    [Family::V4, Family::V6].into_iter().find(|family| tag(*family) == number).ok_or(BadMessage::Version)
}

fn version_of(version: &Value) -> Result<Family, BadMessage> {
    match version.as_i64() {
        Some(4) => Ok(Family::V4),
        Some(6) => Ok(Family::V6),
        _ => Err(BadMessage::Version),
    }
}

impl fmt::Display for BadMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape => f.write_str("Value is not a prefix"),
            Self::Version => f.write_str("Neither IPv4 nor IPv6"),
            Self::Prefix(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BadMessage {}

/// The value of `PrefixManager.Params`: which kind of node gets which length of prefix (RFC 8992 §6.2).
///
/// ```text
/// [[["role", "RSG"], ["prefix_length", 34]], [["role", "ASG"], ["prefix_length", 44]]]
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Parameters(pub Vec<Role>);

/// One kind of node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its name; in radio access networks RSG, ASG or CSG: radio network controller, aggregation and cell site gateway.
    pub role: String,
    /// The length of the prefixes that it gets.
    pub prefix_length: u8,
}

impl From<Parameters> for Value {
    fn from(parameters: Parameters) -> Self {
        let pair = |name: &str, value: Self| Self::from(vec![Self::from(name), value]);
        let role = |role: Role| {
            Self::from(vec![pair("role", role.role.into()), pair("prefix_length", role.prefix_length.into())])
        };
        Self::Array(parameters.0.into_iter().map(role).collect())
    }
}

impl TryFrom<Value> for Parameters {
    type Error = BadMessage;

    fn try_from(value: Value) -> Result<Self, BadMessage> {
        let role = |role: &Value| {
            let pairs = role.as_array()?.iter().map(|pair| match pair.as_array() {
                Some([name, value]) => name.as_str().map(|name| (name, value)),
                _ => None,
            });
            let pairs: Vec<_> = pairs.collect::<Option<_>>()?;
            let of = |wanted: &str| pairs.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
            Some(Role {
                role: of("role")?.as_str()?.to_owned(),
                prefix_length: of("prefix_length")?
                    .as_i64()?
                    .try_into()
                    .ok()
                    .filter(|length| *length <= 128)?,
            })
        };
        let roles = value.as_array().map(|roles| roles.iter().map(role).collect::<Option<_>>());
        roles.flatten().map(Self).ok_or(BadMessage::Shape)
    }
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Role { role, prefix_length }) in self.0.iter().enumerate() {
            write!(f, "{}{} /{prefix_length}", if number == 0 { "" } else { ", " }, Plain(role))?;
        }
        Ok(())
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.prefix {
            Some(prefix) => prefix.fmt(f),
            None => write!(f, "any {} /{}", self.family, self.length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        let prefix: Prefix = text.parse().unwrap();
        Message { family: prefix.family(), length: prefix.length(), prefix: Some(prefix) }
    }

    fn request(family: Family, length: u8) -> Message {
        Message { family, length, prefix: None }
    }

    #[test]
    fn the_values_are_those_of_the_documents() {
        let offer = message("2001:db8:8000::/34");
        assert_eq!(Form::Array.encode(&offer).to_string(), "[6, 34, h'20010db8800000000000000000000000']");
        assert_eq!(Form::Array.encode(&message("10.16.0.0/20")).to_string(), "[4, 20, h'0a100000']");
        assert_eq!(Form::Array.encode(&request(Family::V6, 57)).to_string(), "[6, 57, null]");
        assert_eq!(Form::Tags.encode(&offer).to_string(), "54([34, h'20010db880'])");
        assert_eq!(Form::Tags.encode(&message("10.16.0.0/20")).to_string(), "52([20, h'0a1000'])");
        assert_eq!(Form::Tags.encode(&message("10.16.0.0/24")).to_string(), "52([24, h'0a10'])");
        assert_eq!(Form::Tags.encode(&request(Family::V6, 64)).to_string(), "54([64, h''])");
        assert_eq!(Form::Tags.encode(&request(Family::V4, 20)).to_string(), "52([20, h'000000'])");
        assert_eq!(
            Value::from(Parameters(
                [("RSG", 34), ("ASG", 44), ("CSG", 56)]
                    .map(|(role, prefix_length)| Role { role: role.to_owned(), prefix_length })
                    .to_vec()
            ))
            .to_string(),
            r#"[[["role", "RSG"], ["prefix_length", 34]], [["role", "ASG"], ["prefix_length", 44]], [["role", "CSG"], ["prefix_length", 56]]]"#
        );
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for given in [
            message("2001:db8::/57"),
            message("10.0.0.0/8"),
            request(Family::V4, 20),
            request(Family::V6, 128),
        ] {
            for form in [Form::Array, Form::Tags] {
                assert_eq!(form.decode(&form.encode(&given)), Ok(given));
                assert_eq!(
                    form.decode(&form.encode(&given).encoded_cbor()),
                    Ok(given),
                    "as an embedded item"
                );
            }
        }
    }

    #[test]
    fn all_ways_to_ask_are_understood() {
        let (six, sixty) = (Value::from(6), Value::from(60));
        let zeros = Value::from(vec![0; 16]);
        for rest in [vec![], vec![Value::Null], vec![zeros.clone()], vec![Value::Null, Value::from("more")]] {
            let value = Value::from([vec![six.clone(), sixty.clone()], rest].concat());
            assert_eq!(Form::Array.decode(&value), Ok(request(Family::V6, 60)), "{value}");
        }
        // In the form in which graspy's pfxm4 asks.
        let value = Value::Tag(54, Box::new(Value::from(vec![sixty, Value::from(vec![0; 8])])));
        assert_eq!(Form::Tags.decode(&value), Ok(request(Family::V6, 60)));
    }

    #[test]
    fn nonsense_is_an_error() {
        let array = |items: &[Value]| Form::Array.decode(&Value::from(items.to_vec()));
        let tagged =
            |tag, items: &[Value]| Form::Tags.decode(&Value::Tag(tag, Box::new(items.to_vec().into())));
        let ff = Value::from(vec![255]);
        assert_eq!(array(&[5.into(), 60.into()]), Err(BadMessage::Version));
        assert_eq!(array(&[6.into()]), Err(BadMessage::Shape));
        assert_eq!(array(&[6.into(), "60".into()]), Err(BadMessage::Shape));
        assert_eq!(array(&[6.into(), (-1).into()]), Err(BadMessage::Prefix(PrefixError::Length)));
        assert_eq!(array(&[4.into(), 33.into()]), Err(BadMessage::Prefix(PrefixError::Length)));
        assert_eq!(array(&[4.into(), 33.into(), ff.clone()]), Err(BadMessage::Prefix(PrefixError::Length)));
        assert_eq!(
            array(&[4.into(), 4.into(), ff.clone()]),
            Err(BadMessage::Prefix(PrefixError::CovertBits))
        );
        assert_eq!(tagged(53, &[8.into(), ff.clone()]), Err(BadMessage::Version));
        assert_eq!(tagged(54, &[ff, 8.into()]), Err(BadMessage::Shape));
        assert_eq!(Form::Array.decode(&Value::Null), Err(BadMessage::Shape));
        let twice = Form::Array.encode(&request(Family::V6, 60)).encoded_cbor().encoded_cbor();
        assert_eq!(Form::Array.decode(&twice), Err(BadMessage::Shape));
        assert_eq!(Form::Array.decode(&Value::EncodedCbor(vec![0xff])), Err(BadMessage::Shape));
    }
}
