//! Writes CBOR in diagnostic notation (RFC 8949 §8) for people, also of items that are only partly readable: where the
//! decoder gives up, this module keeps what it has read, and reports where and why it stopped. It opens embedded items
//! (tag 24; `<<` and `>>` of RFC 8610, appendix G.3), and writes remarks as `/ comments /` (appendix G.6). Only
//! [`annotate`](super::annotate()) uses it.

use std::fmt::{self, Write as _};

use super::DecodeError;
use crate::cbor::codec::{self as cbor, TAG_ENCODED_CBOR};
use crate::cbor::head::{Head, Reader};
use crate::types::Value;

/// An item, or the part of it that could be read.
#[derive(Debug)]
pub(super) struct Item {
    /// Where it begins in the message.
    pub(super) position: usize,
    /// Its content.
    pub(super) content: Content,
    /// Whether all of it could be read.
    pub(super) complete: bool,
    /// A remark about it; empty if there is none.
    pub(super) note: String,
}

#[derive(Debug)]
pub(super) enum Content {
    /// An item that contains no other. `None` if it could not be read at all.
    Leaf(Option<Value>),
    Array(Vec<Item>),
    /// Keys and values alternate.
    Map(Vec<Item>),
    /// A tag, and the tagged item if it could be read.
    Tag(u64, Vec<Item>),
    /// Tag 24 around a byte string that could be read as an item.
    Embedded(Vec<Item>),
}

/// Something wrong at a position in the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The first byte concerned, counted from 0.
    pub position: usize,
    /// What is wrong. Only constant words and numbers, no text that a peer wrote.
    pub what: String,
    /// Whether a receiver accepts the message in spite of it.
    pub forgiven: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let forgiven = if self.forgiven { " (forgiven)" } else { "" };
        write!(f, "byte {}: {}{forgiven}", self.position, self.what)
    }
}

/// The result of [`read`].
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) item: Item,
    pub(super) problems: Vec<Problem>,
    /// The number of bytes that belong to the item, as far as it was read.
    pub(super) length: usize,
}

/// Reads one item as far as possible, at most `depth` levels deep (and at most 128).
pub(super) fn read(bytes: &[u8], depth: usize) -> Reading {
    let mut parser = Parser::new(bytes, Place::At(0));
    let item = parser.item(depth.min(DEEPEST)).unwrap_or_else(|| Item::new(0, Content::Leaf(None), false));
    Reading { item, length: parser.position(), problems: parser.problems }
}

impl Item {
    const fn new(position: usize, content: Content, complete: bool) -> Self {
        Self { position, content, complete, note: String::new() }
    }

    /// The value, if the item contains no other and is complete.
    pub(super) const fn leaf(&self) -> Option<&Value> {
        match &self.content {
            Content::Leaf(value) if self.complete => value.as_ref(),
            _ => None,
        }
    }

    /// The unsigned integer, if the item is one.
    pub(super) fn uint(&self) -> Option<u64> {
        match self.leaf() {
            Some(Value::Integer(number @ 0..)) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The items of an array.
    pub(super) fn array(&mut self) -> Option<&mut [Self]> {
        match &mut self.content {
            Content::Array(items) => Some(items),
            _ => None,
        }
    }
}

/// Where the bytes that are being read lie in the message.
#[derive(Clone, Copy)]
enum Place {
    /// They begin at this position.
    At(usize),
    /// They were joined from the chunks of a string that begins at this position.
    Within(usize),
}

struct Parser<'a> {
    reader: Reader<'a>,
    place: Place,
    total: usize,
    problems: Vec<Problem>,
}

impl<'a> Parser<'a> {
    const fn new(bytes: &'a [u8], place: Place) -> Self {
        Self { reader: Reader::new(bytes), place, total: bytes.len(), problems: Vec::new() }
    }

    const fn position(&self) -> usize {
        match self.place {
            Place::At(start) => start.saturating_add(self.total.saturating_sub(self.reader.rest().len())),
            Place::Within(start) => start,
        }
    }

    fn problem(&mut self, position: usize, what: impl Into<String>) {
        self.problems.push(Problem { position, what: what.into(), forgiven: false });
    }

