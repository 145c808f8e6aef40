//! What peers have written, for people to read: it must not steer their terminal, nor look like another line.

use std::fmt::{self, Write as _};

/// Text, with control characters escaped.
pub(crate) struct Plain<'a>(pub(crate) &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if character.is_control() {
                character.escape_default().fmt(f)?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_control_characters_are_escaped() {
        assert_eq!(
            Plain("нет, \"é\\\" \u{1b}[2J\r\n\u{9b}").to_string(),
            "нет, \"é\\\" \\u{1b}[2J\\r\\n\\u{9b}"
        );
    }
}
