//! Settings by name, as in a configuration file: `graspd` reads and prints them this way. The table in `config` defines them;
//! nothing here mentions a single one.

use std::fmt;
use std::time::Duration;

use super::{Config, Rate, Relay};
use crate::acp::Acp;
use crate::types::Value;

/// A setting of [`Config`], described.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Setting {
    /// The group, which is the name of its getter in [`Config`], such as `times`.
    pub group: &'static str,
    /// What the group is about, a sentence.
    pub group_about: &'static str,
    /// The name, which is that of its setter in [`Config`].
    pub name: &'static str,
    /// What it is about, with its default and the source of that: one line of Markdown.
    pub about: &'static str,
    /// The values that [`Config::set`] takes, in words. `None` if a [`Value`] cannot represent the setting: only the program
    /// can set it.
    pub permitted: Option<String>,
}

/// Why [`Config::set`] failed. `Display` is a sentence. A retry does not help.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingError {
    /// There is no such setting.
    Unknown {
        /// The name that was asked for.
        name: String,
    },
    /// A [`Value`] cannot represent the setting.
    ProgramOnly {
        /// The setting.
        name: &'static str,
    },
    /// The value is of another type, or out of range.
    Value {
        /// The setting.
        name: &'static str,
        /// The values that are permitted, in words.
        permitted: String,
    },
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name } => write!(f, "there is no setting {name}"),
            Self::ProgramOnly { name } => write!(f, "{name} cannot be set by name"),
            Self::Value { name, permitted } => write!(f, "{name} must be {permitted}"),
        }
    }
}

impl std::error::Error for SettingError {}

/// The type of a setting.
pub(super) trait Written: Sized {
    /// The setting as a value; `None` if a value cannot represent it.
    fn write(&self) -> Option<Value>;

    /// Converts a value; `None` if it is not of this type.
    fn read(value: &Value) -> Option<Self>;

    /// The permitted values, in words; `None` if there are none. `range` is what an engine supports.
    fn permitted(range: Option<(Value, Value)>) -> Option<String>;
}

impl Written for bool {
    fn write(&self) -> Option<Value> {
        Some((*self).into())
    }

    fn read(value: &Value) -> Option<Self> {
        value.as_bool()
    }

    fn permitted(_: Option<(Value, Value)>) -> Option<String> {
        Some("true or false".to_owned())
    }
}

macro_rules! written_integer {
    ($($integer:ty)*) => {$(
        impl Written for $integer {
            fn write(&self) -> Option<Value> {
                Some((*self).into())
            }

            fn read(value: &Value) -> Option<Self> {
                match value {
                    Value::Integer(number) => (*number).try_into().ok(),
                    _ => None,
                }
            }

            fn permitted(range: Option<(Value, Value)>) -> Option<String> {
                Some(numbers("a whole number", range, Self::MAX.into()))
            }
        }
    )*};
}

written_integer!(u32 usize);

/// Whole milliseconds, as everywhere in the API.
impl Written for Duration {
    fn write(&self) -> Option<Value> {
        i128::try_from(self.as_millis()).ok().map(Value::Integer)
    }

    fn read(value: &Value) -> Option<Self> {
        u64::read(value).map(Self::from_millis)
    }

    fn permitted(range: Option<(Value, Value)>) -> Option<String> {
        Some(numbers("whole milliseconds", range, u64::MAX.into()))
    }
}

written_integer!(u64);

impl Written for Rate {
    fn write(&self) -> Option<Value> {
        let entry = |name: &str, number: u32| (Value::from(name), number.into());
        Some(Value::Map(vec![entry("per_second", self.per_second), entry("burst", self.burst)]))
    }

    fn read(value: &Value) -> Option<Self> {
        let Value::Map(entries) = value else { return None };
        let number = |name: &str| {
            let found = entries.iter().find(|(key, _)| key.as_str() == Some(name));
            found.and_then(|(_, value)| u32::read(value))
        };
        let rate = Self::new(number("per_second")?, number("burst")?);
        (entries.len() == 2).then_some(rate)
    }

    fn permitted(_: Option<(Value, Value)>) -> Option<String> {
        let number = numbers("a whole number", None, u32::MAX.into());
        Some(format!("a table of per_second and burst, each {number}"))
    }
}

/// By the name of the variant, in lower case with hyphens.
impl Written for Relay {
    fn write(&self) -> Option<Value> {
        RELAY.iter().find(|(_, relay)| relay == self).map(|(name, _)| (*name).into())
    }

    fn read(value: &Value) -> Option<Self> {
        let given = value.as_str()?;
        RELAY.iter().find(|(name, _)| *name == given).map(|(_, relay)| *relay)
    }

    fn permitted(_: Option<(Value, Value)>) -> Option<String> {
        let names: Vec<_> = RELAY.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        Some(format!("one of {}", names.join(", ")))
    }
}

const RELAY: [(&str, Relay); 3] =
    [("once-per-host", Relay::OncePerHost), ("always", Relay::Always), ("never", Relay::Never)];

impl Written for String {
    fn write(&self) -> Option<Value> {
        Some(self.as_str().into())
    }

    fn read(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }

    fn permitted(_: Option<(Value, Value)>) -> Option<String> {
        Some("a text".to_owned())
    }
}

impl Written for Vec<String> {
    fn write(&self) -> Option<Value> {
        Some(Value::Array(self.iter().map(|item| item.as_str().into()).collect()))
    }

    fn read(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(String::read).collect()
    }

