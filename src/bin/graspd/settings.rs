//! The configuration as keys and values: the settings of the engine, by the library's own table, and the keys of graspd itself.
//! Reading, checking, printing and comparing at a reload use the same lists, so that none of them can forget a key.

use std::collections::BTreeMap;

use grasp::{Config, Setting, Value};

use crate::file::{Problem, Table};

/// A key of graspd itself.
pub(crate) struct Key {
    /// Its table in the file.
    pub(crate) table: &'static str,
    /// Its name in the table.
    pub(crate) name: &'static str,
    /// Its meaning, in one or a few sentences.
    pub(crate) about: &'static str,
    /// Its permitted values, in words.
    permitted: &'static str,
    fits: fn(&Value) -> bool,
    default: fn() -> Value,
    /// Whether a reload (SIGHUP) changes it.
    pub(crate) reloads: bool,
}

/// The tables of graspd itself, and what they are about.
pub(crate) const TABLES: [(&str, &str); 6] = [
    ("acp", "What secures the traffic: docs/security.md compares the choices."),
    ("dull", "DULL instances (RFC 8990 §2.5.2): one for each link, beside the normal instance."),
    ("socket", "The socket for the processes of this machine: docs/ipc.md."),
    ("log", "The log, on standard error."),
    ("metrics", "Metrics in the format of OpenMetrics, by HTTP."),
    ("objectives", "Static objectives: docs/operations.md describes their files."),
];

/// The group of the engine's settings that `pcap` belongs to. It is a key here, because it is not in the library's table.
const OUTPUT: &str = "output";

