//! Reading values that people write: CBOR's diagnostic notation (RFC 8949 §8, RFC 8610 appendix G), of which JSON is a part. The
//! reverse of how a [`Value`] prints. For command lines and configuration files; nothing from the network comes here.

use std::fmt;
use std::str::FromStr;

use super::codec::{TAG_ENCODED_CBOR, VALUE_LIMITS};
use super::value::Value;

/// Why a text is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotationError {
    position: usize,
    what: &'static str,
}

impl NotationError {
    /// Where, in bytes from the beginning of the text.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.position
    }
}

impl fmt::Display for NotationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at character {}", self.what, self.position.saturating_add(1))
    }
}

impl std::error::Error for NotationError {}

/// Reads diagnostic notation or JSON: `47`, `"text"`, `["NZD", 47]`, `{1: h'0a0b'}`, `54([48, h'20010db8'])`, `24(<<1>>)`. Comments
/// stand between slashes, or behind `#` up to the end of the line.
///
/// ```
/// use grasp::Value;
/// let value: Value = r#"{"prefix": 54([48, h'20010db80001']), 2: [true, -1.5]}"#.parse().unwrap();
/// assert_eq!(value.to_string(), r#"{"prefix": 54([48, h'20010db80001']), 2: [true, -1.5]}"#);
/// assert!("[1, 2".parse::<Value>().is_err());
/// ```
impl FromStr for Value {
    type Err = NotationError;

