//! Reads items one after the other, in one pass, within limits. `codec` reads values with it, `wire` the elements of
//! messages, whose types it knows. Nothing here says what is wrong: `None` means that the next item is not the wanted
//! one, or not well-formed, or beyond the limits. Whoever wants to know why asks the
//! [`ItemScanner`](super::ItemScanner), which finds the same faults.

use std::borrow::Cow;
use std::mem;

use super::codec::{TAG_ENCODED_CBOR, simple};
use super::head::{Head, Reader};
use super::{Limits, Value};

/// Reads items. After `None`, its position is undefined: go back to a clone.
#[derive(Clone, Debug)]
pub(crate) struct Items<'a> {
    reader: Reader<'a>,
    /// How many more arrays, maps and tags may open inside each other.
    levels: usize,
}

/// The elements of an open array that have not been read yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elements {
    /// How many; `None` up to a break.
    missing: Option<u64>,
}

impl<'a> Items<'a> {
    /// At the beginning of `bytes`.
    pub(crate) fn new(bytes: &'a [u8], limits: &Limits) -> Self {
        Self { reader: Reader::new(bytes.get(..limits.size).unwrap_or(bytes)), levels: limits.depth }
    }

    /// The number of bytes up to the limit that have not been read yet.
    pub(crate) const fn unread(&self) -> usize {
        self.reader.rest().len()
    }

    /// The next head; it is not read yet.
    #[inline]
    pub(crate) fn peek(&self) -> Option<Head> {
        self.reader.clone().head().ok()
    }

    /// Reads the next head. What follows a head of a string, array, map or tag is left to the caller.
    #[inline]
    pub(crate) fn head(&mut self) -> Option<Head> {
        self.reader.head().ok()
    }

    /// Enters an array.
    #[inline]
    pub(crate) fn enter(&mut self) -> Option<Elements> {
        let missing = match self.head()? {
            Head::Array(items) => Some(items),
            Head::OpenArray => None,
            _ => return None,
        };
        self.levels = self.levels.checked_sub(1)?;
        Some(Elements { missing })
    }

    /// Whether the array has one more element, which must be read then.
    #[inline]
    pub(crate) fn more(&mut self, elements: &mut Elements) -> bool {
        match &mut elements.missing {
            Some(missing) => match missing.checked_sub(1) {
                Some(fewer) => {
                    *missing = fewer;
                    true
                }
                None => false,
            },
            None if matches!(self.peek(), Some(Head::Break)) => {
                // A break is this one byte.
                let _ = self.reader.take(1);
                elements.missing = Some(0);
                false
            }
            None => true,
        }
    }

    /// The reader at the next element, which must be read then; `None` if there is none.
    #[inline]
    pub(crate) fn next(&mut self, elements: &mut Elements) -> Option<&mut Self> {
        self.more(elements).then_some(self)
    }

    /// Leaves an array, which must have no more elements.
    #[inline]
    pub(crate) fn leave(&mut self, mut elements: Elements) -> Option<()> {
        self.levels = self.levels.saturating_add(1);
        (!self.more(&mut elements)).then_some(())
    }

    /// Reads an unsigned integer that fits into `T`; not a float, boolean, bignum or negative number.
    #[inline]
    pub(crate) fn uint<T: TryFrom<u64>>(&mut self) -> Option<T> {
        match self.head()? {
            Head::Unsigned(number) => T::try_from(number).ok(),
            _ => None,
        }
    }

    /// Reads text.
    #[inline]
    pub(crate) fn text(&mut self) -> Option<String> {
        match self.head()? {
            Head::Text(length) => self.text_of(length),
            Head::TextChunks => self.text_chunks(),
            _ => None,
        }
    }

