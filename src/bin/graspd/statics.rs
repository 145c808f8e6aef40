//! Static objectives in a directory, one per file. `configuration` reads them; `publish` floods them and answers
//! requests for them.

use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

use grasp::{AsaLocator, Objective, Protocol, Value};

use crate::file::{self, Problem, Table};

/// How often an objective is flooded, in milliseconds, if its file does not say.
const FLOOD_EVERY: u32 = 60_000;
/// The shortest time between two floods that a file can ask for, in milliseconds.
const SHORTEST: u32 = 1000;
/// The most files that are read.
const MOST: usize = 200;

/// An objective that a file describes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Static {
    /// Name, flags, loop count and value.
    pub(crate) objective: Objective,
    /// How long floods and discovered locators are valid, in milliseconds.
    pub(crate) ttl: u32,
    /// Milliseconds from flood to flood; 0 if it is not flooded.
    pub(crate) flood_every: u32,
    /// Where the service is that the objective announces.
    pub(crate) locator: Option<Place>,
    /// It belongs to the DULL instances, not to the normal one.
    pub(crate) dull: bool,
}

/// Where a service is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Place {
    /// On this node, at its current address.
    Here {
        /// The transport.
        protocol: Protocol,
        /// The port.
        port: u16,
    },
    /// At a locator.
    There(AsaLocator),
}

impl Place {
    /// The locator of the service, on a node with this address. Without an address of more than link scope it is `::`, which the
    /// engine replaces by the link-local address of each interface.
    pub(crate) fn locator(&self, own: Option<Ipv6Addr>) -> AsaLocator {
        match self {
            Self::Here { protocol, port } => AsaLocator::new(own.unwrap_or(Ipv6Addr::UNSPECIFIED), None)
                .with_protocol(*protocol)
                .with_port(*port),
            Self::There(locator) => locator.clone(),
        }
    }
}

/// Reads the files of a directory, in the order of their names. A directory that does not exist has none.
pub(crate) fn read(directory: &Path, dull_runs: bool, problems: &mut Vec<Problem>) -> Vec<Static> {
    let files = match files(directory) {
        Ok(files) => files,
        Err(error) => {
            problems.push(Problem::of(directory, format!("cannot be listed: {error}")));
            return Vec::new();
        }
    };
    if files.len() > MOST {
        problems.push(Problem::of(directory, format!("has more than {MOST} files")));
        return Vec::new();
    }
    let mut statics: Vec<(PathBuf, Static)> = Vec::new();
    for path in files {
        let read =
            file::read(&path).map_err(|problem| vec![problem]).and_then(|table| describe(table, dull_runs));
        match read {
            Err(found) => problems.extend(found),
            Ok(one) => {
                let same = statics.iter().find(|(_, other)| is_same(other, &one));
                match same {
                    Some((other, _)) => problems.push(Problem::of(
                        &path,
                        format!("the objective {} is in {} already", one.objective.name, other.display()),
                    )),
                    None => statics.push((path, one)),
                }
            }
        }
    }
    statics.into_iter().map(|(_, one)| one).collect()
}

fn is_same(a: &Static, b: &Static) -> bool {
    a.objective.name == b.objective.name && a.dull == b.dull
}