/// The keys of graspd itself, in the order in which they are printed.
pub(crate) const KEYS: &[Key] = &[
    Key {
        table: "acp",
        name: "kind",
        about: "environment is QUADS where the environment has keys, and layer2 otherwise. layer2 trusts everything on the links. \
                interfaces trusts the virtual interfaces of an ACP, and uses no others. domain is a secure domain of its own, by the \
                certificates of its members. fallback is interfaces while one of them is usable, and domain otherwise. quads encrypts \
                with the keys of a file. none permits nothing but DULL.",
        permitted: "environment, layer2, interfaces, domain, fallback, quads or none",
        fits: |value| {
            ["environment", "layer2", "interfaces", "domain", "fallback", "quads", "none"]
                .iter()
                .any(|kind| value.as_str() == Some(kind))
        },
        default: || "environment".into(),
        reloads: false,
    },
    Key {
        table: "acp",
        name: "interfaces",
        about: "With the kinds interfaces and fallback: the virtual interfaces of the ACP, by name.",
        permitted: "a list of names",
        fits: is_texts,
        default: || Value::Array(Vec::new()),
        reloads: false,
    },
    Key {
        table: "acp",
        name: "credentials",
        about: "With the kinds domain and fallback: the directory with the node's certificate and key, as grasp domain issue writes it. \
                With the kind interfaces it is optional: then TLS with members of the same domain secures sessions and responses. A \
                reload reads the files again.",
        permitted: "the path of a directory",
        fits: is_path,
        default: || Value::Null,
        reloads: false,
    },
    Key {
        table: "acp",
        name: "neighbours",
        about: "With the kind interfaces and credentials: whether a connection with each neighbour carries multicasts, as RFC 8994 wants \
                it, instead of datagrams. All nodes of an ACP have to do the same.",
        permitted: "true or false",
        fits: |value| value.as_bool().is_some(),
        default: || false.into(),
        reloads: false,
    },
    Key {
        table: "acp",
        name: "keyfile",
        about: "With the kind quads: the file with the keys of the domain, as grasp keys writes it.",
        permitted: "the path of a file",
        fits: is_path,
        default: || Value::Null,
        reloads: false,
    },
    Key {
        table: "dull",
        name: "enabled",
        about: "Whether they run. They use the settings of the engine, except for its ACP and its capture.",
        permitted: "true or false",
        fits: |value| value.as_bool().is_some(),
        default: || false.into(),
        reloads: false,
    },
    Key {
        table: "dull",
        name: "objectives",
        about: "The objectives that they handle, by name: those of the insecure services, and no others.",
        permitted: "a list of names",
        fits: is_texts,
        default: || Value::Array(vec!["AN_ACP".into(), "AN_Proxy".into()]),
        reloads: false,
    },
    Key {
        table: "dull",
        name: "interfaces",
        about: "The interfaces that get an instance, by name. If it is left out: all that the normal instance may use.",
        permitted: "a list of names",
        fits: is_texts,
        default: || Value::Null,
        reloads: false,
    },
    Key {
        table: "socket",
        name: "path",
        about: "Where the socket is. If it is left out: where GRASP_SOCKET says; else grasp.sock in RUNTIME_DIRECTORY, which systemd sets; \
                else in XDG_RUNTIME_DIR for an ordinary user; else in /run/grasp. stdin stands for the socket that the service manager \
                gives as standard input.",
        permitted: "the path of a socket, or stdin",
        fits: is_path,
        default: || Value::Null,
        reloads: false,
    },
    Key {
        table: "socket",
        name: "mode",
        about: "The mode of the socket: who may open it.",
        permitted: "the permissions of a file, such as 0o660",
        fits: |value| value.as_i64().is_some_and(|mode| (0..=0o777).contains(&mode)),
        default: || 0o660.into(),
        reloads: false,
    },
    Key {
        table: "socket",
        name: "group",
        about: "The group of the socket. graspd has to be a member, or root.",
        permitted: "a group that this machine has, by name or number",
        fits: |value| crate::access::group_number(value).is_some(),
        default: || Value::Null,
        reloads: false,
    },
    Key {
        table: "socket",
        name: "clients",
        about: "How many processes may be connected. A trace is a connection of its own. Defaults to 1024.",
        permitted: NUMBER,
        fits: is_number,
        default: || 1024.into(),
        reloads: false,
    },
    Key {
        table: "socket",
        name: "clients_per_user",
        about: "How many of them may run as the same user, so that one user does not lock out the others. Defaults to 768.",
        permitted: NUMBER,
        fits: is_number,
        default: || 768.into(),
        reloads: false,
    },
    Key {
        table: "socket",
        name: "asas",
        about: "How many ASAs each process may have registered. Defaults to 32.",
        permitted: NUMBER,
        fits: is_number,
        default: || 32.into(),
        reloads: false,
    },
    Key {
        table: "socket",
        name: "objectives",
        about: "How many objectives each process may have registered. Defaults to 64.",
        permitted: NUMBER,
        fits: is_number,
        default: || 64.into(),
        reloads: false,
    },
    Key {
        table: "socket",
        name: "calls",
        about: "How many calls of each process may wait at the same time: each takes a thread. Defaults to 64.",
        permitted: NUMBER,
        fits: is_number,
        default: || 64.into(),
        reloads: false,
    },
    Key {
        table: "socket",
        name: "patience",
        about: "How long a process may leave an answer unread before it loses its connection. Defaults to 5000.",
        permitted: "whole milliseconds from 1 to 4294967295",
        fits: is_number,
        default: || 5000.into(),
        reloads: false,
    },
    Key {
        table: "log",
        name: "level",
        about: "How much is logged. debug tells the story of every message, if it is set at the start.",
        permitted: "off, error, warn, info, debug or trace",
        fits: |value| value.as_str().is_some_and(|level| LEVELS.contains(&level)),
        default: || "info".into(),
        reloads: true,
    },
    Key {
        table: "metrics",
        name: "listen",
        about: "Where metrics are served, at /metrics: on a port of a loopback address, such as 127.0.0.1:9417, or on a Unix socket, such as \
                unix:/run/grasp/metrics.sock. Nowhere, if it is left out.",
        permitted: "a loopback address with a port, or unix: and an absolute path",
        fits: |value| value.as_str().is_some_and(|text| crate::metrics::Place::parse(text).is_some()),
        default: || Value::Null,
        reloads: true,
    },
    Key {
        table: "objectives",
        name: "directory",
        about: "The directory of their files, *.toml, relative to that of the configuration file. It need not exist.",
        permitted: "the path of a directory",
        fits: is_path,
        default: || "objectives.d".into(),
        reloads: true,
    },
    Key {
        table: OUTPUT,
        name: "pcap",
        about: "Captures all sent and received messages in this file, in the format pcapng. The node's name is added to the file name. \
                No file is overwritten.",
        permitted: "the path of a file",
        fits: is_path,
        default: || Value::Null,
        reloads: false,
    },
];

/// The levels of the log.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

fn is_texts(value: &Value) -> bool {
    value.as_array().is_some_and(|items| items.iter().all(|item| item.as_str().is_some()))
}

/// The permitted values of limits.
const NUMBER: &str = "a whole number from 1 to 4294967295";

fn is_number(value: &Value) -> bool {
    value.as_i64().is_some_and(|number| (1..=i64::from(u32::MAX)).contains(&number))
}

fn is_path(value: &Value) -> bool {
    value.as_str().is_some_and(|path| !path.is_empty())
}

/// The values of all keys, by table and name: what is in the file, and the defaults of the rest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings(BTreeMap<(&'static str, &'static str), Value>);

/// The settings of the engine that a file can have.
fn of_engine() -> impl Iterator<Item = Setting> {
    Config::settings().into_iter().filter(|setting| setting.permitted.is_some())
}

impl Default for Settings {
    fn default() -> Self {
        let defaults = Config::new();
        let engine = of_engine().filter_map(|one| Some(((one.group, one.name), defaults.get(one.name)?)));
        let own = KEYS.iter().map(|key| ((key.table, key.name), (key.default)()));
        Self(engine.chain(own).collect())
    }
}

