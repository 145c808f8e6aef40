//! The values of well-known objectives as types. Those of PrefixManager are in `prefix_manager`.

use std::fmt;
use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};

use super::{Form, Known, Parameters};
use crate::plain::Plain;
use crate::types::Value;

/// The error for a value that does not agree with the definition of its objective. `Display` is a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotOfThisKind {
    /// What it should be.
    expected: &'static str,
}

impl NotOfThisKind {
    pub(super) const fn new(expected: &'static str) -> Self {
        Self { expected }
    }
}

impl fmt::Display for NotOfThisKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the value is not {}", self.expected)
    }
}

impl std::error::Error for NotOfThisKind {}

/// The value of AN_ACP: a kind of secure channel (RFC 8994 §6.4).
///
/// ```text
/// objective-value = method-name / [ method, *extension ]
/// method = method-name / [ method-name, *method-param ]
/// ```
///
/// Extensions and parameters are not kept: none is defined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct AcpMethod(pub String);

impl From<AcpMethod> for Value {
    fn from(method: AcpMethod) -> Self {
        Self::Text(method.0)
    }
}

impl TryFrom<Value> for AcpMethod {
    type Error = NotOfThisKind;

    fn try_from(value: Value) -> Result<Self, NotOfThisKind> {
        let inside = |value: &'_ Value| value.as_array().and_then(|items| items.first().cloned());
        let method = inside(&value).unwrap_or(value);
        let name = inside(&method).unwrap_or(method);
        match name {
            Value::Text(name) if is_method(&name) => Ok(Self(name)),
            _ => Err(NotOfThisKind::new("the name of a method, such as \"IKEv2\" or \"DTLS\"")),
        }
    }
}

/// `[A-Za-z@_$]([-.]*[A-Za-z0-9@_$])*`, the names of CDDL (RFC 8610).
fn is_method(name: &str) -> bool {
    let inner = |character: char| character.is_ascii_alphanumeric() || "@_$".contains(character);
    let first = name.chars().next().is_some_and(|first| inner(first) && !first.is_ascii_digit());
    first
        && name.ends_with(inner)
        && name.chars().all(|character| inner(character) || "-.".contains(character))
}

/// The value of GraspConfig, graspy's: a map with numbers for keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct GraspConfig {
    /// The sender's address: key 0.
    pub sender: Ipv6Addr,
    /// The loop count that the flood began with: key 1.
    pub sender_loop_count: u8,
    /// The version of GRASP, 1: key 2.
    pub version: u32,
    /// The largest multicast message in bytes: key 3.
    pub max_multicast: u32,
    /// The largest unicast message in bytes: key 4.
    pub max_unicast: u32,
}

impl From<GraspConfig> for Value {
    fn from(config: GraspConfig) -> Self {
        Self::Map(vec![
            (0.into(), Self::Bytes(config.sender.octets().to_vec())),
            (1.into(), config.sender_loop_count.into()),
            (2.into(), config.version.into()),
            (3.into(), config.max_multicast.into()),
            (4.into(), config.max_unicast.into()),
        ])
    }
}

impl TryFrom<Value> for GraspConfig {
    type Error = NotOfThisKind;

    fn try_from(value: Value) -> Result<Self, NotOfThisKind> {
        let read = || {
            let Value::Map(entries) = &value else { return None };
            let of = |key| entry(entries, key);
            let number = |key| of(key)?.as_i64()?.try_into().ok();
            let sender: [u8; 16] = of(0)?.as_bytes()?.try_into().ok()?;
            Some(Self {
                sender: sender.into(),
                sender_loop_count: of(1)?.as_i64()?.try_into().ok()?,
                version: number(2)?,
                max_multicast: number(3)?,
                max_unicast: number(4)?,
            })
        };
        read().ok_or_else(|| NotOfThisKind::new("a map of address, loop count, version and two sizes"))
    }
}

fn entry(entries: &[(Value, Value)], key: i64) -> Option<&Value> {
    entries.iter().find(|(name, _)| name.as_i64() == Some(key)).map(|(_, value)| value)
}

/// The description of a service: the value of an objective `SRV.*`, as far as draft-eckert-anima-grasp-dnssd describes a
/// service in it. Everything is optional: the objective `SRV.est` of RFC 8994 has no value at all.
///
/// ```text
/// objective-value = { "@rfcXXXX": { 1: sender-loop-count, 2: context-element } }
/// context-element = { ?3: service, *4: instance, ?5: domain, ?6: priority, ?7: weight, *8: kvpairs, ... }
/// ```
///
/// The draft has no number yet: any key that begins with `@rfc` is accepted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Service {
    /// The loop count that the flood began with, from which receivers calculate how far away the sender is.
    pub sender_loop_count: Option<u8>,
    /// The name of the service, as in DNS-SD.
    pub service: Option<String>,
    /// The name of the instance.
    pub instance: Option<String>,
    /// The domain.
    pub domain: Option<String>,
    /// The service with the lowest priority is chosen first (RFC 2782).
    pub priority: Option<u16>,
    /// The share that this service gets among those of the same priority (RFC 2782).
    pub weight: Option<u16>,
    /// Further properties, by name.
    pub parameters: Vec<(String, Value)>,
}