    fn head(&mut self) -> Option<Head> {
        let position = self.position();
        match self.reader.head() {
            Ok(head) => return Some(head),
            Err(DecodeError::Truncated) => self.problem(position, "ends too early: an item is missing here"),
            Err(error) => self.problem(position, error.to_string()),
        }
        None
    }

    /// The next item; `None` if not even its head could be read.
    fn item(&mut self, levels: usize) -> Option<Item> {
        let position = self.position();
        let head = self.head()?;
        let opens =
            matches!(head, Head::Array(_) | Head::OpenArray | Head::Map(_) | Head::OpenMap | Head::Tag(_));
        if opens && levels == 0 {
            self.problem(position, "nested too deep to be read");
            return Some(Item::new(position, Content::Leaf(None), false));
        }
        let inside = levels.saturating_sub(1);
        let (content, complete) = match head {
            Head::Array(count) => wrap(self.items(Some(count), inside), Content::Array),
            Head::OpenArray => wrap(self.items(None, inside), Content::Array),
            Head::Map(pairs) => wrap(self.items(Some(pairs.saturating_mul(2)), inside), Content::Map),
            Head::OpenMap => self.open_map(position, inside),
            Head::Tag(TAG_ENCODED_CBOR) => self.embedded(inside),
            Head::Tag(tag) => wrap(self.items(Some(1), inside), |items| Content::Tag(tag, items)),
            Head::Break => {
                self.problem(position, "break without an open item");
                return None;
            }
            leaf => wrap(self.leaf(leaf, position), Content::Leaf),
        };
        Some(Item::new(position, content, complete))
    }

    /// Reads `count` items, or all items up to a break.
    fn items(&mut self, count: Option<u64>, levels: usize) -> (Vec<Item>, bool) {
        let mut items = Vec::new();
        let mut read: u64 = 0;
        loop {
            if count == Some(read) {
                return (items, true);
            }
            if count.is_none() && self.reader.rest().first() == Some(&BREAK) {
                return (items, self.reader.head().is_ok());
            }
            let Some(item) = self.item(levels) else { return (items, false) };
            let complete = item.complete;
            items.push(item);
            if !complete {
                return (items, false);
            }
            read = read.saturating_add(1);
        }
    }

    fn open_map(&mut self, position: usize, levels: usize) -> (Content, bool) {
        let (items, complete) = self.items(None, levels);
        let odd = items.len() & 1 == 1;
        if odd && complete {
            self.problem(position, "malformed CBOR: map key without a value");
        }
        (Content::Map(items), complete && !odd)
    }

    /// Called after tag 24 was read: opens the byte string that follows. Errors inside it are not a fault of the
    /// message (RFC 8949 §3.4.5.1).
    fn embedded(&mut self, levels: usize) -> (Content, bool) {
        let mut peek = Reader::new(self.reader.rest());
        if let Ok(Head::Bytes(length)) = peek.head()
            && let Ok(bytes) = peek.take(length)
        {
            let string = self.position();
            self.reader = peek;
            let place = match self.place {
                Place::At(_) => Place::At(self.position().saturating_sub(bytes.len())),
                within @ Place::Within(_) => within,
            };
            return (self.open(bytes, place, string, levels), true);
        }
        let (items, complete) = self.items(Some(1), levels);
        match items.first() {
            Some(Item { position, content: Content::Leaf(Some(Value::Bytes(bytes))), .. }) if complete => {
                (self.open(bytes, Place::Within(*position), *position, levels), true)
            }
            _ => (Content::Tag(TAG_ENCODED_CBOR, items), complete),
        }
    }

