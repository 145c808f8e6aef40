//! The forms that values are shown and written in: `--as`.

use serde_json::{Value as Json, json};

use super::failure::{Failure, Status};
use super::output::{hex, json_value, locator_json};
use super::plain;
use crate::objectives::Known;
use crate::types::{AsaLocator, Objective, Value};

/// A form in which values are shown and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The words of the objective's definition, if it is a well-known one; else diagnostic notation.
    Words,
    /// Diagnostic notation.
    Diagnostic,
    Json,
    /// Text as it is, without quotation marks.
    Text,
    Hex,
    /// The bytes of the encoded value.
    Cbor,
    /// The words of the definition of this kind of objective. Other values are errors.
    Known(Known),
}

impl Form {
    pub(super) fn parse(word: &str) -> Result<Self, String> {
        let known = || Known::ALL.into_iter().find(|known| known.name() == word).or_else(|| Known::of(word));
        Ok(match word {
            "words" => Self::Words,
            "value" => Self::Diagnostic,
            "json" => Self::Json,
            "text" => Self::Text,
            "hex" => Self::Hex,
            "cbor" => Self::Cbor,
            _ => Self::Known(known().ok_or_else(|| {
                let names: Vec<_> = Known::ALL.iter().map(|known| known.name()).collect();
                format!("it must be words, value, json, text, hex, cbor, or one of {}", names.join(", "))
            })?),
        })
    }

    /// A value on one line that is safe for terminals.
    pub(super) fn line(self, objective: &Objective) -> Result<String, Failure> {
        let value = &objective.value;
        Ok(match self {
            Self::Words => {
                let words = Known::of(&objective.name).and_then(|known| known.describe(value).ok());
                words.unwrap_or_else(|| value.to_string())
            }
            Self::Diagnostic => value.to_string(),
            Self::Json => {
                let mut line = Vec::new();
                super::output::json_line(&json_value(value), &mut line)?;
                String::from_utf8_lossy(&line).trim_end().to_owned()
            }
            Self::Text => plain(self.text(objective)?),
            Self::Hex | Self::Cbor => hex(&value.encode()),
            Self::Known(known) => known.describe(value).map_err(|error| wrong(objective, error))?,
        })
    }

    /// A value as the contents of a file, or of a pipe.
    pub(super) fn bytes(self, objective: &Objective) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Cbor => Ok(objective.value.encode()),
            Self::Text => Ok(format!("{}\n", self.text(objective)?).into_bytes()),
            _ => Ok(format!("{}\n", self.line(objective)?).into_bytes()),
        }
    }

    fn text(self, objective: &Objective) -> Result<&str, Failure> {
        objective.value.as_str().ok_or_else(|| wrong(objective, "the value is not a text"))
    }
}

fn wrong(objective: &Objective, what: impl std::fmt::Display) -> Failure {
    Failure::new(Status::Refused, format!("{}: {what}", plain(&objective.name)))
}

/// An objective with its value as an object.
pub(super) fn objective_json(objective: &Objective) -> Json {
    let Objective { name, neg, dry, synch, discoverable, loop_count, value } = objective;
    let meaning = Known::of(name).and_then(|known| known.describe(value).ok());
    json!({
        "objective": name,
        "value": json_value(value),
        "diagnostic": value.to_string(),
        "meaning": meaning,
        "loop_count": loop_count,
        "flags": { "neg": neg, "dry": dry, "synch": synch, "discoverable": discoverable },
    })
}

/// The same, with the locator that it is from.
pub(super) fn sourced_json(objective: &Objective, source: Option<&AsaLocator>) -> Json {
    let mut object = objective_json(objective);
    merge(&mut object, json!({ "source": source.map(locator_json) }));
    object
}

/// Adds the members of an object to another.
pub(super) fn merge(object: &mut Json, more: Json) {
    if let (Json::Object(object), Json::Object(more)) = (object, more) {
        object.extend(more);
    }
}

/// Whether a name matches one of the patterns, which are names, or beginnings of names followed by a star. Without a
/// pattern every name matches.
pub(super) fn is_wanted(name: &str, wanted: &[String]) -> bool {
    wanted.is_empty() || wanted.iter().any(|pattern| matches(name, pattern))
}

fn matches(name: &str, pattern: &str) -> bool {
    pattern.strip_suffix('*').map_or(name == pattern, |begin| name.starts_with(begin))
}

/// The locator of a flooded value, for people.
pub(super) fn place(source: &AsaLocator) -> String {
    match source.locator {
        Some(_) => source.to_string(),
        None => "-".to_owned(),
    }
}

/// Whether there is no value: then nothing is shown in its place.
pub(super) const fn is_nothing(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Undefined)
}