    fn from_str(text: &str) -> Result<Self, NotationError> {
        let mut parser = Parser { text, at: 0 };
        let value = parser.item(VALUE_LIMITS.depth)?;
        parser.blank()?;
        if parser.rest().is_empty() { Ok(value) } else { Err(parser.error("something follows the value")) }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

type Parsed<T> = Result<T, NotationError>;

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    const fn error(&self, what: &'static str) -> NotationError {
        NotationError { position: self.at, what }
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at = self.at.saturating_add(next.len_utf8());
        Some(next)
    }

    fn eat(&mut self, token: &str) -> bool {
        let there = self.rest().starts_with(token);
        if there {
            self.at = self.at.saturating_add(token.len());
        }
        there
    }

    /// Passes blanks and comments.
    fn blank(&mut self) -> Parsed<()> {
        loop {
            let rest = self.rest();
            let blanks = rest.len().saturating_sub(rest.trim_start().len());
            self.at = self.at.saturating_add(blanks);
            let end = match self.peek() {
                Some('/') => self.rest().get(1..).and_then(|inside| inside.find('/')),
                Some('#') => Some(self.rest().lines().next().map_or(0, |line| line.len().saturating_sub(1))),
                _ => return Ok(()),
            };
            let end = end.ok_or_else(|| self.error("a comment has no end"))?;
            self.at = self.at.saturating_add(end).saturating_add(2).min(self.text.len());
        }
    }

    /// An item, no deeper than so many levels.
    fn item(&mut self, levels: usize) -> Parsed<Value> {
        self.blank()?;
        let inside = levels.checked_sub(1).ok_or_else(|| self.error("nested too deep"))?;
        if self.eat("<<") {
            let items = self.list(">>", inside, Self::item)?;
            return Ok(Value::Bytes(items.iter().flat_map(Value::encode).collect()));
        }
        match self.peek() {
            Some('[') => {
                self.open("[");
                Ok(Value::Array(self.list("]", inside, Self::item)?))
            }
            Some('{') => {
                self.open("{");
                Ok(Value::Map(self.list("}", inside, Self::pair)?))
            }
            Some('"') => Ok(Value::Text(self.quoted('"')?)),
            Some('\'') => Ok(Value::Bytes(self.quoted('\'')?.into_bytes())),
            Some('0'..='9' | '+' | '-' | '.') => self.number(inside),
            Some(character) if character.is_ascii_alphabetic() => self.word(inside),
            Some(_) => Err(self.error("no value begins so")),
            None => Err(self.error("a value is missing")),
        }
    }

    /// A bracket, perhaps of an item of indefinite length.
    fn open(&mut self, bracket: &str) {
        self.eat(bracket);
        self.eat("_ ");
    }

    fn list<T>(
        &mut self,
        end: &str,
        levels: usize,
        one: impl Fn(&mut Self, usize) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        let mut items = Vec::new();
        loop {
            self.blank()?;
            if self.eat(end) {
                return Ok(items);
            }
            items.push(one(self, levels)?);
            self.blank()?;
            if !self.eat(",") && !self.rest().starts_with(end) {
                return Err(self.error("a comma or the closing bracket is missing"));
            }
        }
    }

    fn pair(&mut self, levels: usize) -> Parsed<(Value, Value)> {
        let key = self.item(levels)?;
        self.blank()?;
        if !self.eat(":") {
            return Err(self.error("a colon is missing behind the key of a map"));
        }
        Ok((key, self.item(levels)?))
    }

    fn quoted(&mut self, quote: char) -> Parsed<String> {
        let begin = self.at;
        self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                Some(end) if end == quote => return Ok(text),
                Some('\\') => text.push(self.escape()?),
                Some(character) => text.push(character),
                None => return Err(NotationError { position: begin, what: "a quotation has no end" }),
            }
        }
    }

    fn escape(&mut self) -> Parsed<char> {
        Ok(match self.next() {
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some(same @ ('"' | '\'' | '\\' | '/')) => same,
            Some('u') => {
                let unit = self.unit()?;
                let low = if (0xd800..0xdc00).contains(&unit) && self.eat("\\u") {
                    Some(self.unit()?)
                } else {
                    None
                };
                let units = std::iter::once(unit).chain(low);
                char::decode_utf16(units)
                    .next()
                    .and_then(Result::ok)
                    .ok_or_else(|| self.error("no such character"))?
            }
            _ => return Err(self.error("there is no such escape")),
        })
    }

    fn unit(&mut self) -> Parsed<u16> {
        let digits = self.rest().get(..4).unwrap_or_default();
        let unit =
            u16::from_str_radix(digits, 16).map_err(|_| self.error("four hexadecimal digits are missing"))?;
        self.at = self.at.saturating_add(4);
        Ok(unit)
    }

    /// The characters that a number or word may have, from here.
    fn run(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|character| !belongs(character)).unwrap_or(rest.len());
        self.at = self.at.saturating_add(end);
        rest.get(..end).unwrap_or_default()
    }

    fn number(&mut self, levels: usize) -> Parsed<Value> {
        let begin = self.at;
        let wrong = |what| NotationError { position: begin, what };
        if self.eat("-Infinity") {
            return Ok(Value::Float(f64::NEG_INFINITY));
        }
        let digits = self.run(|character| character.is_ascii_alphanumeric() || "+-.".contains(character));
        if let Ok(tag) = digits.parse::<u64>()
            && self.eat("(")
        {
            return self.tagged(tag, levels);
        }
        let (sign, magnitude) = match digits.strip_prefix('-') {
            Some(magnitude) => (-1, magnitude),
            None => (1, digits.strip_prefix('+').unwrap_or(digits)),
        };
        for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
            if let Some(digits) = magnitude.strip_prefix(prefix) {
                let number = i128::from_str_radix(digits, radix).map_err(|_| wrong("this is no number"))?;
                return Ok(Value::Integer(number.saturating_mul(sign)));
            }
        }
        if let Ok(number) = digits.parse::<i128>() {
            return Ok(Value::Integer(number));
        }
        // `inf` and `nan`, which Rust reads too, begin with letters.
        let is_float = magnitude.starts_with(|first: char| first.is_ascii_digit() || first == '.');
        match digits.parse::<f64>() {
            Ok(number) if is_float => Ok(Value::Float(number)),
            _ => Err(wrong("this is no number")),
        }
    }

    /// What a tag stands before; its bracket has been read.
    fn tagged(&mut self, tag: u64, levels: usize) -> Parsed<Value> {
        let value = self.item(levels)?;
        self.close()?;
        Ok(match value {
            Value::Bytes(bytes) if tag == TAG_ENCODED_CBOR => Value::EncodedCbor(bytes),
            value => Value::Tag(tag, Box::new(value)),
        })
    }

    fn close(&mut self) -> Parsed<()> {
        self.blank()?;
        if self.eat(")") { Ok(()) } else { Err(self.error("a closing bracket is missing")) }
    }

    fn word(&mut self, levels: usize) -> Parsed<Value> {
        let begin = self.at;
        let wrong = |what| NotationError { position: begin, what };
        let word = self.run(|character| character.is_ascii_alphanumeric());
        Ok(match word {
            "null" => Value::Null,
            "undefined" => Value::Undefined,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "NaN" => Value::Float(f64::NAN),
            "Infinity" => Value::Float(f64::INFINITY),
            "h" if self.peek() == Some('\'') => {
                let digits = self.quoted('\'')?;
                Value::Bytes(hex(&digits).ok_or_else(|| wrong("this is not hexadecimal"))?)
            }
            "simple" if self.eat("(") => {
                let Value::Integer(number) = self.item(levels)? else {
                    return Err(wrong("this is no simple value"));
                };
                self.close()?;
                let number = u8::try_from(number).ok().filter(|number| !(24..32).contains(number));
                super::codec::simple(number.ok_or_else(|| wrong("this is no simple value"))?)
            }
            _ => return Err(wrong("this is no value: text stands between quotation marks")),
        })
    }
}