    /// The item that is embedded in `bytes`, or the byte string if it does not contain one.
    fn open(&mut self, bytes: &[u8], place: Place, string: usize, levels: usize) -> Content {
        let mut inner = Parser::new(bytes, place);
        let item = inner.item(levels);
        let is_whole = item.as_ref().is_some_and(|item| item.complete) && inner.reader.rest().is_empty();
        if item.as_ref().is_some_and(|item| item.complete) && !is_whole {
            inner.problem(inner.position(), "bytes follow the item");
        }
        self.problems.extend(inner.problems.into_iter().map(|problem| match problem.forgiven {
            true => problem,
            false => Problem { what: format!("embedded item: {}", problem.what), forgiven: true, ..problem },
        }));
        match item {
            Some(item) if is_whole => Content::Embedded(vec![item]),
            // Shown as bytes, so that the reader can see what it is.
            _ => {
                let bytes = Content::Leaf(Some(Value::Bytes(bytes.to_vec())));
                Content::Tag(TAG_ENCODED_CBOR, vec![Item::new(string, bytes, true)])
            }
        }
    }

    fn leaf(&mut self, head: Head, position: usize) -> (Option<Value>, bool) {
        let value = match head {
            Head::Bytes(length) => {
                let (bytes, complete) = self.string(length, position);
                return (Some(Value::Bytes(bytes.to_vec())), complete);
            }
            Head::Text(length) => {
                let (bytes, complete) = self.string(length, position);
                return self.text(bytes.to_vec(), complete, position);
            }
            Head::ByteChunks => {
                let (bytes, complete) = self.chunks(false);
                return (Some(Value::Bytes(bytes)), complete);
            }
            Head::TextChunks => {
                let (bytes, complete) = self.chunks(true);
                return self.text(bytes, complete, position);
            }
            Head::Unsigned(number) => Value::Integer(i128::from(number)),
            Head::Negative(number) => Value::Integer(!i128::from(number)),
            Head::Float(number) => Value::Float(number),
            Head::Simple(number) => cbor::simple(number),
            _ => return (None, false),
        };
        (Some(value), true)
    }

    /// Reads `length` bytes, or as many as there are.
    fn string(&mut self, length: u64, position: usize) -> (&'a [u8], bool) {
        if let Ok(bytes) = self.reader.take(length) {
            return (bytes, true);
        }
        let rest = self.reader.rest();
        self.problem(
            position,
            format!("ends too early: a string of {length} bytes, {} are there", rest.len()),
        );
        self.reader = Reader::new(&[]);
        (rest, false)
    }

    fn chunks(&mut self, text: bool) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        loop {
            let position = self.position();
            match self.head() {
                Some(Head::Break) => return (bytes, true),
                Some(Head::Text(length)) if text => {
                    let (chunk, complete) = self.string(length, position);
                    // Each chunk must be valid text by itself (RFC 8949 §3.2.3).
                    if complete && std::str::from_utf8(chunk).is_err() {
                        self.problem(position, NOT_UTF8);
                    }
                    bytes.extend_from_slice(chunk);
                    if !complete {
                        return (bytes, false);
                    }
                }
                Some(Head::Bytes(length)) if !text => {
                    let (chunk, complete) = self.string(length, position);
                    bytes.extend_from_slice(chunk);
                    if !complete {
                        return (bytes, false);
                    }
                }
                Some(_) => {
                    self.problem(position, "malformed CBOR: wrong chunk of a string");
                    return (bytes, false);
                }
                None => return (bytes, false),
            }
        }
    }

    /// The text, or the bytes if they are not valid text.
    fn text(&mut self, bytes: Vec<u8>, complete: bool, position: usize) -> (Option<Value>, bool) {
        let text = match String::from_utf8(bytes) {
            Ok(text) => Value::Text(text),
            Err(error) if complete => {
                self.problem(position, NOT_UTF8);
                Value::Bytes(error.into_bytes())
            }
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let valid = error.as_bytes().get(..valid).unwrap_or_default();
                Value::Text(String::from_utf8_lossy(valid).into_owned())
            }
        };
        (Some(text), complete)
    }
}

fn wrap<T>((content, complete): (T, bool), kind: impl FnOnce(T) -> Content) -> (Content, bool) {
    (kind(content), complete)
}

/// Writes an item on as many lines as it needs, with remarks at the ends of the lines. Stops after `room` bytes.
pub(super) fn print(item: &Item, room: usize) -> String {
    let mut printer = Printer { out: String::new(), room };
    match printer.item(item, 0, "") {
        Ok(()) => {}
        Err(fmt::Error) => printer.out.push_str("\n... / the rest is left out /\n"),
    }
    printer.out
}

