//! The configuration in force as a file: `--print-config`. The output can be read again, and gives for each key its meaning, its
//! permitted values, and whether a reload changes it.

use std::fmt::Write as _;

use grasp::Value;

use crate::configuration::Configuration;
use crate::settings::KEYS;

/// The longest line of a comment.
const WIDTH: usize = 120;

/// The file.
pub(crate) fn print(configuration: &Configuration) -> String {
    let settings = &configuration.settings;
    let mut text = String::new();
    comment(
        &mut text,
        "The configuration of graspd. Every key is here; those that are commented out have no value. Times are whole milliseconds, \
         sizes bytes. SIGHUP reads the file again: keys marked with (reload) change at once, others at the next start.",
    );
    for (table, about) in settings.tables() {
        text.push('\n');
        comment(&mut text, about);
        line(&mut text, &format!("[{table}]"));
        for (name, about, permitted) in settings.keys(table) {
            let reload = KEYS.iter().any(|key| key.reloads && key.table == table && key.name == name);
            let reload = if reload { " (reload)" } else { "" };
            text.push('\n');
            comment(&mut text, &format!("{} Permitted: {permitted}.{reload}", plain(&about)));
            let value = settings.value(table, name);
            match toml(&value) {
                // Permissions are usually written in octal.
                Some(_) if name == "mode" => {
                    line(&mut text, &format!("{name} = 0o{:o}", value.as_i64().unwrap_or_default()));
                }
                Some(value) => line(&mut text, &format!("{name} = {value}")),
                None => line(&mut text, &format!("# {name} =")),
            }
        }
    }
    configuration.access.print(&mut text);
    for one in &configuration.objectives {
        text.push('\n');
        comment(&mut text, &format!("From {}: {}", configuration.directory.display(), one.objective.name));
    }
    text
}

pub(crate) fn line(text: &mut String, line: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{line}");
}

/// A comment, in lines that are not too long.
pub(crate) fn comment(text: &mut String, words: &str) {
    let mut open = "#".to_owned();
    for word in words.split_whitespace() {
        if open.len() + 1 + word.len() > WIDTH {
            line(text, &open);
            "#".clone_into(&mut open);
        }
        open.push(' ');
        open.push_str(word);
    }
    line(text, &open);
}

/// The documentation of a setting or counter without the links of rustdoc.
pub(crate) fn plain(about: &str) -> String {
    let mut rest = about;
    let mut plain = String::new();
    while let Some((before, link)) = rest.split_once("[`") {
        let (name, after) = link.split_once("`]").unwrap_or((link, ""));
        let target = after.strip_prefix('(').and_then(|target| target.split_once(')'));
        plain.push_str(before);
        plain.push_str(name);
        rest = target.map_or(after, |(_, after)| after);
    }
    plain.push_str(rest);
    plain.replace('`', "")
}

/// A value in TOML; `None` if TOML cannot represent it.
pub(crate) fn toml(value: &Value) -> Option<String> {
    match value {
        Value::Bool(value) => Some(value.to_string()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(format!("{number:?}")),
        Value::Text(text) => Some(quoted(text)),
        Value::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(toml).collect();
            Some(format!("[{}]", items?.join(", ")))
        }
        Value::Map(entries) => {
            let entry =
                |(key, value): &(Value, Value)| Some(format!("{} = {}", quoted(key.as_str()?), toml(value)?));
            let entries: Option<Vec<_>> = entries.iter().map(entry).collect();
            Some(format!("{{ {} }}", entries?.join(", ")))
        }
        _ => None,
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\u{0}'..='\u{1f}' | '\u{7f}' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(character));
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use grasp::Config;

    use super::*;
    use crate::file;
    use crate::settings::Settings;

    #[test]
    fn what_is_printed_is_read_as_it_was() {
        let printed = print(&Configuration::read(None).unwrap());
        let mut problems = Vec::new();
        let mut table = file::parse(Path::new("x.toml"), &printed).unwrap();
        assert_eq!(Settings::take(&mut table, &mut problems), Settings::default());
        assert!(problems.is_empty() && table.finish().is_empty(), "{problems:?}");
        let has = |key: &str| {
            printed.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} =")))
        };
        let programs = ["acp", "bubbles"];
        for setting in Config::settings().iter().filter(|setting| !programs.contains(&setting.name)) {
            assert!(has(setting.name), "{} is not in\n{printed}", setting.name);
        }
        assert!(KEYS.iter().all(|key| has(key.name)) && printed.contains("[[access]]"));
        assert!(printed.lines().all(|line| line.len() <= WIDTH && !line.contains("::")), "{printed}");
    }

    #[test]
    fn a_value_is_written_so_that_it_is_read_again() {
        let value = Value::Map(vec![
            ("\n\\".into(), "\u{7f}ü".into()),
            ("a \" b".into(), Value::Array(vec![1.into(), true.into(), Value::Float(1.0)])),
        ]);
        let text = format!("x = {}", toml(&value).unwrap());
        assert_eq!(
            file::parse(Path::new("x.toml"), &text).unwrap().take("x").unwrap().value,
            value,
            "{text}"
        );
        assert_eq!(toml(&Value::Array(vec![Value::Null])), None);
    }
}
