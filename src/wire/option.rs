//! Parses options and objectives from decoded items (RFC 8990 §2.9, §2.10).

use std::net::IpAddr;

use super::{Flags, Outcome, WireLocator, WireObjective};
use crate::constants::option_type::{
    O_ACCEPT, O_DECLINE, O_DIVERT, O_FQDN_LOCATOR, O_IPV4_LOCATOR, O_IPV6_LOCATOR, O_URI_LOCATOR,
};
use crate::types::{Locator, Protocol, Value};

/// An unsigned integer that fits into `T`; not a float, boolean, bignum or negative number.
pub(super) fn uint<T: TryFrom<i128>>(value: &Value) -> Option<T> {
    match value {
        Value::Integer(number @ 0..) => T::try_from(*number).ok(),
        _ => None,
    }
}

/// The type of an option: its first element, an unsigned integer (RFC 8990 §2.9.1).
pub(super) fn option_type(items: &[Value]) -> Option<u64> {
    items.first().and_then(uint)
}

/// Parses an address by its length: 4 bytes are IPv4, 16 are IPv6. An IPv4-mapped address stays IPv6.
///
/// ```cddl
/// initiator = ipv4-address / ipv6-address
/// ipv4-address = bytes .size 4
/// ipv6-address = bytes .size 16
/// ```
pub(super) fn address(value: &Value) -> Option<IpAddr> {
    let Value::Bytes(bytes) = value else { return None };
    <[u8; 16]>::try_from(bytes.as_slice())
        .map(IpAddr::from)
        .or_else(|_| <[u8; 4]>::try_from(bytes.as_slice()).map(IpAddr::from))
        .ok()
}

/// Parses a locator option (RFC 8990 §2.9.5). `None` if the option is another one or malformed.
///
/// ```cddl
/// locator-option = ipv6-locator-option / ipv4-locator-option / fqdn-locator-option / uri-locator-option
/// ipv6-locator-option = [O_IPv6_LOCATOR, ipv6-address, transport-proto, port-number]
/// ipv4-locator-option = [O_IPv4_LOCATOR, ipv4-address, transport-proto, port-number]
/// fqdn-locator-option = [O_FQDN_LOCATOR, text, transport-proto, port-number]
/// uri-locator-option = [O_URI_LOCATOR, text, transport-proto / null, port-number / null]
/// transport-proto = IPPROTO_TCP / IPPROTO_UDP
/// port-number = 0..65535
/// ```
///
/// Any other protocol number is accepted too: BRSKI floods 41, and §2.9.5.1 (note 3) expects numbers that are not in
/// IANA's registry yet. Only a URI may have a null protocol or port, "if not required" (§2.9.5.4). For an address or a
/// name, "the protocol number and port number to be used" must follow (§2.9.5.1 to §2.9.5.3), and null is not a number.
pub(super) fn locator(items: &[Value]) -> Option<WireLocator> {
    let kind = option_type(items)?;
    let (locator, protocol, port) = match (kind, items) {
        // graspy puts a URI without protocol and port into a Divert as `[106, text]`.
        (O_URI_LOCATOR, [_, Value::Text(uri)]) => (Locator::Uri(uri.clone()), None, None),
        // RFC 8990 §2.9.5.4: only a URI may have no protocol or port.
        (O_URI_LOCATOR, [_, Value::Text(uri), protocol, port]) => {
            let protocol = if protocol.is_null() { None } else { Some(transport(protocol)?) };
            let port = if port.is_null() { None } else { Some(uint(port)?) };
            (Locator::Uri(uri.clone()), protocol, port)
        }
        (_, [_, place, protocol, port]) => {
            let locator = match (kind, place) {
                (O_IPV6_LOCATOR, place) => address(place).filter(IpAddr::is_ipv6)?.into(), // RFC 8990 §2.9.5.1
                (O_IPV4_LOCATOR, place) => address(place).filter(IpAddr::is_ipv4)?.into(), // RFC 8990 §2.9.5.2
                (O_FQDN_LOCATOR, Value::Text(name)) => Locator::Fqdn(name.clone()), // RFC 8990 §2.9.5.3
                _ => return None,
            };
            (locator, Some(transport(protocol)?), Some(uint(port)?))
        }
        _ => return None,
    };
    Some(WireLocator { locator, protocol, port })
}

fn transport(value: &Value) -> Option<Protocol> {
    uint(value).map(Protocol::from_number)
}

/// Parses a Divert option (RFC 8990 §2.9.2). `None` if it is another option or malformed. Nested locators, which graspy
/// once sent, are malformed.
///
/// ```cddl
/// divert-option = [O_DIVERT, +locator-option]
/// ```
pub(super) fn divert(items: &[Value]) -> Option<Vec<WireLocator>> {
    match (option_type(items)?, items) {
        (O_DIVERT, [_, locators @ ..]) if !locators.is_empty() => {
            locators.iter().map(|value| value.as_array().and_then(locator)).collect()
        }
        _ => None,
    }
}

/// Whether this is an Accept or a Decline option, well-formed or not.
pub(super) fn is_outcome(items: &[Value]) -> bool {
    matches!(option_type(items), Some(O_ACCEPT | O_DECLINE))
}

/// Parses an Accept or a Decline option (RFC 8990 §2.9.3, §2.9.4).
///
/// ```cddl
/// accept-option = [O_ACCEPT]
/// decline-option = [O_DECLINE, ?reason]
/// reason = text
/// ```
pub(super) fn outcome(items: &[Value]) -> Option<Outcome> {
    match (option_type(items)?, items) {
        (O_ACCEPT, [_]) => Some(Outcome::Accept),
        (O_DECLINE, [_]) => Some(Outcome::Decline(None)),
        (O_DECLINE, [_, Value::Text(reason)]) => Some(Outcome::Decline(Some(reason.clone()))),
        _ => None,
    }
}

/// Parses an objective (RFC 8990 §2.10.1). Returns the items unchanged if they are not one. The name must not be empty,
/// because no objective can be registered with an empty name.
///
/// ```cddl
/// objective = [objective-name, objective-flags, loop-count, ?objective-value]
/// objective-name = text
/// objective-flags = uint .bits objective-flag
/// loop-count = 0..255
/// objective-value = any
/// ```
pub(super) fn objective(items: Vec<Value>) -> Result<WireObjective, Vec<Value>> {
    let numbers = match items.as_slice() {
        [Value::Text(name), flags, count] | [Value::Text(name), flags, count, _] if !name.is_empty() => {
            uint(flags).zip(uint(count))
        }
        _ => None,
    };
    let Some((flags, loop_count)) = numbers else { return Err(items) };
    let mut items = items.into_iter();
    match items.next() {
        Some(Value::Text(name)) => {
            Ok(WireObjective { name, flags: Flags(flags), loop_count, value: items.nth(2) })
        }
        _ => Err(items.collect()),
    }
}