/// Writes an item on one line without remarks; `None` if it needs more than `room` bytes.
fn one_line(item: &Item, room: usize) -> Option<String> {
    let mut printer = Printer { out: String::new(), room };
    printer.flat(item).ok()?;
    Some(printer.out)
}

struct Printer {
    out: String,
    room: usize,
}

impl fmt::Write for Printer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.room = self.room.checked_sub(text.len()).ok_or(fmt::Error)?;
        self.out.push_str(text);
        Ok(())
    }
}

impl Printer {
    fn item(&mut self, item: &Item, indent: usize, behind: &str) -> fmt::Result {
        let short = one_line(item, WIDTH);
        if let Some(line) = short.or_else(|| is_flat(item).then(|| one_line(item, self.room)).flatten()) {
            return self.line(indent, &format!("{line}{behind}"), &item.note);
        }
        let (open, inside, close) = match &item.content {
            Content::Leaf(_) => return Err(fmt::Error),
            Content::Array(items) => ("[".to_owned(), items, "]"),
            Content::Map(items) => ("{".to_owned(), items, "}"),
            Content::Tag(tag, items) => (format!("{tag}("), items, ")"),
            Content::Embedded(items) => (format!("{TAG_ENCODED_CBOR}(<<"), items, ">>)"),
        };
        self.line(indent, &open, &item.note)?;
        let is_map = matches!(item.content, Content::Map(_));
        let further = indent.saturating_add(1);
        for (index, one) in inside.iter().enumerate() {
            let last = item.complete && index.checked_add(1) == Some(inside.len());
            let between = match index & 1 {
                0 if is_map => ":",
                _ if last => "",
                _ => ",",
            };
            self.item(one, further, between)?;
        }
        if !item.complete && inside.last().is_none_or(|last| last.complete) {
            self.line(further, "...", "")?;
        }
        self.line(indent, &format!("{close}{behind}"), "")
    }

    fn line(&mut self, indent: usize, text: &str, note: &str) -> fmt::Result {
        for _ in 0..indent {
            self.write_str("  ")?;
        }
        self.write_str(text)?;
        if !note.is_empty() {
            let column = text.chars().count().saturating_add(indent.saturating_mul(2));
            for _ in column..NOTES {
                self.write_char(' ')?;
            }
            write!(self, " / {note} /")?;
        }
        self.write_char('\n')
    }

    /// Fails if an inner item has a remark, because the remark would be lost.
    fn flat(&mut self, item: &Item) -> fmt::Result {
        let (open, items, close) = match &item.content {
            Content::Leaf(None) => return self.write_str("..."),
            Content::Leaf(Some(value)) => {
                write!(self, "{value}")?;
                return self.write_str(if item.complete { "" } else { "..." });
            }
            Content::Array(items) => ("[", items, "]"),
            Content::Map(items) => ("{", items, "}"),
            Content::Tag(tag, items) => {
                write!(self, "{tag}")?;
                ("(", items, ")")
            }
            Content::Embedded(items) => ("24(<<", items, ">>)"),
        };
        self.write_str(open)?;
        for (index, one) in items.iter().enumerate() {
            if !one.note.is_empty() {
                return Err(fmt::Error);
            }
            self.write_str(match index & 1 {
                _ if index == 0 => "",
                1 if matches!(item.content, Content::Map(_)) => ": ",
                _ => ", ",
            })?;
            self.flat(one)?;
        }
        if !item.complete && items.last().is_none_or(|last| last.complete) {
            self.write_str(if items.is_empty() { "..." } else { ", ..." })?;
        }
        self.write_str(close)
    }
}

const fn is_flat(item: &Item) -> bool {
    matches!(item.content, Content::Leaf(_))
}

const NOT_UTF8: &str = "malformed CBOR: text is not UTF-8";
const BREAK: u8 = 0xff;
/// The depth limit of this module, whatever the other limits allow: reading and printing recurse.
const DEEPEST: usize = 128;
/// The longest item that is written on one line.
const WIDTH: usize = 60;
/// The column in which remarks begin.
const NOTES: usize = 44;