fn files(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for (number, entry) in entries.enumerate() {
        if number >= 10 * MOST {
            return Err(std::io::Error::other(format!("there are more than {number} files in it")));
        }
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads keys, and collects their problems.
struct Keys {
    table: Table,
    problems: Vec<Problem>,
}

impl Keys {
    fn key<T>(&mut self, name: &str, permitted: &str, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let entry = self.table.take(name)?;
        let read = read(&entry.value);
        if read.is_none() {
            self.problems.push(self.table.must_be(name, &entry, permitted));
        }
        read
    }

    fn flag(&mut self, name: &str) -> Option<bool> {
        self.key(name, "true or false", Value::as_bool)
    }

    fn milliseconds(&mut self, name: &str) -> Option<u32> {
        self.key(name, "whole milliseconds from 0 to 4294967295", integer)
    }
}

fn integer<T: TryFrom<i64>>(value: &Value) -> Option<T> {
    value.as_i64()?.try_into().ok()
}

/// Reads the objective that a file describes.
fn describe(table: Table, dull_runs: bool) -> Result<Static, Vec<Problem>> {
    let mut keys = Keys { table, problems: Vec::new() };
    let name = keys.key("name", "a text that is not empty", |value| {
        value.as_str().filter(|name| !name.is_empty()).map(str::to_owned)
    });
    if name.is_none() && keys.problems.is_empty() {
        keys.problems.push(keys.table.lacks("name is missing: name = \"AN_join_registrar\", for instance"));
    }
    let mut objective = Objective::new(name.unwrap_or_default());
    objective.neg = keys.flag("neg").unwrap_or(false);
    objective.synch = keys.flag("synch").unwrap_or(!objective.neg);
    objective.discoverable = keys.flag("discoverable").unwrap_or(true);
    objective.loop_count = keys
        .key("loop_count", "a whole number from 1 to 255", |value| integer(value).filter(|count| *count > 0))
        .unwrap_or(objective.loop_count);
    objective.value =
        keys.key("value", "a value of TOML", |value| Some(value.clone())).unwrap_or(Value::Null);
    if let Some(value) = keys.key("value_cbor", "a CBOR item in hexadecimal", from_hexadecimal) {
        objective.value = value;
    }
    let dull = keys.flag("dull").unwrap_or(false);
    let flood_every = keys
        .key("flood_every", "whole milliseconds, at least 1000, or 0 for never", |value| {
            integer(value).filter(|time| *time == 0 || *time >= SHORTEST)
        })
        .unwrap_or(if objective.synch { FLOOD_EVERY } else { 0 });
    let ttl = keys.milliseconds("ttl").unwrap_or_else(|| flood_every.saturating_mul(3));
    let locator = keys.table.take("locator").and_then(|entry| {
        place(&entry.value)
            .map_err(|permitted| keys.problems.push(keys.table.must_be("locator", &entry, permitted)))
            .ok()
    });
    let Keys { table, mut problems } = keys;
    if problems.is_empty() {
        let one = Static { objective, ttl, flood_every, locator, dull };
        problems.extend(contradiction(&one, dull_runs).map(|text| table.lacks(text)));
        problems.extend(table.finish());
        if problems.is_empty() { Ok(one) } else { Err(problems) }
    } else {
        problems.extend(table.finish());
        Err(problems)
    }
}

/// Returns a sentence if keys contradict each other.
fn contradiction(one: &Static, dull_runs: bool) -> Option<&'static str> {
    let Objective { neg, synch, .. } = one.objective;
    if neg && synch {
        Some("neg and synch exclude each other")
    } else if !neg && !synch {
        Some("one of neg and synch must be true")
    } else if neg && one.locator.is_none() {
        Some("an objective with neg needs a locator: graspd itself does not negotiate")
    } else if neg && one.flood_every > 0 {
        Some("an objective with neg cannot be flooded: flood_every must be 0")
    } else if one.dull && (neg || one.flood_every == 0) {
        Some("an objective with dull can only be flooded")
    } else if one.dull && !dull_runs {
        Some("dull needs enabled = true in the table [dull] of the configuration")
    } else if one.flood_every > 0 && one.ttl > 0 && one.ttl < one.flood_every {
        Some("ttl must be at least flood_every: readers would forget the value in between")
    } else {
        None
    }
}

const PLACE: &str = "a table: { address = \"2001:db8::1\", protocol = \"tcp\", port = 443 }, where address may be left out for this \
                     node's own, or fqdn or uri may stand in its place";

/// Reads a locator.
fn place(value: &Value) -> Result<Place, &'static str> {
    let Value::Map(entries) = value else { return Err(PLACE) };
    let known = ["address", "fqdn", "uri", "protocol", "port"];
    if entries.iter().any(|(key, _)| key.as_str().is_none_or(|key| !known.contains(&key))) {
        return Err(PLACE);
    }
    let entry =
        |name: &str| entries.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value);
    let text = |name: &str| entry(name).map(|value| value.as_str().ok_or(PLACE)).transpose();
    let protocol = entry("protocol")
        .map_or(Some(Protocol::Tcp), protocol)
        .ok_or("a locator with the protocol tcp, udp, ipv6 or a number")?;
    let port = entry("port").map_or(Some(0), integer).ok_or("a locator with a port from 0 to 65535")?;
    match (text("address")?, text("fqdn")?, text("uri")?) {
        (None, None, None) => Ok(Place::Here { protocol, port }),
        (Some(address), None, None) => {
            let address: IpAddr = address.parse().map_err(|_| "a locator with an IP address")?;
            Ok(Place::There(AsaLocator::new(address, None).with_protocol(protocol).with_port(port)))
        }
        (None, Some(name), None) => Ok(Place::There(AsaLocator::fqdn(name, protocol, port))),
        (None, None, Some(uri)) if entries.len() == 1 => Ok(Place::There(AsaLocator::uri(uri))),
        _ => Err("a locator with one of address, fqdn and uri; a uri says protocol and port itself"),
    }
}

