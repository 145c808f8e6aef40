//! Reads a TOML file key by key: each value with its line, each problem with the file, the line and what is permitted. `settings`,
//! `access` and `statics` read their keys with it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use grasp::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The largest file that is read, in bytes. Even an authorized user may name a wrong file.
const LARGEST: u64 = 1 << 20;

/// What is wrong, and where. `Display` is one line, like those of compilers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    file: PathBuf,
    /// Counted from 1; 0 for a problem of the whole file.
    line: usize,
    text: String,
}

impl Problem {
    /// A problem of a file as a whole.
    pub(crate) fn of(file: &Path, text: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: 0, text: text.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        write!(f, " {}", self.text)
    }
}

/// A value, and the line where its key is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// The value in the form that settings and objectives have.
    pub(crate) value: Value,
    line: usize,
}

/// A table whose keys are taken out one by one; those that are left at the end are unknown.
#[derive(Debug)]
pub(crate) struct Table {
    file: PathBuf,
    line: usize,
    /// Its name in messages, with the dot that follows: `times.`; empty for the file as a whole.
    prefix: String,
    entries: BTreeMap<String, (usize, Node)>,
    known: Vec<String>,
}

#[derive(Debug)]
enum Node {
    Value(Value),
    Table(Table),
    Tables(Vec<Table>),
}

/// Reads a file.
pub(crate) fn read(file: &Path) -> Result<Table, Problem> {
    let read = || -> std::io::Result<String> {
        use std::io::Read as _;
        let mut text = String::new();
        std::fs::File::open(file)?.take(LARGEST + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|error| Problem::of(file, format!("cannot be read: {error}")))?;
    if u64::try_from(text.len()).is_ok_and(|length| length > LARGEST) {
        return Err(Problem::of(file, format!("is longer than {LARGEST} bytes")));
    }
    parse(file, &text)
}

/// Reads a text as the contents of a file.
pub(crate) fn parse(file: &Path, text: &str) -> Result<Table, Problem> {
    let reader = Reader { file, text };
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(0, |span| reader.line(span.start));
        let said = error.message().lines().collect::<Vec<_>>().join("; ");
        Problem { file: file.to_owned(), line, text: format!("is not TOML: {said}") }
    })?;
    reader.table(String::new(), 1, table.get_ref())
}

/// Turns what the parser found into tables.
struct Reader<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().iter().take(offset);
        before.filter(|byte| **byte == b'\n').count() + 1
    }

    fn table(&self, prefix: String, line: usize, table: &DeTable<'_>) -> Result<Table, Problem> {
        let mut entries = BTreeMap::new();
        for (key, value) in table {
            let line = self.line(key.span().start);
            let name = key.get_ref().to_string();
            let node = self.node(&format!("{prefix}{name}"), line, value)?;
            entries.insert(name, (line, node));
        }
        Ok(Table { file: self.file.to_owned(), line, prefix, entries, known: Vec::new() })
    }

    fn node(&self, name: &str, line: usize, value: &Spanned<DeValue<'_>>) -> Result<Node, Problem> {
        match value.get_ref() {
            // A table may also be the value of a key: `take` converts it.
            DeValue::Table(table) => Ok(Node::Table(self.table(format!("{name}."), line, table)?)),
            DeValue::Array(items)
                if !items.is_empty() && items.iter().all(|item| item.get_ref().is_table()) =>
            {
                let table = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
                    DeValue::Table(table) => {
                        Some(self.table(format!("{name}."), self.line(item.span().start), table))
                    }
                    _ => None,
                };
                items.iter().filter_map(table).collect::<Result<_, _>>().map(Node::Tables)
            }
            other => self.value(name, line, other).map(Node::Value),
        }
    }

    fn value(&self, name: &str, line: usize, value: &DeValue<'_>) -> Result<Value, Problem> {
        let problem = |text: String| Problem { file: self.file.to_owned(), line, text };
        Ok(match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Boolean(value) => Value::Bool(*value),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map(Value::from)
                .map_err(|_| problem(format!("{name} is a number of more than 64 bits")))?,
            DeValue::Float(number) => {
                Value::Float(number.as_str().parse().map_err(|_| problem(format!("{name} is not a number")))?)
            }
            DeValue::Datetime(_) => {
                return Err(problem(format!("{name} is a time without quotation marks: write it as text")));
            }
            DeValue::Array(items) => Value::Array(
                items.iter().map(|item| self.value(name, line, item.get_ref())).collect::<Result<_, _>>()?,
            ),
            DeValue::Table(table) => Value::Map(
                table
                    .iter()
                    .map(|(key, value)| {
                        Ok((key.get_ref().as_ref().into(), self.value(name, line, value.get_ref())?))
                    })
                    .collect::<Result<_, Problem>>()?,
            ),
        })
    }
}

