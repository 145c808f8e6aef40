//! Taking a line of the prompt apart: words, names, values, times.

use grasp::Value;

/// The words of a line. What stands in double quotes, brackets or braces is one word with all its blanks, so
/// that JSON can be typed as it is. A word that begins with `#` begins a comment.
pub(crate) fn split(line: &str) -> Result<Vec<&str>, String> {
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

/// A name, which needs quotes only if it has blanks in it.
pub(crate) fn name(word: &str) -> Result<String, String> {
    let name = match word.strip_prefix('"') {
        Some(_) => serde_json::from_str(word).map_err(|error| format!("{word} is no name: {error}"))?,
        None => word.to_owned(),
    };
    if name.is_empty() { Err("an objective needs a name".to_owned()) } else { Ok(name) }
}

/// A value in JSON. A word that is none, but begins with a letter, is text.
pub(crate) fn value(word: &str) -> Result<Value, String> {
    match serde_json::from_str::<serde_json::Value>(word) {
        Ok(json) => {
            Value::from_serialize(&json).map_err(|error| format!("{word} has no form in CBOR: {error}"))
        }
        Err(_) if word.starts_with(char::is_alphabetic) => Ok(Value::from(word)),
        Err(error) => {
            Err(format!("{word} is no value: {error}; write it as JSON, as 47, \"text\" or [\"NZD\", 47]"))
        }
    }
}

/// A number of milliseconds.
pub(crate) fn milliseconds(word: &str) -> Result<u32, String> {
    word.parse().map_err(|_| format!("{word} is no number of milliseconds"))
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
}