fn protocol(value: &Value) -> Option<Protocol> {
    match value.as_str() {
        Some("tcp") => Some(Protocol::Tcp),
        Some("udp") => Some(Protocol::Udp),
        Some("ipv6") => Some(Protocol::Ipv6),
        Some(_) => None,
        None => integer::<u8>(value).map(|number| Protocol::from_number(number.into())),
    }
}

fn from_hexadecimal(value: &Value) -> Option<Value> {
    let digits: String =
        value.as_str()?.chars().filter(|character| !character.is_ascii_whitespace()).collect();
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return None;
    }
    let bytes: Option<Vec<u8>> =
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect();
    Value::decode(&bytes?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(text: &str) -> Result<Static, String> {
        let table = file::parse(Path::new("x.toml"), text).unwrap();
        describe(table, true).map_err(|problems| problems.iter().map(|one| format!("{one}\n")).collect())
    }

    #[test]
    fn what_is_left_out_is_what_a_flooded_value_needs() {
        let one =
            described("name = 'AN_join_registrar'\nvalue = 'EST-TLS'\nlocator = { port = 443 }").unwrap();
        assert!(one.objective.synch && !one.objective.neg && one.objective.discoverable);
        assert_eq!((one.flood_every, one.ttl, one.objective.loop_count), (60_000, 180_000, 6));
        let own = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
        let place = one.locator.unwrap();
        assert_eq!(
            place.locator(Some(own)).to_string(),
            AsaLocator::new(own, None).with_port(443).to_string()
        );
        assert_eq!(place.locator(None).locator, Some(Ipv6Addr::UNSPECIFIED.into()));
    }

    #[test]
    fn values_are_those_of_toml_or_any_of_cbor() {
        let value =
            |line: &str| described(&format!("name = 'x'\n{line}")).unwrap().objective.value.to_string();
        assert_eq!(value("value = { a = [1, 2.5, true] }"), r#"{"a": [1, 2.5, true]}"#);
        assert_eq!(value("value_cbor = '82 01 f6'"), "[1, null]");
        assert_eq!(value(""), "null");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_all_of_it() {
        for (text, said) in [
            ("value = 1", "x.toml:1: name is missing"),
            ("name = ''", "x.toml:1: name must be a text that is not empty; it is \"\"\n"),
            (
                "name = 'x'\nneg = 1\nloop_count = 0",
                "x.toml:2: neg must be true or false; it is 1\nx.toml:3: loop_count must be a whole number from 1 to 255; it is 0\n",
            ),
            ("name = 'x'\ncolour = 1", "x.toml:2: there is no key colour; there are discoverable, dull, "),
            ("name = 'x'\nvalue_cbor = '8'", "x.toml:2: value_cbor must be a CBOR item in hexadecimal"),
            ("name = 'x'\nneg = true\nsynch = true", "x.toml:1: neg and synch exclude each other"),
            ("name = 'x'\nneg = true", "x.toml:1: an objective with neg needs a locator"),
            (
                "name = 'x'\nflood_every = 10",
                "x.toml:2: flood_every must be whole milliseconds, at least 1000",
            ),
            ("name = 'x'\nttl = 10", "x.toml:1: ttl must be at least flood_every"),
            ("name = 'x'\nlocator = { host = 'y' }", "x.toml:2: locator must be a table: { address"),
            (
                "name = 'x'\nlocator = { address = 'y' }",
                "x.toml:2: locator must be a locator with an IP address",
            ),
            (
                "name = 'x'\nlocator = { port = 70000 }",
                "x.toml:2: locator must be a locator with a port from 0",
            ),
        ] {
            let problems = described(text).unwrap_err();
            assert!(problems.starts_with(said), "{text}: {problems}");
        }
    }
}