impl Table {
    /// Takes a value out.
    pub(crate) fn take(&mut self, name: &str) -> Option<Entry> {
        self.known.push(name.to_owned());
        let (line, node) = self.entries.remove(name)?;
        Some(Entry { value: node.into_value(), line })
    }

    /// Takes a table out; an empty one if it is not there.
    pub(crate) fn table(&mut self, name: &str) -> Result<Self, Problem> {
        self.known.push(name.to_owned());
        match self.entries.remove(name) {
            None => Ok(Self {
                file: self.file.clone(),
                line: 0,
                prefix: format!("{}{name}.", self.prefix),
                entries: BTreeMap::new(),
                known: Vec::new(),
            }),
            Some((_, Node::Table(table))) => Ok(table),
            Some((line, _)) => Err(self.at(line, format!("{name} must be a table: [{name}]"))),
        }
    }

    /// Takes a list of tables out.
    pub(crate) fn tables(&mut self, name: &str) -> Result<Vec<Self>, Problem> {
        self.known.push(name.to_owned());
        match self.entries.remove(name) {
            None => Ok(Vec::new()),
            Some((_, Node::Tables(tables))) => Ok(tables),
            Some((line, _)) => Err(self.at(line, format!("{name} must be a list of tables: [[{name}]]"))),
        }
    }

    /// Returns a problem for each key that was not taken.
    pub(crate) fn finish(mut self) -> Vec<Problem> {
        self.known.sort();
        let known = self.known.join(", ");
        let unknown = |(name, (line, _)): (&String, &(usize, Node))| {
            self.at(*line, format!("there is no key {}{name}; there are {known}", self.prefix))
        };
        self.entries.iter().map(unknown).collect()
    }

    /// A problem of an entry, which says what its value must be.
    pub(crate) fn must_be(&self, name: &str, entry: &Entry, permitted: &str) -> Problem {
        let Entry { value, line } = entry;
        self.at(*line, format!("{}{name} must be {permitted}; it is {value}", self.prefix))
    }

    /// A problem of the table as a whole.
    pub(crate) fn lacks(&self, text: impl Into<String>) -> Problem {
        self.at(self.line, text)
    }

    fn at(&self, line: usize, text: impl Into<String>) -> Problem {
        Problem { file: self.file.clone(), line, text: text.into() }
    }
}

impl Node {
    fn into_value(self) -> Value {
        let of_table = |table: Table| {
            let entry = |(name, (_, node)): (String, (usize, Self))| (name.into(), node.into_value());
            Value::Map(table.entries.into_iter().map(entry).collect())
        };
        match self {
            Self::Value(value) => value,
            Self::Table(table) => of_table(table),
            Self::Tables(tables) => Value::Array(tables.into_iter().map(of_table).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Table, String> {
        parse(Path::new("x.toml"), text).map_err(|problem| problem.to_string())
    }

    #[test]
    fn values_come_as_they_are_written() {
        let mut table = parsed(
            "a = 0o17\nb = [1, 'x', [true]]\nc = { d = 1.5, e = { f = 'g' } }\n[t]\nu = -3\n[[v]]\nw = 1\n[[v]]\nw = 2\n",
        )
        .unwrap();
        let mut said = |name: &str| table.take(name).map(|entry| entry.value.to_string());
        assert_eq!(said("a").as_deref(), Some("15"));
        assert_eq!(said("b").as_deref(), Some(r#"[1, "x", [true]]"#));
        assert_eq!(said("c").as_deref(), Some(r#"{"d": 1.5, "e": {"f": "g"}}"#));
        assert_eq!(said("a"), None, "it is taken");
        let mut inner = table.table("t").unwrap();
        assert_eq!(inner.take("u").unwrap().value, Value::from(-3));
        assert_eq!(table.tables("v").unwrap().len(), 2);
        assert!(table.finish().is_empty());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, said) in [
            ("a = 1\nb =", "x.toml:2: is not TOML: "),
            ("\na = 1\na = 2", "x.toml:3: is not TOML: duplicate key"),
            ("a = 2026-11-27", "x.toml:1: a is a time without quotation marks"),
            ("a = 99999999999999999999", "x.toml:1: a is a number of more than 64 bits"),
        ] {
            let problem = parsed(text).unwrap_err();
            assert!(problem.starts_with(said), "{problem}");
        }
        let mut table = parsed("a = 1\n\n[b]\n\nc = 1\nd = 2\n").unwrap();
        assert_eq!(table.table("a").unwrap_err().to_string(), "x.toml:1: a must be a table: [a]");
        let mut inner = table.table("b").unwrap();
        let entry = inner.take("d").unwrap();
        assert_eq!(inner.must_be("d", &entry, "3").to_string(), "x.toml:6: b.d must be 3; it is 2");
        let unknown: Vec<_> = inner.finish().iter().map(ToString::to_string).collect();
        assert_eq!(unknown, ["x.toml:5: there is no key b.c; there are d"]);
    }
}
