//! One direction of a TCP connection: turns segments, in any order, repeated or missing, into messages.

use std::collections::BTreeMap;
use std::fmt;

use crate::wire::{ItemScanner, Limits, Progress};
use crate::{QuadsKeys, QuadsReader};

/// The result of reading a part of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A message, and whether it was encrypted.
    Message(Vec<u8>, bool),
    /// Bytes that are not a whole message, and why reading the stream stops here.
    Broken(Vec<u8>, Why),
    /// This many bytes are missing from the capture.
    Missing(u64),
    /// TLS secures the stream: it cannot be read.
    Tls,
}

/// Why reading a stream stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// A segment is missing.
    Lost,
    /// The snap length has truncated a segment.
    Cut,
    /// The connection or the capture ends.
    End,
    /// The data is not GRASP.
    Wrong,
}

impl Why {
    /// Whether the capture lacks data that was sent.
    pub(super) const fn is_of_the_capture(self) -> bool {
        matches!(self, Self::Lost | Self::Cut)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "the rest is not in the capture",
            Self::Cut => "truncated: the rest was not captured",
            Self::End => "the stream ends here",
            Self::Wrong => "the stream cannot be read on",
        })
    }
}

pub(super) struct Stream {
    limits: Limits,
    /// The next expected sequence number.
    next: Option<u32>,
    /// Segments that came too early, by their distance from the first byte of the stream, with the number of bytes cut
    /// off at their end.
    early: BTreeMap<u64, (Vec<u8>, u64)>,
    early_bytes: usize,
    /// The number of bytes that came in order.
    taken: u64,
    /// How many bytes of GRASP are missing from the capture since the last message.
    missed: u64,
    /// Bytes of GRASP are missing: any segment may begin with a new message.
    torn: bool,
    reader: Reader,
    /// Whether a locator announced it.
    announced: bool,
    /// How many items in a row do not begin like a message.
    strange: usize,
}

/// How the bytes of a stream are read.
enum Reader {
    /// Not known yet.
    Undecided(Vec<u8>),
    Clear {
        scanner: ItemScanner,
        bytes: Vec<u8>,
    },
    /// `trusted`: a locator or a first message shows that it is GRASP.
    Sealed {
        reader: Box<QuadsReader>,
        bytes: Vec<u8>,
        trusted: bool,
    },
    /// Not GRASP, or broken.
    Ignored,
}

impl Stream {
    pub(super) const fn new(limits: Limits, announced: bool) -> Self {
        Self {
            limits,
            next: None,
            early: BTreeMap::new(),
            early_bytes: 0,
            taken: 0,
            missed: 0,
            torn: false,
            reader: Reader::Undecided(Vec::new()),
            announced,
            strange: 0,
        }
    }

    /// Records that a locator has announced the stream later.
    pub(super) const fn announce(&mut self) {
        self.announced = true;
    }

    pub(super) fn synchronize(&mut self, sequence: u32) {
        if self.next.is_none() {
            self.next = Some(sequence.wrapping_add(1));
        }
    }

    /// Whether this is the next expected sequence number.
    pub(super) fn is_at(&self, sequence: u32) -> bool {
        self.next == Some(sequence) || matches!(self.reader, Reader::Ignored)
    }

    /// Takes a segment, whose end the snap length may have cut off.
    pub(super) fn segment(
        &mut self,
        sequence: u32,
        payload: &[u8],
        cut: usize,
        keys: Option<&QuadsKeys>,
        events: &mut Vec<Event>,
    ) {
        let next = *self.next.get_or_insert(sequence);
        let cut = u64::try_from(cut).unwrap_or_default();
        if (payload.is_empty() && cut == 0) || matches!(self.reader, Reader::Ignored) {
            return;
        }
        let ahead = sequence.wrapping_sub(next);
        if ahead <= i32::MAX.unsigned_abs() {
            self.put(u64::from(ahead), payload, cut);
        } else {
            // A retransmission: take only the new part.
            let behind = usize::try_from(next.wrapping_sub(sequence)).unwrap_or(usize::MAX);
            let known = u64::try_from(behind.saturating_sub(payload.len())).unwrap_or(u64::MAX);
            self.put(0, payload.get(behind..).unwrap_or_default(), cut.saturating_sub(known));
        }
        self.drain(keys, events);
        if self.early.len() > MOST_EARLY || self.early_bytes > MOST_EARLY_BYTES {
            self.skip(keys, events);
        }
    }

    fn put(&mut self, ahead: u64, payload: &[u8], cut: u64) {
        if payload.is_empty() && cut == 0 {
            return;
        }
        let at = self.taken.saturating_add(ahead);
        let known = self.early.get(&at).map(|(known, _)| known.len());
        if known.is_none_or(|known| payload.len() > known) {
            let known = known.unwrap_or_default();
            self.early_bytes = self.early_bytes.saturating_add(payload.len()).saturating_sub(known);
            self.early.insert(at, (payload.to_vec(), cut));
        }
    }

