//! The decisions of both sides of a negotiation. Nothing here sends or waits.
//!
//! ```text
//! asker                                     giver
//!   | -- M_REQ_NEG  [6, 57, null] ----------> | answer(): takes a prefix from the pool into escrow
//!   | <- M_NEGOTIATE [6, 57, prefix] -------- |
//!   | judge()                                 |
//!   | -- M_END accept, or decline ----------> | ending(): says what the books enter
//!   | has the prefix if M_END could be sent   |
//! ```

use std::net::Ipv6Addr;

use grasp::{Error, Negotiation};

use super::ledger::{Ending, Ledger, Ticket};
use super::{BadMessage, Message};
use super::{Family, Prefix};

/// The longest IPv6 prefix that may be requested or offered.
pub const LONGEST: u8 = 96;

/// The giver's answer to a request. The reasons are graspy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An offer of a prefix that is now in escrow.
    Offer(Ticket, Prefix),
    /// A refusal with its reason.
    Decline(&'static str),
}

/// Answers a request: with the requested length; in IPv6 with the largest prefix if that is smaller.
///
/// It offers the maximum at once, so there is nothing to negotiate further, and no loop.
pub fn answer(ledger: &mut Ledger, peer: Ipv6Addr, request: &Message) -> Answer {
    if ledger.escrow().any(|offered| Some(*offered) == request.prefix) {
        return Answer::Decline("Prefix is being offered");
    }
    if let Some((named, ticket)) =
        request.prefix.and_then(|named| Some((named, ledger.offer_again(peer, named)?)))
    {
        return Answer::Offer(ticket, named);
    }
    let (allowed, longest) = match request.family {
        Family::V6 => (32..=LONGEST, LONGEST),
        Family::V4 => (16..=32, request.length),
    };
    if !allowed.contains(&request.length) {
        return Answer::Decline("Prefix length out of range");
    }
    if ledger.pool().is_empty() {
        return Answer::Decline("Prefix pool empty");
    }
    match ledger.offer(peer, request.family, request.length, longest) {
        Some((ticket, prefix)) => Answer::Offer(ticket, prefix),
        None => Answer::Decline("No prefix available"),
    }
}

/// Returns what the result of the giver's `negotiate_step` means for the offer. A prefix becomes free only if the
/// result rules out that the peer has accepted.
#[must_use]
pub const fn ending(result: &Result<Negotiation, Error>) -> Ending {
    match result {
        Ok(Negotiation::Agreed(_)) => Ending::Accepted,
        // A counter-offer is not an acceptance either.
        Ok(Negotiation::Offer(..)) | Err(Error::Declined(_)) => Ending::Refused,
        // All but the last occur before sending. The last means that the peer's side of the connection ended normally,
        // with nothing sent on it: TCP would have delivered an acceptance before.
        Err(
            Error::LoopExhausted
            | Error::NotNeg
            | Error::NotBoth
            | Error::NotYourObj
            | Error::NoAsa
            | Error::NoSocket
            | Error::NoPeer,
        ) => Ending::Gone,
        // Silence, a broken connection, an invalid message, the end of our own engine.
        Err(_) => Ending::Unknown,
    }
}

/// Whether the asker accepts an offer; if not, why. In IPv4 it accepts any size.
///
/// # Errors
/// The reason to decline.
pub fn judge(
    ledger: &Ledger,
    request: &Message,
    offered: Result<Message, BadMessage>,
) -> Result<Prefix, String> {
    let offered = offered.map_err(|error| error.to_string())?;
    let prefix = offered.prefix.ok_or("No prefix in offer")?;
    if offered.family != request.family {
        return Err("Wrong IP version".to_owned());
    }
    if offered.family == Family::V6 && offered.length > request.length {
        return Err("Insufficient offer".to_owned());
    }
    if ledger.has(&prefix) {
        return Err("Prefix is here already".to_owned());
    }
    Ok(prefix)
}