    /// Reads a byte string.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Option<Cow<'a, [u8]>> {
        match self.head()? {
            Head::Bytes(length) => self.reader.take(length).ok().map(Cow::Borrowed),
            Head::ByteChunks => self.byte_chunks().map(Cow::Owned),
            _ => None,
        }
    }

    /// Reads any item. Does not recurse, and needs no stack on the heap unless arrays, maps or tags are inside each
    /// other.
    #[inline]
    pub(crate) fn value(&mut self) -> Option<Value> {
        match self.head()? {
            head if head.has_items() => self.nested(head),
            leaf => self.leaf(leaf),
        }
    }

    fn nested(&mut self, head: Head) -> Option<Value> {
        let levels = self.levels;
        // How many items the open ones still need, at least one byte for each. No room is made for more.
        let mut owed = 0;
        let mut outer: Vec<Open> = Vec::new();
        let mut open = self.open(head, &mut owed)?;
        loop {
            // A complete item may complete the item that contains it.
            while open.missing == Some(0) {
                let complete = Value::from(open.built);
                match outer.pop() {
                    None => {
                        self.levels = levels;
                        return Some(complete);
                    }
                    Some(next) => open = next,
                }
                self.levels = self.levels.saturating_add(1);
                open.add(complete);
            }
            let head = self.head()?;
            if head == Head::Break {
                open.end()?;
                continue;
            }
            if open.missing.is_some() {
                owed = owed.saturating_sub(1);
            }
            if head.has_items() {
                let inner = self.open(head, &mut owed)?;
                outer.push(mem::replace(&mut open, inner));
            } else {
                open.add(self.leaf(head)?);
            }
        }
    }

    /// Opens an item that contains others.
    fn open(&mut self, head: Head, owed: &mut usize) -> Option<Open> {
        self.levels = self.levels.checked_sub(1)?;
        let count = |count: u64| usize::try_from(count).ok();
        let (missing, room) = match head {
            Head::Array(items) => (Some(count(items)?), count(items)?),
            Head::Map(pairs) => (Some(count(pairs)?.checked_mul(2)?), count(pairs)?),
            Head::Tag(_) => (Some(1), 0),
            _ => (None, 0),
        };
        *owed = owed.checked_add(missing.unwrap_or(0)).filter(|owed| *owed <= self.unread())?;
        let built = match head {
            Head::Array(_) | Head::OpenArray => Built::Array(Vec::with_capacity(room)),
            Head::Map(_) | Head::OpenMap => Built::Map { pairs: Vec::with_capacity(room), key: None },
            Head::Tag(tag) => Built::Tag { tag, value: Value::Null },
            _ => return None,
        };
        Some(Open { missing, built })
    }

    /// Reads an item that contains no other items.
    #[inline]
    fn leaf(&mut self, head: Head) -> Option<Value> {
        Some(match head {
            Head::Unsigned(number) => Value::Integer(i128::from(number)),
            Head::Negative(number) => Value::Integer(!i128::from(number)),
            Head::Bytes(length) => Value::Bytes(self.reader.take(length).ok()?.to_vec()),
            Head::Text(length) => Value::Text(self.text_of(length)?),
            Head::Simple(number) => simple(number),
            Head::Float(number) => Value::Float(number),
            Head::ByteChunks => Value::Bytes(self.byte_chunks()?),
            Head::TextChunks => Value::Text(self.text_chunks()?),
            Head::Array(_) | Head::Map(_) | Head::Tag(_) | Head::OpenArray | Head::OpenMap | Head::Break => {
                return None;
            }
        })
    }

    #[inline]
    fn text_of(&mut self, length: u64) -> Option<String> {
        std::str::from_utf8(self.reader.take(length).ok()?).ok().map(str::to_owned)
    }

    fn text_chunks(&mut self) -> Option<String> {
        let mut text = String::new();
        loop {
            match self.head()? {
                // Each chunk is text by itself (RFC 8949 §3.2.3).
                Head::Text(length) => {
                    text.push_str(std::str::from_utf8(self.reader.take(length).ok()?).ok()?)
                }
                Head::Break => return Some(text),
                _ => return None,
            }
        }
    }

    fn byte_chunks(&mut self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            match self.head()? {
                Head::Bytes(length) => bytes.extend_from_slice(self.reader.take(length).ok()?),
                Head::Break => return Some(bytes),
                _ => return None,
            }
        }
    }
}

/// An item that is not complete yet. `missing` is the number of items that it still needs, if known.
struct Open {
    missing: Option<usize>,
    built: Built,
}

enum Built {
    Array(Vec<Value>),
    Map { pairs: Vec<(Value, Value)>, key: Option<Value> },
    Tag { tag: u64, value: Value },
}

impl Open {
    #[inline]
    fn add(&mut self, item: Value) {
        self.missing = self.missing.map(|missing| missing.saturating_sub(1));
        match &mut self.built {
            Built::Array(items) => items.push(item),
            Built::Map { pairs, key } => match key.take() {
                None => *key = Some(item),
                Some(key) => pairs.push((key, item)),
            },
            Built::Tag { value, .. } => *value = item,
        }
    }