/// Bytes from hexadecimal digits with any blanks between them.
fn hex(digits: &str) -> Option<Vec<u8>> {
    let digits: Vec<char> = digits.chars().filter(|digit| !digit.is_whitespace()).collect();
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let byte = |[high, low]: &[char; 2]| {
        let byte = high.to_digit(16)?.checked_mul(16)?.checked_add(low.to_digit(16)?)?;
        u8::try_from(byte).ok()
    };
    pairs.iter().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Value {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn what_a_value_prints_is_read_back() {
        for text in [
            "null",
            "undefined",
            "true",
            "0",
            "-18446744073709551616",
            "1.5",
            "-0.0",
            "1e300",
            "NaN",
            "Infinity",
            "-Infinity",
            "h''",
            "h'00ff'",
            r#""a \" \\ \n ü \u202e""#,
            "[]",
            "[1, [2, {}]]",
            r#"{"a": 1, 2: [h'03'], [4]: {}}"#,
            "24(h'83010203')",
            "54([48, h'20010db8'])",
            "simple(99)",
        ] {
            let value = read(text);
            assert_eq!(value.to_string(), text);
            assert!(Value::decode(&value.encode()).unwrap().is_identical_to(&value), "{text}");
        }
    }

    #[test]
    fn what_people_write_otherwise_is_read_too() {
        for (text, same) in [
            (" [ 1 ,2, ] ", "[1, 2]"),
            ("[_ 1, 2]", "[1, 2]"),
            ("/ a comment / 47 # another", "47"),
            ("[1, # one\n 2]", "[1, 2]"),
            ("0x1f", "31"),
            ("-0b11", "-3"),
            ("h'00 FF'", "h'00ff'"),
            ("'abc'", "h'616263'"),
            ("24(<<[1, 2, 3]>>)", "24(h'83010203')"),
            ("<<1, 2>>", "h'0102'"),
            (r#""\ud83d\ude00\/""#, "\"\u{1f600}/\""),
            ("simple(20)", "false"),
            (r#"{"a":1.0}"#, r#"{"a": 1.0}"#),
        ] {
            assert_eq!(read(text).to_string(), same, "{text}");
        }
    }

    #[test]
    fn what_is_no_value_is_an_error_with_its_place() {
        for (text, place) in [
            ("", 1),
            ("hello", 1),
            ("[1, 2", 6),
            ("[1 2]", 4),
            ("{1 2}", 4),
            ("1 2", 3),
            ("h'0'", 1),
            ("h'0g'", 1),
            ("\"open", 1),
            ("/ open", 1),
            ("1(", 3),
            ("1(2", 4),
            ("-", 1),
            ("1x", 1),
            ("simple(300)", 1),
            ("\"\\x\"", 4),
            ("\"\\ud800\"", 8),
            (")", 1),
            ("ü", 1),
        ] {
            let error = text.parse::<Value>().expect_err(text);
            assert_eq!(error.position() + 1, place, "{text}: {error}");
        }
        assert!("[".repeat(10_000).parse::<Value>().unwrap_err().to_string().contains("too deep"));
    }
}