    /// Reads the data up to the next gap.
    fn drain(&mut self, keys: Option<&QuadsKeys>, events: &mut Vec<Event>) {
        while let Some(entry) = self.early.first_entry() {
            let at = *entry.key();
            if at > self.taken {
                return;
            }
            let (payload, cut) = entry.remove();
            self.early_bytes = self.early_bytes.saturating_sub(payload.len());
            let known = usize::try_from(self.taken.saturating_sub(at)).unwrap_or(usize::MAX);
            let fresh = payload.get(known..).unwrap_or_default();
            self.advance(u64::try_from(fresh.len()).unwrap_or(u64::MAX));
            self.read(fresh, keys, events);
            let beyond = u64::try_from(known.saturating_sub(payload.len())).unwrap_or(u64::MAX);
            let cut = cut.saturating_sub(beyond);
            // Another segment may contain the data that was cut off from this one.
            let have = |(next, _): (&u64, _)| *next <= self.taken;
            if cut > 0 && !self.early.first_key_value().is_some_and(have) {
                self.miss(cut, Why::Cut, events);
            }
        }
    }

    fn advance(&mut self, by: u64) {
        self.taken = self.taken.saturating_add(by);
        let by = u32::try_from(by & u64::from(u32::MAX)).unwrap_or_default();
        self.next = self.next.map(|next| next.wrapping_add(by));
    }

    /// Gives up on the missing data.
    fn skip(&mut self, keys: Option<&QuadsKeys>, events: &mut Vec<Event>) {
        let Some((&at, _)) = self.early.first_key_value() else { return };
        self.miss(at.saturating_sub(self.taken), Why::Lost, events);
        self.drain(keys, events);
    }

    /// Continues after this many missing bytes.
    fn miss(&mut self, missing: u64, why: Why, events: &mut Vec<Event>) {
        let is_grasp = self.cut(why, events);
        if is_grasp || self.announced || self.torn {
            self.torn = true;
            self.missed = self.missed.saturating_add(missing);
        }
        self.reader = Reader::Undecided(Vec::new());
        // The data after the gap may be the middle of a message: it must look like the beginning of one.
        self.announced = false;
        self.advance(missing);
    }

    /// Ends the stream.
    pub(super) fn finish(&mut self, keys: Option<&QuadsKeys>, events: &mut Vec<Event>) {
        while !self.early.is_empty() {
            self.skip(keys, events);
        }
        self.cut(Why::End, events);
        self.reader = Reader::Ignored;
    }

    /// Reports the bytes that are not a whole message, and returns whether the stream was known to be GRASP.
    fn cut(&mut self, why: Why, events: &mut Vec<Event>) -> bool {
        match &mut self.reader {
            Reader::Undecided(bytes) => {
                if self.announced && !bytes.is_empty() {
                    say(&mut self.missed, Event::Broken(std::mem::take(bytes), why), events);
                }
                false
            }
            Reader::Sealed { trusted: false, .. } | Reader::Ignored => false,
            Reader::Clear { bytes, .. } | Reader::Sealed { bytes, .. } => {
                if !bytes.is_empty() {
                    say(&mut self.missed, Event::Broken(std::mem::take(bytes), why), events);
                }
                true
            }
        }
    }

    fn read(&mut self, fresh: &[u8], keys: Option<&QuadsKeys>, events: &mut Vec<Event>) {
        if let Reader::Undecided(bytes) = &mut self.reader {
            bytes.extend_from_slice(fresh);
            match looks_like_tls(bytes) {
                None => return,
                Some(true) => {
                    self.reader = Reader::Ignored;
                    events.push(Event::Tls);
                    return;
                }
                Some(false) => {}
            }
            let Some(reader) = decide(bytes, keys, self.limits, self.announced) else { return };
            if self.torn && matches!(reader, Reader::Ignored) {
                // The rest of a message.
                return bytes.clear();
            }
            let bytes = std::mem::take(bytes);
            self.reader = reader;
            self.cut_messages(&bytes, events);
        } else {
            self.cut_messages(fresh, events);
        }
    }

    fn cut_messages(&mut self, fresh: &[u8], events: &mut Vec<Event>) {
        let mut rest = fresh;
        loop {
            match &mut self.reader {
                Reader::Undecided(_) | Reader::Ignored => return,
                Reader::Clear { scanner, bytes } => {
                    let before = bytes.len();
                    match scanner.feed(rest) {
                        Ok(Progress::Complete(length)) => {
                            let (own, behind) = rest.split_at(length.saturating_sub(before).min(rest.len()));
                            bytes.extend_from_slice(own);
                            self.strange = if looks_like_grasp(bytes) { 0 } else { self.strange + 1 };
                            if bytes.first().is_some_and(|head| head >> 5 != ARRAY)
                                || self.strange > MOST_STRANGE
                            {
                                // Not a message, and the data after it cannot be separated.
                                bytes.extend_from_slice(behind);
                                break;
                            }
                            say(&mut self.missed, Event::Message(std::mem::take(bytes), false), events);
                            scanner.reset();
                            rest = behind;
                            if rest.is_empty() {
                                return;
                            }
                        }
                        Ok(Progress::Incomplete) => {
                            bytes.extend_from_slice(rest);
                            return;
                        }
                        Err(_) => {
                            bytes.extend_from_slice(rest);
                            break;
                        }
                    }
                }
                Reader::Sealed { reader, bytes, trusted } => match reader.feed(rest) {
                    Ok(Some(opened)) if !*trusted && !looks_like_grasp(&opened.message) => break,
                    Ok(Some(opened)) => {
                        *trusted = true;
                        self.strange = if looks_like_grasp(&opened.message) { 0 } else { self.strange + 1 };
                        if self.strange > MOST_STRANGE {
                            bytes.extend_from_slice(rest);
                            break;
                        }
                        say(&mut self.missed, Event::Message(opened.message, true), events);
                        bytes.clear();
                        rest = opened.rest;
                        if rest.is_empty() {
                            return;
                        }
                    }
                    Ok(None) => {
                        bytes.extend_from_slice(rest);
                        return;
                    }
                    Err(_) => {
                        bytes.extend_from_slice(rest);
                        break;
                    }
                },
            }
        }
        self.cut(Why::Wrong, events);
        if self.torn {
            self.reader = Reader::Undecided(Vec::new());
            return;
        }
        self.reader = Reader::Ignored;
        self.early.clear();
        self.early_bytes = 0;
    }
}

