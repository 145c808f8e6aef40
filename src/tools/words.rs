//! Reads what people type: splits a line into words, and reads names, values, times and locators. For command lines and prompts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::types::{AsaLocator, Protocol, Value};

/// Splits a line into words. Text in double quotes, brackets or braces belongs to one word with all its blanks, so
/// that JSON can be typed as it is. A word that begins with `#` begins a comment.
///
/// # Errors
/// A sentence, if a quotation mark or bracket is not closed.
pub fn split(line: &str) -> Result<Vec<&str>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() && !rest.starts_with('#') {
        let (word, after) = rest.split_at(end_of_word(rest)?);
        words.push(word);
        rest = after.trim_start();
    }
    Ok(words)
}

fn end_of_word(text: &str) -> Result<usize, String> {
    let (mut quoted, mut escaped, mut depth) = (false, false, 0_usize);
    for (place, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            _ if character.is_whitespace() && depth == 0 => return Ok(place),
            _ => {}
        }
    }
    match (quoted, depth) {
        (true, _) => Err(format!("a quotation mark is missing in {text}")),
        (false, 0) => Ok(text.len()),
        (false, _) => Err(format!("a bracket is missing in {text}")),
    }
}

/// Reads a name, which needs quotes only if it contains blanks.
///
/// # Errors
/// A sentence, if the name is empty, or begins with a quotation mark and is not a text.
pub fn name(word: &str) -> Result<String, String> {
    let name = match word.starts_with('"').then(|| word.parse()) {
        Some(Ok(Value::Text(name))) => name,
        Some(Ok(_)) => return Err(format!("{word} is not a name")),
        Some(Err(error)) => return Err(format!("{word} is not a name: {error}")),
        None => word.to_owned(),
    };
    if name.is_empty() { Err("an objective needs a name".to_owned()) } else { Ok(name) }
}

/// Reads a value in CBOR's diagnostic notation, of which JSON is a part. Any other word is text, if it begins with a letter and
/// contains no quotation marks or brackets.
///
/// # Errors
/// A sentence, if the word is not a value.
pub fn value(word: &str) -> Result<Value, String> {
    match word.parse() {
        Ok(value) => Ok(value),
        Err(_) if is_plain(word) => Ok(Value::from(word)),
        Err(error) => Err(format!(
            "{word} is not a value: {error}; write it as JSON or in diagnostic notation, such as 47, \"text\", [\"NZD\", 47] or h'0a0b'"
        )),
    }
}

/// Text that needs no quotation marks: it begins with a letter, and nothing in it looks like notation.
fn is_plain(word: &str) -> bool {
    word.starts_with(char::is_alphabetic) && !word.contains(['"', '\'', '[', ']', '{', '}', '(', ')'])
}

/// Reads a number of milliseconds, or of seconds, minutes or hours, followed by `s`, `min` or `h`.
///
/// # Errors
/// A sentence, if the word is not such a number, or the milliseconds do not fit into 32 bits.
pub fn milliseconds(word: &str) -> Result<u32, String> {
    let units = [("ms", 1), ("s", 1000), ("min", 60_000), ("h", 3_600_000)];
    let unit = units.into_iter().find_map(|(unit, factor)| {
        let number = word.strip_suffix(unit)?;
        number.ends_with(|last: char| last.is_ascii_digit()).then_some((number, factor))
    });
    let (number, factor) = unit.unwrap_or((word, 1));
    let parsed = number.parse::<u32>().ok().and_then(|number| number.checked_mul(factor));
    parsed
        .ok_or_else(|| format!("{word} is not a number of milliseconds; write other units as 5s, 2min or 1h"))
}

/// Reads the locator of a peer: an address, `[address]:port`, or a name with a port.
///
/// # Errors
/// A sentence, if the word is none of these.
pub fn locator(word: &str) -> Result<AsaLocator, String> {
    let wrong = || {
        format!(
            "{word} is not a locator: write it as [fd00::1]:4711, [fe80::1%3]:4711, 192.0.2.1:4711 or name:4711"
        )
    };
    if let Ok(address) = word.parse::<IpAddr>() {
        return Ok(AsaLocator::new(address, None));
    }
    let (host, port) = word.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if let Some(bare) = bare {
        let (address, zone) =
            bare.split_once('%').map_or((bare, None), |(address, zone)| (address, Some(zone)));
        let address: Ipv6Addr = address.parse().map_err(|_| wrong())?;
        let ifi = zone.map(|zone| zone.parse().map_err(|_| wrong())).transpose()?;
        return Ok(AsaLocator::new(address, ifi).with_port(port));
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok(AsaLocator::new(address, None).with_port(port));
    }
    let is_name = |character: char| character.is_ascii_alphanumeric() || "-._".contains(character);
    if host.is_empty() || !host.chars().all(is_name) {
        return Err(wrong());
    }
    Ok(AsaLocator::fqdn(host, Protocol::Tcp, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_one_word() {
        assert_eq!(
            split(r#" flood  EX1 ["NZD", 47]  500 "#).unwrap(),
            ["flood", "EX1", r#"["NZD", 47]"#, "500"]
        );
        assert_eq!(
            split(r#"listen "a ] \" b" {"k": [1, 2]}"#).unwrap(),
            ["listen", r#""a ] \" b""#, r#"{"k": [1, 2]}"#]
        );
        assert_eq!(split("sync EX1 # the value of n2").unwrap(), ["sync", "EX1"]);
        assert!(split("").unwrap().is_empty() && split("  # nothing").unwrap().is_empty());
    }

    #[test]
    fn what_is_left_open_is_an_error() {
        assert!(split(r#"flood EX1 "text"#).unwrap_err().contains("quotation mark"));
        assert!(split("flood EX1 [1, 2").unwrap_err().contains("bracket"));
    }

    #[test]
    fn values_are_json_or_plain_words() {
        assert_eq!(value("47").unwrap(), Value::from(47));
        assert_eq!(value(r#"["NZD", 47]"#).unwrap().to_string(), r#"["NZD", 47]"#);
        assert_eq!(value("true").unwrap(), Value::from(true));
        assert_eq!(value("hello").unwrap(), Value::from("hello"));
        assert!(value("-").unwrap_err().contains("JSON"));
    }

    #[test]
    fn names_may_be_quoted() {
        assert_eq!(name("EX1").unwrap(), "EX1");
        assert_eq!(name(r#""a b""#).unwrap(), "a b");
        assert!(name(r#""""#).is_err());
    }

    #[test]
    fn times_have_units() {
        let read = |word| milliseconds(word).ok();
        assert_eq!(
            [read("500"), read("500ms"), read("5s"), read("2min"), read("1h")],
            [Some(500), Some(500), Some(5000), Some(120_000), Some(3_600_000)]
        );
        assert_eq!([read("s"), read("-1"), read("1d"), read("5000000s")], [None; 4]);
    }

    #[test]
    fn locators_are_addresses_or_names_with_ports() {
        for (word, shown) in [
            ("fd00::1", "[fd00::1]:7017"),
            ("[fd00::1]:4711", "[fd00::1]:4711"),
            ("[fe80::1%3]:4711", "[fe80::1%3]:4711"),
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("registrar.example:443", "registrar.example:443"),
        ] {
            assert_eq!(locator(word).unwrap().to_string(), shown, "{word}");
        }
        for wrong in ["", "x", "[fd00::1]", "[x]:1", "[fe80::1%e]:1", ":1", "a b:1", "name:70000"] {
            assert!(locator(wrong).unwrap_err().contains("locator"), "{wrong}");
        }
    }
}