/// The key of the draft's element, as long as the draft is not an RFC.
const ELEMENT: &str = "@rfcXXXX";

impl From<Service> for Value {
    fn from(service: Service) -> Self {
        let Service { sender_loop_count, service, instance, domain, priority, weight, parameters } = service;
        let text = |key: u8, text: Option<String>| text.map(|text| (Self::from(key), Self::from(text)));
        let number =
            |key: u8, number: Option<u16>| number.map(|number| (Self::from(key), Self::from(number)));
        let pairs = parameters.into_iter().map(|(name, value)| (Self::from(name), value)).collect::<Vec<_>>();
        let context = [
            text(3, service),
            text(4, instance),
            text(5, domain),
            number(6, priority),
            number(7, weight),
            (!pairs.is_empty()).then_some((Self::from(8), Self::Map(pairs))),
        ];
        let context: Vec<_> = context.into_iter().flatten().collect();
        let count = sender_loop_count.map(|count| (Self::from(1), Self::from(count)));
        let context = (!context.is_empty()).then_some((Self::from(2), Self::Map(context)));
        let element: Vec<_> = count.into_iter().chain(context).collect();
        if element.is_empty() { Self::Null } else { Self::Map(vec![(ELEMENT.into(), Self::Map(element))]) }
    }
}

impl TryFrom<Value> for Service {
    type Error = NotOfThisKind;

    fn try_from(value: Value) -> Result<Self, NotOfThisKind> {
        let read = || {
            let element = match &value {
                Value::Null | Value::Undefined => return Some(Self::default()),
                Value::Text(text) if text.is_empty() => return Some(Self::default()),
                Value::Map(entries) => entries.iter().find_map(|(name, value)| match value {
                    Value::Map(element) if name.as_str().is_some_and(|name| name.starts_with("@rfc")) => {
                        Some(element)
                    }
                    _ => None,
                }),
                _ => return None,
            }?;
            let none = Vec::new();
            let context = match entry(element, 2) {
                Some(Value::Map(context)) => context,
                Some(_) => return None,
                None => &none,
            };
            let text = |key| entry(context, key).and_then(Value::as_str).map(str::to_owned);
            let number = |key| entry(context, key)?.as_i64()?.try_into().ok();
            let parameters = match entry(context, 8) {
                Some(Value::Map(pairs)) => pairs
                    .iter()
                    .filter_map(|(name, value)| Some((name.as_str()?.to_owned(), value.clone())))
                    .collect(),
                _ => Vec::new(),
            };
            Some(Self {
                sender_loop_count: entry(element, 1)
                    .and_then(Value::as_i64)
                    .and_then(|count| count.try_into().ok()),
                service: text(3),
                instance: text(4),
                domain: text(5),
                priority: number(6),
                weight: number(7),
                parameters,
            })
        };
        read().ok_or_else(|| NotOfThisKind::new("the description of a service"))
    }
}

/// The value in the words of its definition.
pub(super) fn describe(known: Known, value: &Value) -> Result<String, NotOfThisKind> {
    Ok(match known {
        Known::Acp => format!("method {}", Plain(&AcpMethod::try_from(value.clone())?.0)),
        Known::JoinRegistrar => match value.as_str() {
            Some("") => "registrar".to_owned(),
            Some(protocol) => format!("registrar by {}", Plain(protocol)),
            None => return Err(NotOfThisKind::new("the name of a protocol, such as \"EST-TLS\"")),
        },
        Known::Proxy => "join proxy".to_owned(),
        Known::PrefixManager => {
            let message = Form::Array.decode(value).ok().filter(|it| it.length <= it.family.width());
            let wrong = NotOfThisKind::new("a prefix, such as [6, 48] or [6, 48, h'20010db80001']");
            message.ok_or(wrong)?.to_string()
        }
        Known::PrefixManagerParams => Parameters::try_from(value.clone())
            .map_err(|_| NotOfThisKind::new("a list of roles with the lengths of their prefixes"))?
            .to_string(),
        Known::GraspConfig => {
            let config = GraspConfig::try_from(value.clone())?;
            format!(
                "multicasts up to {} bytes, unicasts up to {}, from {}",
                config.max_multicast, config.max_unicast, config.sender
            )
        }
        Known::Service => service_in_words(&Service::try_from(value.clone())?),
    })
}

fn service_in_words(service: &Service) -> String {
    let text =
        |name: &str, text: &Option<String>| text.as_ref().map(|text| format!("{name} {}", Plain(text)));
    let number = |name: &str, number: Option<u16>| number.map(|number| format!("{name} {number}"));
    let words = [
        text("service", &service.service),
        text("instance", &service.instance),
        text("domain", &service.domain),
        number("priority", service.priority),
        number("weight", service.weight),
    ];
    let pairs = service.parameters.iter().map(|(name, value)| format!("{}={value}", Plain(name)));
    let words: Vec<_> = words.into_iter().flatten().chain(pairs).collect();
    if words.is_empty() { "service".to_owned() } else { words.join(", ") }
}