/// Reports the event, after any missing bytes before it.
fn say(missed: &mut u64, event: Event, events: &mut Vec<Event>) {
    match std::mem::take(missed) {
        0 => {}
        count => events.push(Event::Missing(count)),
    }
    events.push(event);
}

/// Determines how to read a stream that begins with these bytes; `None` if more bytes are needed.
fn decide(bytes: &[u8], keys: Option<&QuadsKeys>, limits: Limits, announced: bool) -> Option<Reader> {
    let clear = || Reader::Clear { scanner: ItemScanner::new(limits), bytes: Vec::new() };
    if looks_like_grasp(bytes) {
        return Some(clear());
    }
    let Some(keys) = keys else {
        return match bytes.len() {
            ..LOOK if looks_possible(bytes) => None,
            // Data that a peer has announced is GRASP, even if it is broken.
            _ if announced => Some(clear()),
            _ => Some(Reader::Ignored),
        };
    };
    Some(Reader::Sealed { reader: Box::new(keys.reader(limits)), bytes: Vec::new(), trusted: announced })
}

/// Whether bytes begin like a record of TLS: its type, a version, and the length; `None` if more are needed to tell. A message of GRASP
/// begins with an array, and no record does.
fn looks_like_tls(bytes: &[u8]) -> Option<bool> {
    const LONGEST: u16 = (1 << 14) + 256;
    match bytes {
        [] | [0x14..=0x17] | [0x14..=0x17, 3] | [0x14..=0x17, 3, 1..=4] | [0x14..=0x17, 3, 1..=4, _] => None,
        [0x14..=0x17, 3, 1..=4, high, low, ..] => {
            Some((1..=LONGEST).contains(&u16::from_be_bytes([*high, *low])))
        }
        _ => Some(false),
    }
}

/// Whether bytes begin like a message: an array of a size that its message type can have, and a session identifier of
/// up to 32 bits.
pub(super) fn looks_like_grasp(bytes: &[u8]) -> bool {
    let (message_type, rest) = match bytes {
        [0x81, 0, ..] => return true,
        [head @ (0x82..=0x97 | 0x9f), kind @ 0..=9, rest @ ..] if size_fits(*head, *kind) => (*kind, rest),
        [0x82 | 0x83 | 0x9f, 0x18, 99, rest @ ..] => (99, rest),
        _ => return false,
    };
    message_type != 0
        && matches!(rest, [0x00..=0x17, ..] | [0x18, _, ..] | [0x19, _, _, ..] | [0x1a, _, _, _, _, ..])
}

const fn size_fits(head: u8, message_type: u8) -> bool {
    let size = head & 0x1f;
    if size == 31 {
        return true;
    }
    match message_type {
        1 => size >= 4,
        2 | 9 => size >= 5,
        _ => size >= 3 && size <= 8,
    }
}

/// Whether more bytes could make the data look like GRASP.
fn looks_possible(bytes: &[u8]) -> bool {
    match bytes {
        [] | [0x81..=0x97 | 0x9f] | [0x81..=0x97 | 0x9f, 0..=9 | 0x18] => true,
        [0x82 | 0x83 | 0x9f, 0x18, 99, rest @ ..] | [0x82..=0x97 | 0x9f, 1..=9, rest @ ..] => {
            matches!(
                rest,
                [] | [0x18] | [0x19] | [0x19, _] | [0x1a] | [0x1a, _] | [0x1a, _, _] | [0x1a, _, _, _]
            )
        }
        _ => false,
    }
}

/// The major type of a message.
const ARRAY: u8 = 4;
/// How many bytes decide whether the data is GRASP: array, type, session identifier.
const LOOK: usize = 8;
/// How many items in a row may not begin like a message before the stream is given up: an item may be a single byte,
/// and the output about each is long.
const MOST_STRANGE: usize = 8;
/// How many segments, and how many of their bytes, wait for a missing one.
const MOST_EARLY: usize = 64;
const MOST_EARLY_BYTES: usize = 256 * 1024;