    fn permitted(_: Option<(Value, Value)>) -> Option<String> {
        Some("a list of texts".to_owned())
    }
}

/// `None` is null.
impl<T: Written> Written for Option<T> {
    fn write(&self) -> Option<Value> {
        match self {
            Some(value) => value.write(),
            None => T::permitted(None).map(|_| Value::Null),
        }
    }

    fn read(value: &Value) -> Option<Self> {
        if value.is_null() { Some(None) } else { T::read(value).map(Some) }
    }

    fn permitted(range: Option<(Value, Value)>) -> Option<String> {
        T::permitted(range)
    }
}

macro_rules! program_only {
    ($($(#[cfg($feature:meta)])? $type:ty;)*) => {$(
        $(#[cfg($feature)])?
        impl Written for $type {
            fn write(&self) -> Option<Value> {
                None
            }

            fn read(_: &Value) -> Option<Self> {
                None
            }

            fn permitted(_: Option<(Value, Value)>) -> Option<String> {
                None
            }
        }
    )*};
}

program_only! {
    Acp;
    #[cfg(feature = "bubbles")]
    crate::Bubbles;
}

/// The numbers of a range, in words.
fn numbers(what: &str, range: Option<(Value, Value)>, most_of_type: Value) -> String {
    let (least, most) = range.unwrap_or_else(|| (0.into(), most_of_type.clone()));
    // The largest number that the machine can represent tells a reader nothing.
    let endless = most == Value::from(u64::MAX) || most == Value::from(usize::MAX);
    if endless { format!("{what} of at least {least}") } else { format!("{what} from {least} to {most}") }
}

impl Config {
    /// The same settings with one of them replaced, by its name; for programs that read them from a file. Times are whole
    /// milliseconds, a [`Rate`] is a map of `per_second` and `burst`, and null means `None`.
    ///
    /// ```
    /// let config = grasp::Config::new().set("connect_timeout", &300.into()).unwrap();
    /// assert_eq!(config.times().connect_timeout().as_millis(), 300);
    /// let error = config.set("nesting", &1000.into()).unwrap_err();
    /// assert_eq!(error.to_string(), "nesting must be a whole number from 1 to 128");
    /// ```
    ///
    /// # Errors
    /// [`SettingError`]. A retry does not help.
    pub fn set(self, name: &str, value: &Value) -> Result<Self, SettingError> {
        let settings = Self::settings();
        let Some(setting) = settings.into_iter().find(|setting| setting.name == name) else {
            return Err(SettingError::Unknown { name: name.to_owned() });
        };
        let Some(permitted) = setting.permitted else {
            return Err(SettingError::ProgramOnly { name: setting.name });
        };
        // A value that would be adjusted is an error: a reader of the file could not see the adjustment.
        self.with_value(name, value)
            .filter(|config| config.clone().feasible().1.iter().all(|adjusted| adjusted.setting != name))
            .ok_or(SettingError::Value { name: setting.name, permitted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_that_has_a_value_is_set_to_what_it_is() {
        let defaults = Config::new();
        let mut program_only = Vec::new();
        for setting in Config::settings() {
            match (setting.permitted, defaults.get(setting.name)) {
                (Some(_), Some(value)) => {
                    let same = defaults.clone().set(setting.name, &value);
                    assert_eq!(same.unwrap().get(setting.name), Some(value), "{}", setting.name);
                }
                (None, None) => program_only.push(setting.name),
                other => panic!("{}: {other:?}", setting.name),
            }
        }
        program_only.retain(|name| *name != "bubbles");
        assert_eq!(program_only, ["acp"], "give others a form, or graspd a way to set them");
    }

    /// `Config` has no field that the table has not, but one.
    #[test]
    fn every_field_is_in_the_table() {
        let text = format!("{:#?}", Config::new());
        let fields = text.lines().filter_map(|line| line.strip_prefix("    "));
        let fields = fields.filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()));
        let mut fields: Vec<_> = fields.filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect();
        fields.retain(|field| field != "pcap");
        let table: Vec<_> = Config::settings().iter().map(|setting| setting.name.to_owned()).collect();
        assert!(table.len() > 60 && fields == table, "{fields:?}\n{table:?}");
    }

    #[test]
    fn a_wrong_value_is_refused_with_what_is_permitted() {
        for (name, value, said) in [
            ("nesting", Value::from(0), "nesting must be a whole number from 1 to 128"),
            ("nesting", "deep".into(), "nesting must be a whole number from 1 to 128"),
            ("asa_limit", (-1).into(), "asa_limit must be a whole number of at least 0"),
            ("listen_self", 1.into(), "listen_self must be true or false"),
            ("watch_interval", 0.into(), "watch_interval must be whole milliseconds from 1 to 31536000000"),
            (
                "default_timeout",
                (1_i64 << 32).into(),
                "default_timeout must be a whole number from 0 to 4294967295",
            ),
            (
                "exclude_interfaces",
                Value::Array(vec![1.into()]),
                "exclude_interfaces must be a list of texts",
            ),
            ("acp", "none".into(), "acp cannot be set by name"),
            ("speed", 1.into(), "there is no setting speed"),
            (
                "response_rate",
                Value::Map(vec![("per_second".into(), 1.into())]),
                "response_rate must be a table of per_second and burst, each a whole number from 0 to 4294967295",
            ),
        ] {
            assert_eq!(Config::new().set(name, &value).unwrap_err().to_string(), said);
        }
    }
}