impl Settings {
    /// Takes the keys out of a file, and adds what is wrong with them to `problems`.
    pub(crate) fn take(file: &mut Table, problems: &mut Vec<Problem>) -> Self {
        let mut settings = Self::default();
        let tables: Vec<_> = settings.tables().into_iter().map(|(name, _)| name).collect();
        for name in tables {
            match file.table(name) {
                Ok(mut table) => {
                    settings.take_engine(name, &mut table, problems);
                    settings.take_own(name, &mut table, problems);
                    problems.extend(table.finish());
                }
                Err(problem) => problems.push(problem),
            }
        }
        settings
    }

    fn take_engine(&mut self, group: &str, table: &mut Table, problems: &mut Vec<Problem>) {
        for setting in of_engine().filter(|setting| setting.group == group) {
            let Some(entry) = table.take(setting.name) else { continue };
            // In the form in which the engine returns it, so that equal values compare equal at a reload.
            let set = Config::new().set(setting.name, &entry.value);
            match set.ok().and_then(|config| config.get(setting.name)) {
                Some(value) => _ = self.0.insert((setting.group, setting.name), value),
                None => {
                    let permitted = setting.permitted.unwrap_or_default();
                    problems.push(table.must_be(setting.name, &entry, &permitted));
                }
            }
        }
    }

    fn take_own(&mut self, name: &str, table: &mut Table, problems: &mut Vec<Problem>) {
        for key in KEYS.iter().filter(|key| key.table == name) {
            let Some(entry) = table.take(key.name) else { continue };
            if (key.fits)(&entry.value) {
                self.0.insert((key.table, key.name), entry.value);
            } else {
                problems.push(table.must_be(key.name, &entry, key.permitted));
            }
        }
    }

    /// The tables, with what they are about; those of graspd itself come first.
    pub(crate) fn tables(&self) -> Vec<(&'static str, &'static str)> {
        let mut tables = TABLES.to_vec();
        for setting in of_engine() {
            if tables.iter().all(|(name, _)| *name != setting.group) {
                tables.push((setting.group, setting.group_about));
            }
        }
        tables
    }

    /// The keys of a table with their meanings and permitted values, in the order of printing.
    pub(crate) fn keys(&self, table: &str) -> Vec<(&'static str, String, String)> {
        let engine = of_engine().filter(|setting| setting.group == table);
        let engine = engine.map(|one| (one.name, one.about.to_owned(), one.permitted.unwrap_or_default()));
        let own = KEYS.iter().filter(|key| key.table == table);
        let own = own.map(|key| (key.name, key.about.to_owned(), key.permitted.to_owned()));
        engine.chain(own).collect()
    }

    /// The value of a key; null if there is none.
    pub(crate) fn value(&self, table: &str, name: &str) -> Value {
        let found = self.0.iter().find(|((of, called), _)| *of == table && *called == name);
        found.map_or(Value::Null, |(_, value)| value.clone())
    }

    /// The text of a key, if it is set.
    pub(crate) fn text(&self, table: &str, name: &str) -> Option<String> {
        self.value(table, name).as_str().map(str::to_owned)
    }

    /// The texts of a key, if it is set.
    pub(crate) fn texts(&self, table: &str, name: &str) -> Option<Vec<String>> {
        let value = self.value(table, name);
        Some(value.as_array()?.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect())
    }

    /// The settings of the engine, without its ACP.
    pub(crate) fn engine(&self) -> Config {
        let config = of_engine().fold(Config::new(), |config, setting| {
            // Each value was checked when it was read.
            config.clone().set(setting.name, &self.value(setting.group, setting.name)).unwrap_or(config)
        });
        match self.text(OUTPUT, "pcap") {
            Some(path) => config.pcap(Some(path.into())),
            None => config,
        }
    }

    /// The keys, as `table.name`, whose values differ from those of `before`, and which a reload cannot change.
    pub(crate) fn need_a_restart(&self, before: &Self) -> Vec<String> {
        let differs = self.0.iter().filter(|(key, value)| before.0.get(*key) != Some(*value));
        let stay = differs.filter(|(key, _)| !reloads(**key));
        stay.map(|((table, name), _)| format!("{table}.{name}")).collect()
    }

    /// The settings in force after a reload: these, with the values of `before` for keys that a reload cannot change.
    pub(crate) fn with_all_but_reloadable_of(mut self, before: &Self) -> Self {
        for (key, value) in &mut self.0 {
            if !reloads(*key)
                && let Some(kept) = before.0.get(key)
            {
                value.clone_from(kept);
            }
        }
        self
    }
}

fn reloads((table, name): (&str, &str)) -> bool {
    KEYS.iter().any(|key| key.reloads && key.table == table && key.name == name)
}
