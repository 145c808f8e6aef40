//! Makes text from peers safe for people to read: it must not control their terminal, nor look like another line.

use std::fmt::{self, Write as _};

/// Whether a character is a control character, is invisible, ends a line, or changes the direction of writing.
pub(crate) fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Text that is displayed with harmful characters escaped.
pub(crate) struct Plain<'a>(pub(crate) &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if is_harmful(character) {
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
    fn what_would_reorder_or_break_a_line_is_escaped() {
        assert_eq!(
            Plain("a\u{202e}b\u{2066}c\u{2028}d\u{200b}e\u{feff}").to_string(),
            "a\\u{202e}b\\u{2066}c\\u{2028}d\\u{200b}e\\u{feff}"
        );
    }

    #[test]
    fn other_text_stays_as_it_is() {
        assert_eq!(
            Plain("нет, \"é\\\" \u{1b}[2J\r\n\u{9b}").to_string(),
            "нет, \"é\\\" \\u{1b}[2J\\r\\n\\u{9b}"
        );
    }
}
