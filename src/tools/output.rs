//! How verbs print: tables for people, JSON for programs, files that are never half written.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize as _;
use serde_json::ser::{Formatter, Serializer};
use serde_json::{Map, Value as Json, json};

use super::plain;
use crate::clock::monotonic_ms;
use crate::types::{AsaLocator, Value};

/// Columns of text under their names.
#[derive(Debug)]
pub(super) struct Table {
    /// The names of the columns, if they are shown.
    names: Option<Vec<String>>,
    rows: Vec<Vec<String>>,
}

/// The widest column. Peers control the lengths of cells: a longer cell is not cut, but does not make other rows longer.
const WIDEST: usize = 120;

impl Table {
    pub(super) fn new(names: &[&str]) -> Self {
        Self { names: Some(names.iter().map(|name| (*name).to_owned()).collect()), rows: Vec::new() }
    }

    /// Columns without names.
    pub(super) const fn unnamed() -> Self {
        Self { names: None, rows: Vec::new() }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }

    /// Whether there is nothing but the names.
    pub(super) const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn lines(&self) -> impl Iterator<Item = &Vec<String>> {
        self.names.iter().chain(&self.rows)
    }

    /// Prints each column as wide as it needs to be, up to `WIDEST`, without blanks at the ends of lines.
    pub(super) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let columns = self.lines().map(Vec::len).max().unwrap_or_default();
        let wide = |column: usize| {
            let cells = self.lines().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<_> =
            (0..columns).map(|column| wide(column).unwrap_or_default().min(WIDEST)).collect();
        for row in self.lines() {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                // Not by the width of a format, which panics beyond 16 bits.
                let blanks = width.saturating_sub(cell.chars().count()).saturating_add(2);
                line.extend(std::iter::repeat_n(' ', blanks));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Prints a JSON object on one line. Besides what JSON escapes, this escapes characters that control a terminal, are invisible
/// or change the direction of writing.
pub(super) fn json_line(object: &Json, out: &mut dyn Write) -> io::Result<()> {
    object.serialize(&mut Serializer::with_formatter(&mut *out, Harmless))?;
    writeln!(out)
}

/// JSON that is safe for terminals.
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        // A fragment contains nothing that JSON escapes. So only what diagnostic notation escapes changes, and its escapes are
        // valid JSON.
        let is_printable = |byte: u8| (b' '..=b'~').contains(&byte);
        if fragment.bytes().all(is_printable) {
            writer.write_all(fragment.as_bytes())
        } else {
            writer.write_all(plain(fragment).as_bytes())
        }
    }
}

/// Converts a value to JSON, as far as JSON can represent it (RFC 8949 §6.1): byte strings become hexadecimal text,
/// tags are left out, and what JSON cannot represent becomes null. The diagnostic notation, which is printed with it,
/// is complete.
pub(super) fn json_value(value: &Value) -> Json {
    match value {
        Value::Bool(value) => json!(value),
        Value::Integer(number) => match (u64::try_from(*number), i64::try_from(*number)) {
            (Ok(number), _) => json!(number),
            (_, Ok(number)) => json!(number),
            _ => json!(number.to_string()),
        },
        Value::Float(number) => json!(number),
        Value::Bytes(bytes) => json!(hex(bytes)),
        Value::Text(text) => json!(text),
        Value::Array(items) => items.iter().map(json_value).collect(),
        Value::Map(pairs) => {
            let name = |key: &Value| key.as_str().map_or_else(|| key.to_string(), str::to_owned);
            Json::Object(
                pairs.iter().map(|(key, value)| (name(key), json_value(value))).collect::<Map<_, _>>(),
            )
        }
        Value::EncodedCbor(bytes) => value.embedded().and_then(Result::ok).map_or_else(
            || json!(hex(bytes)),
            |inside| match inside {
                // An item that is encoded once more is not opened: a peer decides how deep that goes.
                Value::EncodedCbor(bytes) => json!(hex(&bytes)),
                inside => json_value(&inside),
            },
        ),
        Value::Tag(_, inside) => json_value(inside),
        Value::Null | Value::Undefined | Value::Simple(_) => Json::Null,
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How long something is still valid, for people.
pub(super) fn validity(expire: u64) -> String {
    match expire {
        0 => "for ever".to_owned(),
        until => match until.saturating_sub(monotonic_ms()) {
            0 => "expired".to_owned(),
            left => format!("{} s", left.div_ceil(1000)),
        },
    }
}

/// How long something is still valid, in milliseconds; null is for ever.
pub(super) fn validity_json(expire: u64) -> Json {
    if expire == 0 { Json::Null } else { json!(expire.saturating_sub(monotonic_ms())) }
}

/// A locator as an object.
pub(super) fn locator_json(locator: &AsaLocator) -> Json {
    json!({
        "locator": locator.locator.as_ref().map(|_| locator.to_string()),
        "address": locator.locator.as_ref().map(|address| plain(&address.to_string())),
        "port": locator.locator.as_ref().and(locator.port),
        "protocol": locator.locator.as_ref().and(locator.protocol).map(|protocol| protocol.to_string()),
        "interface": locator.ifi,
        "diverted": locator.diverted,
        "valid_ms": validity_json(locator.expire),
    })
}

/// Writes a file so that readers see either all of it or the old contents. The new file has the mode of the old one, or that of
/// any new file.
pub(super) fn write_atomically(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = Path::new(&beside);
    let written = fs::File::create(beside).and_then(|mut file| {
        if let Ok(old) = fs::metadata(path) {
            file.set_permissions(old.permissions())?;
        }
        file.write_all(contents)?;
        file.sync_all()
    });
    let done = written.and_then(|()| fs::rename(beside, path));
    if done.is_err() {
        // The unfinished file is useless. If it cannot be removed, the first failure is still the one to report.
        let _ = fs::remove_file(beside);
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need_and_lines_have_no_blanks_at_their_ends() {
        let mut table = Table::new(&["NAME", "PORT", "VALUE"]);
        assert!(table.is_empty());
        table.row(["EX1".to_owned(), "4711".to_owned(), String::new()]);
        table.row(["größer".to_owned(), "1".to_owned(), "[1, 2]".to_owned()]);
        let mut text = Vec::new();
        table.print(&mut text).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "NAME    PORT  VALUE\nEX1     4711\ngrößer  1     [1, 2]\n"
        );
    }

    #[test]
    fn a_cell_of_any_length_is_printed_and_widens_no_other_row_without_end() {
        let mut table = Table::new(&["PEER", "KNOWN BY", "AT"]);
        table.row(["a".to_owned(), "x".repeat(70_000), "1".to_owned()]);
        table.row(["b".to_owned(), "y".to_owned(), "2".to_owned()]);
        let mut text = Vec::new();
        table.print(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let lengths: Vec<_> = text.lines().map(str::len).collect();
        assert_eq!(lengths[1], 6 + 70_000 + 2 + 1);
        assert_eq!((lengths[0], lengths[2]), (6 + WIDEST + 2 + 2, 6 + WIDEST + 2 + 1));
    }

    #[test]
    fn values_are_json_as_far_as_that_goes() {
        for (notation, expected) in [
            ("[1, -2, \"x\", true, null, undefined, 1.5]", "[1,-2,\"x\",true,null,null,1.5]"),
            ("h'00ff'", "\"00ff\""),
            ("{1: {\"a\": 2}, \"b\": []}", "{\"1\":{\"a\":2},\"b\":[]}"),
            ("54([48, h'20'])", "[48,\"20\"]"),
            ("24(<<[1]>>)", "[1]"),
            ("24(<<24(<<1>>)>>)", "\"01\""),
            ("24(h'ff')", "\"ff\""),
            ("-18446744073709551616", "\"-18446744073709551616\""),
            ("NaN", "null"),
        ] {
            let value: Value = notation.parse().unwrap();
            assert_eq!(json_value(&value).to_string(), expected, "{notation}");
        }
    }

    #[test]
    fn json_cannot_steer_a_terminal() {
        let mut line = Vec::new();
        json_line(&json!({"a": "\u{1b}[2J\u{202e}é\"\n"}), &mut line).unwrap();
        assert_eq!(String::from_utf8(line).unwrap(), "{\"a\":\"\\u001b[2J\\u202eé\\\"\\n\"}\n");
    }
}
