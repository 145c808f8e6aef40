//! Finds where a CBOR item ends in a stream (RFC 8990 §2.5.3: messages follow each other without any outer frame).
//! `threads` uses it to cut messages out of a TCP stream, and the decoder to say what is wrong with bytes that it could
//! not read.

use super::head::Head;
use super::{DecodeError, Limits};

/// What [`ItemScanner::feed`] knows so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The item is complete. Its length is this many bytes, counted from the start of the item; any bytes after these
    /// belong to the next item.
    Complete(usize),
    /// More bytes are needed.
    Incomplete,
}

/// Finds the end of one CBOR item in a stream that arrives in pieces. Looks at each byte once, keeps at most a stack of
/// [`Limits::depth`] entries, and fails as soon as the item cannot be well-formed or within the limits. Checking that
/// text is UTF-8 is left to the decoder.
///
/// ```
/// use grasp::wire::{ItemScanner, Limits, Progress};
/// let mut scanner = ItemScanner::new(Limits::default());
/// assert_eq!(scanner.feed(&[0x83, 0x07]), Ok(Progress::Incomplete));
/// assert_eq!(scanner.feed(&[0x01, 0x18, 0x64, 0x81]), Ok(Progress::Complete(5)));
/// ```
#[derive(Clone, Debug)]
pub struct ItemScanner {
    limits: Limits,
    position: usize,
    stack: Stack,
    state: State,
}