/// Returns the IPv6 prefix length to ask for when `have` subnets of length `unit` exist and `need` are needed: two to
/// four times the missing amount. `None` if nothing is missing.
#[must_use]
pub fn wish(unit: u8, need: u128, have: u128) -> Option<u8> {
    let bits = need.checked_sub(have)?.checked_ilog2()?;
    let bits = u8::try_from(bits).unwrap_or(u8::MAX);
    Some(unit.saturating_sub(bits).saturating_sub(2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pfxm::Form;

    const PEER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);

    fn ledger(prefixes: &[&str]) -> Ledger {
        let mut ledger = Ledger::new();
        assert!(prefixes.iter().all(|text| ledger.receive(text.parse().unwrap())));
        ledger
    }

    fn request(family: Family, length: u8) -> Message {
        Message { family, length, prefix: None }
    }

    fn message(text: &str) -> Message {
        let prefix: Prefix = text.parse().unwrap();
        Message { family: prefix.family(), length: prefix.length(), prefix: Some(prefix) }
    }

    fn offered(ledger: &mut Ledger, request: &Message) -> Result<String, &'static str> {
        match answer(ledger, PEER, request) {
            Answer::Offer(_, prefix) => Ok(prefix.to_string()),
            Answer::Decline(reason) => Err(reason),
        }
    }

    #[test]
    fn a_giver_offers_what_it_can() {
        let mut ledger = ledger(&["2001:db8::/60", "10.0.0.0/24"]);
        assert_eq!(offered(&mut ledger, &request(Family::V4, 20)), Err("No prefix available"));
        assert_eq!(offered(&mut ledger, &request(Family::V4, 25)).unwrap(), "10.0.0.128/25");
        assert_eq!(offered(&mut ledger, &request(Family::V6, 62)).unwrap(), "2001:db8:0:c::/62");
        assert_eq!(offered(&mut ledger, &request(Family::V6, 57)).unwrap(), "2001:db8::/61");
        for wrong in [
            request(Family::V4, 15),
            request(Family::V4, 33),
            request(Family::V6, 31),
            request(Family::V6, 97),
        ] {
            assert_eq!(offered(&mut ledger, &wrong), Err("Prefix length out of range"));
        }
        assert_eq!(offered(&mut Ledger::new(), &request(Family::V6, 57)), Err("Prefix pool empty"));
    }

    #[test]
    fn a_named_prefix_is_offered_again() {
        let mut ledger = ledger(&["2001:db8::/60"]);
        let Answer::Offer(ticket, prefix) = answer(&mut ledger, PEER, &request(Family::V6, 61)) else {
            panic!()
        };
        let named = message(&prefix.to_string());
        assert_eq!(offered(&mut ledger, &named), Err("Prefix is being offered"));
        ledger.conclude(ticket, Ending::Unknown, std::time::Instant::now());
        assert_eq!(offered(&mut ledger, &named).unwrap(), prefix.to_string());
        let unknown = message("2001:db8:1::/61");
        assert_eq!(offered(&mut ledger, &unknown).unwrap(), "2001:db8::/61", "as if it had named nothing");
    }

    #[test]
    fn only_certainty_makes_a_prefix_free() {
        for unknown in
            [Error::NoNegReply, Error::NoValidStep, Error::InvalidEnd, Error::CborFail, Error::InvalidNeg]
        {
            assert_eq!(ending(&Err(unknown)), Ending::Unknown);
        }
        for unknown in [Error::NoSession, Error::Unspec, Error::SockErrNegStep, Error::NoSecurity] {
            assert_eq!(ending(&Err(unknown)), Ending::Unknown);
        }
        assert_eq!(ending(&Err(Error::Declined(None))), Ending::Refused);
        assert_eq!(ending(&Err(Error::NoPeer)), Ending::Gone);
        assert_eq!(ending(&Err(Error::LoopExhausted)), Ending::Gone);
    }

    #[test]
    fn an_asker_takes_nothing_too_small_and_nothing_twice() {
        let ledger = ledger(&["2001:db8::/60"]);
        let (six, four) = (request(Family::V6, 60), request(Family::V4, 20));
        let judged =
            |request, text: &str| judge(&ledger, request, Ok(message(text))).map(|taken| taken.to_string());
        assert_eq!(judged(&six, "2001:db8:0:100::/60").unwrap(), "2001:db8:0:100::/60");
        assert_eq!(judged(&six, "2001:db8:1::/48").unwrap(), "2001:db8:1::/48");
        assert_eq!(judged(&six, "2001:db8:0:100::/61"), Err("Insufficient offer".to_owned()));
        assert_eq!(judged(&six, "2001:db8::/48"), Err("Prefix is here already".to_owned()));
        assert_eq!(judged(&four, "10.0.0.0/24").unwrap(), "10.0.0.0/24");
        assert_eq!(judged(&four, "2001::/16"), Err("Wrong IP version".to_owned()));
        let bad = Form::Array.decode(&grasp::Value::Null);
        assert_eq!(judge(&ledger, &six, bad), Err("Value is not a prefix".to_owned()));
    }

    #[test]
    fn an_asker_wishes_for_more_than_it_lacks() {
        assert_eq!(wish(64, 32, 0), Some(57));
        assert_eq!(wish(64, 1, 0), Some(62));
        assert_eq!(wish(64, 33, 32), Some(62));
        assert_eq!(wish(64, 32, 32), None);
        assert_eq!(wish(64, 0, 5), None);
    }
}
