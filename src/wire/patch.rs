//! Relays a message without rewriting it: the value of an objective is opaque, so a relay changes only the loop count
//! and no other byte (RFC 8990 §2.5.4.4, §2.5.6.2, §2.10.1).

use super::Limits;
use crate::cbor::codec as cbor;
use crate::cbor::head::{self, Head, Major, Reader};
use crate::constants::message_type::{M_DISCOVERY, M_FLOOD};

/// A copy of an encoded M_DISCOVERY or M_FLOOD with another loop count in the first objective; all other bytes are the
/// same. `None` if `datagram` is not such a message, as far as this function must read it. It is meant for datagrams
/// that [`decode`](super::decode()) has accepted.
#[must_use]
pub fn with_loop_count(datagram: &[u8], loop_count: u8) -> Option<Vec<u8>> {
    let mut reader = Reader::new(datagram);
    enter_array(&mut reader)?;
    match reader.head().ok()? {
        Head::Unsigned(M_DISCOVERY) => {
            skip(&mut reader)?; // session identifier
            skip(&mut reader)?; // initiator
        }
        Head::Unsigned(M_FLOOD) => {
            skip(&mut reader)?; // session identifier
            skip(&mut reader)?; // initiator
            skip(&mut reader)?; // ttl
            enter_first_pair(&mut reader)?;
        }
        _ => return None,
    }
    enter_array(&mut reader)?;
    match head_of(&reader)? {
        Head::Text(_) | Head::TextChunks => skip(&mut reader)?, // objective name
        _ => return None,
    }
    let Head::Unsigned(_flags) = reader.head().ok()? else { return None };
    let before = datagram.len().checked_sub(reader.rest().len())?;
    let Head::Unsigned(0..=255) = reader.head().ok()? else { return None };

    let mut out = Vec::with_capacity(datagram.len().saturating_add(1));
    out.extend_from_slice(datagram.get(..before)?);
    head::put(&mut out, Major::Unsigned, u64::from(loop_count));
    out.extend_from_slice(reader.rest());
    Some(out)
}

/// Skips the options that may stand before the first pair, as the decoder does.
fn enter_first_pair(reader: &mut Reader<'_>) -> Option<()> {
    loop {
        let mut inside = Reader::new(reader.rest());
        enter_array(&mut inside)?;
        match head_of(&inside)? {
            Head::Array(_) | Head::OpenArray => {
                *reader = inside;
                return Some(());
            }
            Head::Unsigned(_) => skip(reader)?,
            _ => return None,
        }
    }
}

fn enter_array(reader: &mut Reader<'_>) -> Option<()> {
    matches!(reader.head(), Ok(Head::Array(_) | Head::OpenArray)).then_some(())
}

fn head_of(reader: &Reader<'_>) -> Option<Head> {
    Reader::new(reader.rest()).head().ok()
}

fn skip(reader: &mut Reader<'_>) -> Option<()> {
    let limits = Limits { size: usize::MAX, depth: usize::MAX };
    let length = cbor::item_length(reader.rest(), &limits).ok()?;
    reader.take(u64::try_from(length).ok()?).ok().map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_loop_count_changes() {
        // A long session identifier, an indefinite name and array, a wide float, and an option at the end.
        let before = [0x85, 0x01, 0x1b, 0, 0, 0, 0, 0, 0, 0, 7, 0x44, 192, 0, 2, 1];
        let objective = [0x9f, 0x7f, 0x61, b'a', 0x61, b'b', 0xff, 0x18, 0x05];
        let value = [0xfa, 0x3f, 0x80, 0, 0, 0xff, 0x81, 0x18, 0x6b];
        let datagram = |count: &[u8]| [&before, &objective[..], count, &value].concat();
        for old in [&[6][..], &[0x18, 6], &[0x19, 0, 6], &[0x18, 200]] {
            assert_eq!(with_loop_count(&datagram(old), 5), Some(datagram(&[5])));
            assert_eq!(with_loop_count(&datagram(old), 255), Some(datagram(&[0x18, 255])));
        }
        assert_eq!(with_loop_count(&datagram(&[0x19, 1, 0]), 5), None);
        assert_eq!(with_loop_count(&datagram(&[0x20]), 5), None);
    }

    #[test]
    fn other_messages_are_left_alone() {
        for datagram in [&[][..], &[0x81, 0], &[0x83, 7, 1, 1], &[0x84, 1, 1, 0x44, 1], &[0x09], &[0x81, 9]] {
            assert_eq!(with_loop_count(datagram, 5), None, "{datagram:02x?}");
        }
    }
}