impl ItemScanner {
    /// A scanner at the start of an item.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self { limits, position: 0, stack: Stack::new(), state: State::Initial }
    }

    /// Takes the next piece of the stream, and returns where the item ends if that is known now. After the end, or
    /// after an error, the result stays the same until [`reset`](Self::reset).
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`], [`DecodeError::TooDeep`] or [`DecodeError::Malformed`]: the stream
    /// cannot be resumed.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Progress, DecodeError> {
        let progress = self.advance(bytes);
        if let Err(error) = &progress {
            self.state = State::Failed(error.clone());
        }
        progress
    }

    /// Prepares for the next item.
    pub fn reset(&mut self) {
        self.position = 0;
        self.stack.clear();
        self.state = State::Initial;
    }

    fn advance(&mut self, bytes: &[u8]) -> Result<Progress, DecodeError> {
        let mut rest = bytes;
        loop {
            match self.state {
                State::Complete => return Ok(Progress::Complete(self.position)),
                State::Failed(ref error) => return Err(error.clone()),
                State::Initial => {
                    self.require(1)?;
                    let Some(initial) = self.next(&mut rest) else { return Ok(Progress::Incomplete) };
                    match Head::argument_length(initial)? {
                        0 => self.enter(Head::new(initial, 0)?)?,
                        missing => {
                            self.require(u64::from(missing))?;
                            self.state = State::Argument { initial, missing, argument: 0 };
                        }
                    }
                }
                State::Argument { initial, missing, argument } => {
                    let Some(byte) = self.next(&mut rest) else { return Ok(Progress::Incomplete) };
                    let argument = argument << 8 | u64::from(byte);
                    match missing.saturating_sub(1) {
                        0 => self.enter(Head::new(initial, argument)?)?,
                        missing => self.state = State::Argument { initial, missing, argument },
                    }
                }
                State::Content { missing } => {
                    let (taken, behind) = rest.split_at(missing.min(rest.len()));
                    rest = behind;
                    self.position = self.position.saturating_add(taken.len());
                    match missing.saturating_sub(taken.len()) {
                        0 => self.finish_item(),
                        missing => {
                            self.state = State::Content { missing };
                            return Ok(Progress::Incomplete);
                        }
                    }
                }
            }
        }
    }

    fn next(&mut self, rest: &mut &[u8]) -> Option<u8> {
        let (&byte, behind) = rest.split_first()?;
        *rest = behind;
        self.position = self.position.saturating_add(1);
        Some(byte)
    }

    /// Checks that `more` further bytes are still within the limit.
    fn require(&self, more: u64) -> Result<usize, DecodeError> {
        let room = self.limits.size.saturating_sub(self.position);
        match usize::try_from(more) {
            Ok(more) if more <= room => Ok(more),
            _ => Err(DecodeError::TooLarge { limit: self.limits.size }),
        }
    }

    fn enter(&mut self, head: Head) -> Result<(), DecodeError> {
        if let Some(Frame::Chunks { text }) = self.stack.last() {
            match head {
                Head::Break => {}
                Head::Text(_) if *text => {}
                Head::Bytes(_) if !*text => {}
                _ => return Err(DecodeError::malformed("wrong chunk of a string")),
            }
        }
        match head {
            Head::Unsigned(_) | Head::Negative(_) | Head::Simple(_) | Head::Float(_) => self.finish_item(),
            Head::Bytes(length) | Head::Text(length) => match self.require(length)? {
                0 => self.finish_item(),
                missing => self.state = State::Content { missing },
            },
            Head::Array(items) => self.open_items(Some(items))?,
            Head::Map(pairs) => self.open_items(pairs.checked_mul(2))?,
            Head::Tag(_) => self.open_items(Some(1))?,
            Head::ByteChunks => self.open(Frame::Chunks { text: false }),
            Head::TextChunks => self.open(Frame::Chunks { text: true }),
            Head::OpenArray => {
                self.check_depth()?;
                self.open(Frame::OpenArray);
            }
            Head::OpenMap => {
                self.check_depth()?;
                self.open(Frame::OpenMap { key_read: false });
            }
            Head::Break => match self.stack.pop() {
                Some(Frame::OpenArray | Frame::OpenMap { key_read: false } | Frame::Chunks { .. }) => {
                    self.finish_item();
                }
                Some(Frame::OpenMap { key_read: true }) => {
                    return Err(DecodeError::malformed("map key without a value"));
                }
                _ => return Err(DecodeError::malformed("break without an open item")),
            },
        }
        Ok(())
    }

    fn open_items(&mut self, items: Option<u64>) -> Result<(), DecodeError> {
        self.check_depth()?;
        match self.require(items.unwrap_or(u64::MAX))? {
            0 => self.finish_item(),
            missing => self.open(Frame::Items { missing }),
        }
        Ok(())
    }

    fn open(&mut self, frame: Frame) {
        self.stack.push(frame);
        self.state = State::Initial;
    }

    const fn check_depth(&self) -> Result<(), DecodeError> {
        // The chunks of a string are not a level of their own, and nothing can open inside them.
        if self.stack.len() < self.limits.depth {
            Ok(())
        } else {
            Err(DecodeError::TooDeep { limit: self.limits.depth })
        }
    }

    /// An item has ended, and perhaps the items that contain it.
    fn finish_item(&mut self) {
        while let Some(frame) = self.stack.last_mut() {
            match frame {
                Frame::Items { missing } => {
                    *missing = missing.saturating_sub(1);
                    if *missing == 0 {
                        self.stack.pop();
                        continue;
                    }
                }
                Frame::OpenMap { key_read } => *key_read = !*key_read,
                Frame::OpenArray | Frame::Chunks { .. } => {}
            }
            self.state = State::Initial;
            return;
        }
        self.state = State::Complete;
    }
}

/// The open items, the outermost first. The fixed part needs no allocation; messages are seldom nested deeper than it.
#[derive(Clone, Debug)]
struct Stack {
    outer: [Frame; 6],
    inner: Vec<Frame>,
    depth: usize,
}

impl Stack {
    const fn new() -> Self {
        Self { outer: [Frame::OpenArray; 6], inner: Vec::new(), depth: 0 }
    }

    const fn len(&self) -> usize {
        self.depth
    }

    fn clear(&mut self) {
        self.inner.clear();
        self.depth = 0;
    }

    fn push(&mut self, frame: Frame) {
        match self.outer.get_mut(self.depth) {
            Some(place) => *place = frame,
            None => self.inner.push(frame),
        }
        self.depth = self.depth.saturating_add(1);
    }

    fn pop(&mut self) -> Option<Frame> {
        let last = self.last_mut().copied()?;
        self.depth = self.depth.saturating_sub(1);
        self.inner.truncate(self.depth.saturating_sub(self.outer.len()));
        Some(last)
    }

    fn last(&self) -> Option<&Frame> {
        self.inner.last().or_else(|| self.outer.get(self.depth.checked_sub(1)?))
    }

    fn last_mut(&mut self) -> Option<&mut Frame> {
        self.inner.last_mut().or_else(|| self.outer.get_mut(self.depth.checked_sub(1)?))
    }
}

/// An open item.
#[derive(Clone, Copy, Debug)]
enum Frame {
    /// An array, map or tag that still needs `missing` items.
    Items { missing: usize },
    /// An array that ends at a break.
    OpenArray,
    /// A map that ends at a break.
    OpenMap { key_read: bool },
    /// A string in chunks that ends at a break.
    Chunks { text: bool },
}

/// What the scanner expects next.
#[derive(Clone, Debug)]
enum State {
    /// An initial byte.
    Initial,
    /// The rest of an argument.
    Argument { initial: u8, missing: u8, argument: u64 },
    /// The rest of a string.
    Content { missing: usize },
    /// Nothing: the item is complete.
    Complete,
    /// Nothing: the scan failed.
    Failed(DecodeError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &[u8]) -> Result<Progress, DecodeError> {
        ItemScanner::new(Limits::default()).feed(bytes)
    }

    #[test]
    fn the_end_is_found_with_bytes_behind_it() {
        for (bytes, length) in [
            (&[0x00u8, 0xff][..], 1),
            (&[0x80, 0x80], 1),
            (&[0x82, 0x01, 0x61, 0x61, 0x00], 4),
            (&[0x9f, 0x9f, 0xff, 0xff, 0xff], 4),
            (&[0x7f, 0x61, 0x61, 0x60, 0xff, 0x00], 5),
            (&[0xbf, 0x01, 0x02, 0xff, 0x00], 4),
            (&[0xd8, 0x18, 0x41, 0x00, 0x00], 4),
            (&[0xa1, 0x01, 0x80, 0x00], 3),
            (&[0xfb, 0, 0, 0, 0, 0, 0, 0, 0, 0], 9),
        ] {
            assert_eq!(scan(bytes), Ok(Progress::Complete(length)), "{bytes:02x?}");
        }
    }

    #[test]
    fn the_stack_remembers_every_level() {
        let mut stack = Stack::new();
        for missing in 0..20 {
            stack.push(Frame::Items { missing });
            assert_eq!(stack.len(), missing + 1);
        }
        for missing in (0..20).rev() {
            assert!(matches!(stack.last(), Some(Frame::Items { missing: last }) if *last == missing));
            if let Some(Frame::Items { missing }) = stack.last_mut() {
                *missing += 100;
            }
            assert!(matches!(stack.pop(), Some(Frame::Items { missing: last }) if last == missing + 100));
        }
        assert!(stack.pop().is_none() && stack.last().is_none());
    }

    #[test]
    fn malformed_items_fail_at_once() {
        for bytes in [
            &[0xffu8][..],
            &[0x1c],
            &[0x81, 0xff],
            &[0xbf, 0x01, 0xff],
            &[0x7f, 0x41],
            &[0x5f, 0x61],
            &[0x5f, 0x5f],
            &[0x5f, 0x00],
            &[0xc1, 0xff],
            &[0x82, 0x01, 0xff],
            &[0xf8, 0x18],
        ] {
            assert!(matches!(scan(bytes), Err(DecodeError::Malformed { .. })), "{bytes:02x?}");
        }
    }

    #[test]
    fn an_answer_stays_until_the_reset() {
        let mut scanner = ItemScanner::new(Limits::default());
        assert_eq!(scanner.feed(&[0x81, 0x00, 0x81]), Ok(Progress::Complete(2)));
        assert_eq!(scanner.feed(&[0xff]), Ok(Progress::Complete(2)));
        scanner.reset();
        assert!(scanner.feed(&[0xff]).is_err());
        assert!(scanner.feed(&[0x00]).is_err());
        scanner.reset();
        assert_eq!(scanner.feed(&[0x00]), Ok(Progress::Complete(1)));
    }

    #[test]
    fn the_limit_is_the_last_size_that_passes() {
        let limits = Limits { size: 4, depth: 2 };
        let feed = |bytes: &[u8]| ItemScanner::new(limits).feed(bytes);
        assert_eq!(feed(&[0x43, 1, 2, 3]), Ok(Progress::Complete(4)));
        assert_eq!(feed(&[0x44]), Err(DecodeError::TooLarge { limit: 4 }));
        assert_eq!(feed(&[0x9f, 0, 0, 0xff]), Ok(Progress::Complete(4)));
        assert_eq!(feed(&[0x9f, 0, 0, 0]), Err(DecodeError::TooLarge { limit: 4 }));
        assert_eq!(feed(&[0x1b]), Err(DecodeError::TooLarge { limit: 4 }));
        assert_eq!(feed(&[0x81, 0x81, 0x00]), Ok(Progress::Complete(3)));
        assert_eq!(feed(&[0x81, 0x81, 0x80]), Err(DecodeError::TooDeep { limit: 2 }));
    }
}