    /// A break has come, which may not come everywhere.
    fn end(&mut self) -> Option<()> {
        match (self.missing, &self.built) {
            (Some(_), _) | (None, Built::Map { key: Some(_), .. }) => None,
            _ => {
                self.missing = Some(0);
                Some(())
            }
        }
    }
}

impl From<Built> for Value {
    fn from(built: Built) -> Self {
        match built {
            Built::Array(mut items) => {
                items.shrink_to_fit();
                Self::Array(items)
            }
            Built::Map { mut pairs, .. } => {
                pairs.shrink_to_fit();
                Self::Map(pairs)
            }
            Built::Tag { tag: TAG_ENCODED_CBOR, value: Self::Bytes(bytes) } => Self::EncodedCbor(bytes),
            Built::Tag { tag, value } => Self::Tag(tag, Box::new(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(bytes: &[u8]) -> Items<'_> {
        Items::new(bytes, &Limits::default())
    }

    /// Otherwise arrays inside each other, each of which promises as many items as there are bytes, would cost far more
    /// memory than their bytes.
    #[test]
    fn no_room_is_made_for_more_items_than_bytes_follow() {
        let bytes = [0; 10];
        let mut owed = 4;
        let room = |head, owed: &mut usize| match items(&bytes).open(head, owed) {
            Some(Open { built: Built::Array(room), .. }) => Some(room.capacity()),
            Some(Open { built: Built::Map { pairs, .. }, .. }) => Some(pairs.capacity()),
            _ => None,
        };
        assert_eq!(room(Head::Array(7), &mut owed.clone()), None);
        assert_eq!(room(Head::Map(4), &mut owed.clone()), None);
        assert_eq!(room(Head::Map(u64::MAX), &mut owed.clone()), None);
        assert_eq!(room(Head::Map(3), &mut owed.clone()), Some(3));
        assert_eq!(room(Head::Array(5), &mut owed), Some(5));
        assert_eq!(owed, 9);
        assert_eq!(room(Head::Array(2), &mut owed.clone()), None);
        assert_eq!(room(Head::OpenArray, &mut owed), Some(0));
    }

    #[test]
    fn an_array_is_left_only_at_its_end() {
        for bytes in [&[0x82, 1, 2, 3][..], &[0x9f, 1, 2, 0xff, 3]] {
            let mut items = items(bytes);
            let mut array = items.enter().unwrap();
            assert_eq!(items.next(&mut array).and_then(Items::uint), Some(1u8));
            assert!(items.clone().leave(array).is_none());
            assert_eq!(items.next(&mut array).and_then(Items::uint), Some(2u8));
            assert!(items.next(&mut array).is_none());
            items.leave(array).unwrap();
            assert_eq!(items.value(), Some(Value::from(3)));
            assert_eq!(items.unread(), 0);
        }
    }

    #[test]
    fn levels_count_inside_each_other_only() {
        let limits = Limits { depth: 2, ..Limits::default() };
        let bytes = [0x82, 0x81, 0, 0x81, 0, 0x81, 0x81, 0x80];
        let mut items = Items::new(&bytes, &limits);
        for _ in 0..2 {
            let mut at = items.clone();
            assert!(at.value().is_some());
            assert!(at.value().is_none());
        }
        let mut array = items.enter().unwrap();
        for _ in 0..2 {
            assert!(items.next(&mut array).and_then(Items::value).is_some());
        }
        items.leave(array).unwrap();
        assert!(items.value().is_none());
    }

    #[test]
    fn a_break_ends_only_what_is_open_and_complete() {
        for bytes in [&[0x9f, 0xff][..], &[0x9f, 1, 0xff], &[0xbf, 0xff], &[0xbf, 1, 2, 0xff], &[0x5f, 0xff]]
        {
            assert!(items(bytes).value().is_some(), "{bytes:02x?}");
        }
        for bytes in [&[0xff][..], &[0xbf, 1, 0xff], &[0xc1, 0xff], &[0x82, 1, 0xff], &[0xa1, 1, 0xff]] {
            assert!(items(bytes).value().is_none(), "{bytes:02x?}");
        }
    }
}
