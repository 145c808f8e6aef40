//! Reads options and objectives of messages (RFC 8990 §2.9, §2.10).

use std::net::IpAddr;

use super::{Flags, Outcome, WireLocator, WireObjective, WireOption};
use crate::cbor::head::{self, Head};
use crate::cbor::items::{Elements, Items};
use crate::constants::option_type::{
    O_ACCEPT, O_DECLINE, O_DIVERT, O_FQDN_LOCATOR, O_IPV4_LOCATOR, O_IPV6_LOCATOR, O_URI_LOCATOR,
};
use crate::types::{Locator, Protocol};

/// The type of the option that comes next: its first element, an unsigned integer (RFC 8990 §2.9.1). The option is not
/// read yet.
pub(super) fn option_type(items: &Items<'_>) -> Option<u64> {
    let mut items = items.clone();
    let mut option = items.enter()?;
    items.next(&mut option)?.uint()
}

/// An address by its length: 4 bytes are IPv4, 16 are IPv6. An IPv4-mapped address stays IPv6.
///
/// ```cddl
/// initiator = ipv4-address / ipv6-address
/// ipv4-address = bytes .size 4
/// ipv6-address = bytes .size 16
/// ```
pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 16]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 4]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// What may stand in a response (RFC 8990 §2.8.5).
pub(super) enum Element {
    Objective(WireObjective),
    Option(WireOption),
}

/// Reads an objective, a locator or a Divert. `None` if it is something else or malformed.
pub(super) fn element(items: &mut Items<'_>) -> Option<Element> {
    let mut inside = items.enter()?;
    match items.next(&mut inside)?.peek()? {
        Head::Unsigned(O_DIVERT) => divert(items, inside).map(WireOption::Divert).map(Element::Option),
        Head::Unsigned(_) => locator_inside(items, inside).map(WireOption::Locator).map(Element::Option),
        _ => objective_inside(items, inside).map(Element::Objective),
    }
}

/// Reads a locator option (RFC 8990 §2.9.5). `None` if the option is another one or malformed.
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
pub(super) fn locator(items: &mut Items<'_>) -> Option<WireLocator> {
    let mut option = items.enter()?;
    items.next(&mut option)?;
    locator_inside(items, option)
}

/// The same from its first element on.
fn locator_inside(items: &mut Items<'_>, mut option: Elements) -> Option<WireLocator> {
    let kind: u64 = items.uint()?;
    items.next(&mut option)?;
    let locator = match kind {
        O_IPV6_LOCATOR => address(&items.bytes()?).filter(IpAddr::is_ipv6)?.into(), // RFC 8990 §2.9.5.1
        O_IPV4_LOCATOR => address(&items.bytes()?).filter(IpAddr::is_ipv4)?.into(), // RFC 8990 §2.9.5.2
        O_FQDN_LOCATOR => Locator::Fqdn(items.text()?),                             // RFC 8990 §2.9.5.3
        O_URI_LOCATOR => Locator::Uri(items.text()?),                               // RFC 8990 §2.9.5.4
        _ => return None,
    };
    let is_uri = kind == O_URI_LOCATOR;
    let (protocol, port) = match items.more(&mut option) {
        // graspy puts a URI without protocol and port into a Divert as `[106, text]`.
        false if is_uri => (None, None),
        false => return None,
        true => {
            let protocol = number_or_null(items, is_uri)?;
            items.next(&mut option)?;
            (protocol, number_or_null(items, is_uri)?)
        }
    };
    items.leave(option)?;
    Some(WireLocator { locator, protocol: protocol.map(Protocol::from_number), port })
}

/// RFC 8990 §2.9.5.4: only a URI may have no protocol or port.
fn number_or_null<T: TryFrom<u64>>(items: &mut Items<'_>, null_is_allowed: bool) -> Option<Option<T>> {
    match items.head()? {
        Head::Unsigned(number) => T::try_from(number).ok().map(Some),
        Head::Simple(head::NULL) if null_is_allowed => Some(None),
        _ => None,
    }
}

/// Reads a Divert option from its first element on (RFC 8990 §2.9.2). Nested locators, which graspy once sent, are
/// malformed.
///
/// ```cddl
/// divert-option = [O_DIVERT, +locator-option]
/// ```
fn divert(items: &mut Items<'_>, mut option: Elements) -> Option<Vec<WireLocator>> {
    let _: u64 = items.uint()?;
    let mut locators = Vec::new();
    while items.more(&mut option) {
        locators.push(locator(items)?);
    }
    items.leave(option)?;
    (!locators.is_empty()).then_some(locators)
}

/// Reads an Accept or a Decline option (RFC 8990 §2.9.3, §2.9.4). `None` if the option is another one or malformed.
///
/// ```cddl
/// accept-option = [O_ACCEPT]
/// decline-option = [O_DECLINE, ?reason]
/// reason = text
/// ```
pub(super) fn outcome(items: &mut Items<'_>) -> Option<Outcome> {
    let mut option = items.enter()?;
    let outcome = match items.next(&mut option)?.uint()? {
        O_ACCEPT => Outcome::Accept,
        O_DECLINE if items.more(&mut option) => Outcome::Decline(Some(items.text()?)),
        O_DECLINE => Outcome::Decline(None),
        _ => return None,
    };
    items.leave(option)?;
    Some(outcome)
}

/// Reads an objective (RFC 8990 §2.10.1). `None` if the item is not one. The name must not be empty, because no objective can be registered with an empty name.
///
/// ```cddl
/// objective = [objective-name, objective-flags, loop-count, ?objective-value]
/// objective-name = text
/// objective-flags = uint .bits objective-flag
/// loop-count = 0..255
/// objective-value = any
/// ```
pub(super) fn objective(items: &mut Items<'_>) -> Option<WireObjective> {
    let mut objective = items.enter()?;
    items.next(&mut objective)?;
    objective_inside(items, objective)
}

/// The same from its first element on.
fn objective_inside(items: &mut Items<'_>, mut objective: Elements) -> Option<WireObjective> {
    let name = items.text().filter(|name| !name.is_empty())?;
    let flags = Flags(items.next(&mut objective)?.uint()?);
    let loop_count = items.next(&mut objective)?.uint()?;
    let value = if items.more(&mut objective) { Some(items.value()?) } else { None };
    items.leave(objective)?;
    Some(WireObjective { name, flags, loop_count, value })
}
