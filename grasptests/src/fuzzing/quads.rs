//! Encrypted datagrams and streams.

use grasp::QuadsKeys;
use grasp::wire::{ItemScanner, Limits, Progress};

use super::{keys, limits};

/// Bytes in a block.
const BLOCK: usize = 16;

/// The first byte chooses the limits, the second the length of the pieces, the third what is done with the others:
/// they arrive as they are, or are what a peer seals, untouched or with one byte changed.
///
/// What opens is what was sealed. The reader says the same however the stream is cut, and hands out what the scanner
/// finds in the clear.
pub fn quads(input: &[u8]) {
    let [choice, piece, mode, bytes @ ..] = input else { return };
    let (keys, limits, piece) = (keys(), limits(*choice), usize::from(*piece) + 1);
    match mode % 4 {
        0 => opens(&keys, bytes),
        1 => round_trip(&keys, bytes, limits, piece),
        2 => {
            let mut sealed = keys.seal(bytes);
            let at = usize::from(mode >> 2) * BLOCK / 4 % sealed.len();
            if let Some(byte) = sealed.get_mut(at) {
                *byte ^= 1 << (mode >> 5);
            }
            opens(&keys, &sealed);
            cut(&keys, &[&sealed, bytes].concat(), limits, piece);
        }
        _ => {
            cut(&keys, bytes, limits, piece);
        }
    }
}

/// A datagram, whoever sent it.
fn opens(keys: &QuadsKeys, datagram: &[u8]) {
    let whole = datagram.len() / BLOCK * BLOCK;
    if let Some(message) = keys.open(datagram) {
        assert!(message.len() < whole && message.len() + BLOCK >= whole);
        // The padding is complete and the cipher has one form of each message.
        assert_eq!(Some(&keys.seal(&message)[..]), datagram.get(..whole));
    }
    if whole == 0 {
        assert_eq!(keys.open(datagram), None);
    }
}

fn round_trip(keys: &QuadsKeys, message: &[u8], limits: Limits, piece: usize) {
    let sealed = keys.seal(message);
    assert_eq!(sealed.len(), (message.len() / BLOCK + 1) * BLOCK);
    assert_eq!(keys.open(&sealed).as_deref(), Some(message));
    let stream = [&sealed[..], &sealed].concat();
    let (messages, failed) = cut(keys, &stream, limits, piece);
    match ItemScanner::new(limits).feed(message) {
        Ok(Progress::Complete(end)) if end == message.len() => {
            assert_eq!((messages, failed), (vec![message.to_vec(); 2], false));
        }
        // The padding cannot be taken for the rest of the item: the next message is.
        Ok(Progress::Incomplete) => {}
        // More than one item: that is wrong, unless what follows the first can be taken for its padding.
        Ok(Progress::Complete(end)) => {
            let pad = u8::try_from(sealed.len() - message.len()).expect("a block at most");
            let padded = [message, &vec![pad; pad.into()]].concat();
            let behind = padded.get(end..(end / BLOCK + 1) * BLOCK).expect("within the padding");
            if behind.iter().all(|byte| usize::from(*byte) == behind.len()) {
                assert_eq!(messages.first().map(Vec::as_slice), message.get(..end));
            } else {
                assert!(failed && messages.is_empty());
            }
        }
        Err(_) => assert!(failed && messages.is_empty(), "no item"),
    }
}

/// The messages that a reader finds and whether it fails in the end; the same in one piece and in many.
fn cut(keys: &QuadsKeys, stream: &[u8], limits: Limits, piece: usize) -> (Vec<Vec<u8>>, bool) {
    let whole = read(keys, [stream], limits);
    assert_eq!(read(keys, stream.chunks(piece), limits), whole, "in pieces of {piece}");
    whole
}

fn read<'a>(
    keys: &QuadsKeys,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limits: Limits,
) -> (Vec<Vec<u8>>, bool) {
    let mut reader = keys.reader(limits);
    let mut messages = Vec::new();
    for mut piece in pieces {
        loop {
            match reader.feed(piece) {
                Ok(Some(opened)) => {
                    assert!(opened.message.len() <= limits.size, "a message within the limits");
                    assert!(opened.rest.len() <= piece.len());
                    piece = opened.rest;
                    messages.push(opened.message);
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.feed(&[0; 64]), Err(error), "the error remains");
                    return (messages, true);
                }
            }
        }
    }
    (messages, false)
}
