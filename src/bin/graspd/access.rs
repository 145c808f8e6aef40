//! The rules for the processes of this machine: `[[access]]` in the configuration. `clients` enforces them.

use grasp::Value;
use nix::unistd::{Group, User};

use crate::file::{Problem, Table};
use crate::print::{comment, line, toml};

/// The processes that a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// All processes that can open the socket.
    Anyone,
    /// Those of this user, by number.
    User(u32),
    /// Those with this primary group, by number.
    Group(u32),
}

/// What a rule permits to the processes that it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The processes that it is about.
    pub(crate) whom: Vec<Whom>,
    /// Everything.
    pub(crate) everything: bool,
    /// Looking into the node.
    pub(crate) watch: bool,
    /// Being an ASA, and using the objectives of others.
    pub(crate) act: bool,
    /// The objectives that may be registered, flooded and listened for: names, or beginnings of names with a star.
    pub(crate) names: [Vec<String>; 3],
}

/// All rules. Without a rule everything is permitted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules(pub(crate) Vec<Rule>);

/// The keys with names of objectives, in the order of [`Rule::names`].
const NAMES: [&str; 3] = ["register", "flood", "listen"];

const ABOUT: &str = "Rules for the processes that connect, by their user and the user's groups. Without a rule, every process that can \
    open the socket may do everything; with rules, it may do what at least one rule about it permits. users and groups are names or \
    numbers; a rule without them is about all processes. everything = true permits everything; watch = true permits looking into \
    the node; act = true permits being an ASA and using the objectives of others; register, flood and listen list the objectives \
    that may be registered, flooded and listened for: names, or beginnings of names followed by a star. A reload changes the rules, \
    and looks up again who is in a group (reload).";

impl Rules {
    /// Takes the rules out of a file.
    pub(crate) fn take(file: &mut Table, problems: &mut Vec<Problem>) -> Self {
        match file.tables("access") {
            Ok(tables) => Self(tables.into_iter().map(|table| rule(table, problems)).collect()),
            Err(problem) => {
                problems.push(problem);
                Self::default()
            }
        }
    }

    /// Writes them as they are read.
    pub(crate) fn print(&self, text: &mut String) {
        text.push('\n');
        comment(text, ABOUT);
        if self.0.is_empty() {
            line(text, "# [[access]]");
        }
        for rule in &self.0 {
            line(text, "[[access]]");
            let numbers = |pick: fn(Whom) -> Option<u32>| {
                rule.whom.iter().filter_map(|whom| pick(*whom)).map(Value::from).collect()
            };
            let users = numbers(|whom| if let Whom::User(uid) = whom { Some(uid) } else { None });
            let groups = numbers(|whom| if let Whom::Group(gid) = whom { Some(gid) } else { None });
            let lists = [("users", users), ("groups", groups)].into_iter();
            let texts = |names: &Vec<String>| names.iter().map(|name| Value::from(name.as_str())).collect();
            let lists = lists.chain(NAMES.into_iter().zip(rule.names.iter().map(texts)));
            for (key, list) in lists.filter(|(_, list): &(&str, Vec<Value>)| !list.is_empty()) {
                line(text, &format!("{key} = {}", toml(&Value::Array(list)).unwrap_or_default()));
            }
            for (key, set) in [("everything", rule.everything), ("watch", rule.watch), ("act", rule.act)] {
                if set {
                    line(text, &format!("{key} = true"));
                }
            }
        }
    }
}

fn rule(mut table: Table, problems: &mut Vec<Problem>) -> Rule {
    let mut rule = Rule::default();
    for (key, number, what) in [
        (
            "users",
            user as fn(&Value) -> Option<Whom>,
            "a list of users that this machine has, by name, or of numbers",
        ),
        ("groups", group, "a list of groups that this machine has, by name, or of numbers"),
    ] {
        let Some(entry) = table.take(key) else { continue };
        match entry.value.as_array().and_then(|items| items.iter().map(number).collect::<Option<Vec<_>>>()) {
            Some(whom) if !whom.is_empty() => rule.whom.extend(whom),
            _ => problems.push(table.must_be(key, &entry, what)),
        }
    }
    if rule.whom.is_empty() {
        rule.whom.push(Whom::Anyone);
    }
    for (key, flag) in
        [("everything", &mut rule.everything), ("watch", &mut rule.watch), ("act", &mut rule.act)]
    {
        let Some(entry) = table.take(key) else { continue };
        match entry.value.as_bool() {
            Some(value) => *flag = value,
            None => problems.push(table.must_be(key, &entry, "true or false")),
        }
    }
    for (key, names) in NAMES.into_iter().zip(&mut rule.names) {
        let Some(entry) = table.take(key) else { continue };
        let text = |item: &Value| item.as_str().filter(|name| !name.is_empty()).map(str::to_owned);
        match entry.value.as_array().and_then(|items| items.iter().map(text).collect()) {
            Some(texts) => *names = texts,
            None => problems.push(table.must_be(
                key,
                &entry,
                "a list of names of objectives, or of beginnings of names followed by a star",
            )),
        }
    }
    problems.extend(table.finish());
    rule
}

fn number(value: &Value) -> Option<u32> {
    value.as_i64()?.try_into().ok()
}

fn user(value: &Value) -> Option<Whom> {
    let named = |name| User::from_name(name).ok().flatten().map(|user| user.uid.as_raw());
    value.as_str().map_or_else(|| number(value), named).map(Whom::User)
}

fn group(value: &Value) -> Option<Whom> {
    group_number(value).map(Whom::Group)
}

/// The number of a group that is given by name or number.
pub(crate) fn group_number(value: &Value) -> Option<u32> {
    let named = |name| Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw());
    value.as_str().map_or_else(|| number(value), named)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::file;

    fn taken(text: &str) -> (Rules, Vec<String>) {
        let mut problems = Vec::new();
        let rules = Rules::take(&mut file::parse(Path::new("x.toml"), text).unwrap(), &mut problems);
        (rules, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn rules_are_printed_as_they_are_read() {
        let text = "[[access]]\nusers = ['root', 7]\neverything = true\n[[access]]\nwatch = true\n\
                    [[access]]\ngroups = [985]\nact = true\nregister = ['EX*']\nlisten = ['EX1', 'EX2']\n";
        let (rules, problems) = taken(text);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(rules.0.first().unwrap().whom, [Whom::User(0), Whom::User(7)]);
        assert_eq!(rules.0.get(1).unwrap().whom, [Whom::Anyone]);
        let mut printed = String::new();
        rules.print(&mut printed);
        assert_eq!(taken(&printed), (rules, Vec::new()), "{printed}");
        assert_eq!(taken(""), (Rules::default(), Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, said) in [
            ("access = 1", "x.toml:1: access must be a list of tables: [[access]]"),
            (
                "[[access]]\nusers = ['no such user']",
                "x.toml:2: access.users must be a list of users that this machine has",
            ),
            ("[[access]]\ngroups = []", "x.toml:2: access.groups must be a list of groups"),
            ("[[access]]\nwatch = 1", "x.toml:2: access.watch must be true or false; it is 1"),
            ("[[access]]\nregister = 'EX1'", "x.toml:2: access.register must be a list of names"),
            ("[[access]]\nread = true", "x.toml:2: there is no key access.read; there are act, everything, "),
        ] {
            let (_, problems) = taken(text);
            assert!(problems.len() == 1 && problems[0].starts_with(said), "{problems:?}");
        }
    }
}
