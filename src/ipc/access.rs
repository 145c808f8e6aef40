//! Rules about what the processes of users and groups may do with a node.

use std::collections::BTreeSet;
use std::fmt;

use crate::error::{Error, Result};
use crate::net::local::Credentials;

/// The processes that a rule is about. Linux tells the user and the primary group that the process at the other end of a
/// socket had when it connected (SO_PEERCRED, unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Who {
    /// Every process that can open the socket.
    Anyone,
    /// Processes of this user, by number.
    User(u32),
    /// Processes with this primary group, by number.
    Group(u32),
}

impl Who {
    fn is(self, client: Credentials) -> bool {
        match self {
            Self::Anyone => true,
            Self::User(uid) => uid == client.uid,
            Self::Group(gid) => gid == client.gid,
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("anyone"),
            Self::User(uid) => write!(f, "user {uid}"),
            Self::Group(gid) => write!(f, "group {gid}"),
        }
    }
}

/// What each process may do. Without a rule, every process may do everything: those that can open the socket are trusted. Once
/// there are rules, a process may do what at least one of the rules about it permits.
///
/// *Acting* is everything that RFC 8991 has: registering ASAs and objectives, discovering, negotiating, and so on. Rules of
/// their own permit registering, flooding and listening for objectives, and permit acting, too; each lists names, or the
/// beginnings of names, followed by a star. *Watching* is looking into the node: its views, counters and trace.
///
/// ```
/// use grasp::ipc::{Access, Who};
///
/// let access = Access::new()
///     .watch(Who::Anyone)
///     .act(Who::Group(985))
///     .register(Who::Group(985), ["PrefixManager*", "EX3"])
///     .listen(Who::Group(985), ["EX3"])
///     .everything(Who::User(0));
/// # drop(access);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    who: Who,
    permits: Permit,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Permit {
    Everything,
    Act,
    Watch,
    /// This, with objectives of these names. Includes acting.
    With(Deed, Vec<String>),
}

/// What is permitted with objectives by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Register,
    Flood,
    Listen,
}

impl Deed {
    /// The verb, as it follows "may".
    const fn verb(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Flood => "flood",
            Self::Listen => "listen for",
        }
    }
}

/// The right that a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right<'a> {
    Act,
    Watch,
    Everything,
    /// To do this with an objective of that name.
    With(Deed, &'a str),
}

impl Access {
    /// No rules: every process that can open the socket may do everything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Permits everything.
    #[must_use]
    pub fn everything(self, who: Who) -> Self {
        self.with(who, Permit::Everything)
    }

    /// Permits acting: to be an ASA, and to use the objectives of others.
    #[must_use]
    pub fn act(self, who: Who) -> Self {
        self.with(who, Permit::Act)
    }

    /// Permits watching.
    #[must_use]
    pub fn watch(self, who: Who) -> Self {
        self.with(who, Permit::Watch)
    }

    /// Permits registering objectives of these names, and acting.
    #[must_use]
    pub fn register(self, who: Who, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.doing(who, Deed::Register, names)
    }

    /// Permits flooding objectives of these names, and acting.
    #[must_use]
    pub fn flood(self, who: Who, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.doing(who, Deed::Flood, names)
    }

    /// Permits listening for requests to negotiate or synchronize objectives of these names, and acting.
    #[must_use]
    pub fn listen(self, who: Who, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.doing(who, Deed::Listen, names)
    }

    fn doing(self, who: Who, deed: Deed, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.with(who, Permit::With(deed, names.into_iter().map(Into::into).collect()))
    }

    fn with(mut self, who: Who, permits: Permit) -> Self {
        self.rules.push(Rule { who, permits });
        self
    }

    /// Returns [`Error::Forbidden`] unless the client has the right. Its text says what is permitted to the client instead, and
    /// who has the right.
    pub(crate) fn check(&self, client: Credentials, right: Right<'_>) -> Result<()> {
        let mut own = self.rules.iter().filter(|rule| rule.who.is(client));
        if self.rules.is_empty() || own.any(|rule| rule.permits.grants(right)) {
            return Ok(());
        }
        Err(Error::Forbidden(self.refusal(client, right).into()))
    }

    fn refusal(&self, client: Credentials, right: Right<'_>) -> String {
        let (what, instead) = match right {
            Right::Act => ("act".to_owned(), None),
            Right::Watch => ("watch".to_owned(), None),
            Right::Everything => ("do everything".to_owned(), None),
            Right::With(deed, name) => (format!("{} {name:?}", deed.verb()), Some(self.names(client, deed))),
        };
        let mut text = format!("user {} of group {} may not {what}", client.uid, client.gid);
        match instead {
            Some(names) if !names.is_empty() => text += &format!(", but {names}"),
            Some(_) => text += ", nor any other objective",
            None => {}
        }
        let others: BTreeSet<_> =
            self.rules.iter().filter(|rule| rule.permits.grants(right)).map(|rule| rule.who).collect();
        let others: Vec<_> = others.iter().map(ToString::to_string).collect();
        text + &if others.is_empty() {
            "; nobody may".to_owned()
        } else {
            format!("; {} may", others.join(", "))
        }
    }

    /// The names of the objectives that a client may do something with.
    fn names(&self, client: Credentials, deed: Deed) -> String {
        let own = self.rules.iter().filter(|rule| rule.who.is(client));
        let names: BTreeSet<&str> = own
            .filter_map(|rule| match &rule.permits {
                Permit::With(with, names) if *with == deed => Some(names),
                _ => None,
            })
            .flatten()
            .map(String::as_str)
            .collect();
        names.into_iter().collect::<Vec<_>>().join(", ")
    }
}

impl Permit {
    fn grants(&self, right: Right<'_>) -> bool {
        match (self, right) {
            (Self::Everything, _)
            | (Self::Act | Self::With(..), Right::Act)
            | (Self::Watch, Right::Watch) => true,
            (Self::With(permitted, names), Right::With(deed, name)) => {
                *permitted == deed && names.iter().any(|pattern| matches(pattern, name))
            }
            _ => false,
        }
    }
}

/// Whether a name is equal to a pattern, or begins with it, if the pattern ends with a star.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Credentials = Credentials { uid: 1000, gid: 985, pid: 1 };
    const BOB: Credentials = Credentials { uid: 1001, gid: 1001, pid: 2 };

    fn refusal(access: &Access, client: Credentials, right: Right<'_>) -> String {
        let error = access.check(client, right).unwrap_err();
        assert_eq!(error.code(), 16);
        error.to_string()
    }

    #[test]
    fn without_rules_everything_is_permitted() {
        for right in [Right::Act, Right::Watch, Right::With(Deed::Flood, "EX1")] {
            assert_eq!(Access::default().check(BOB, right), Ok(()));
        }
    }

    #[test]
    fn rules_permit_what_they_say_and_a_refusal_says_what_and_to_whom() {
        let access = Access::new()
            .watch(Who::Anyone)
            .register(Who::Group(985), ["EX*", "Time"])
            .act(Who::User(7))
            .everything(Who::User(0));
        let register = |name| Right::With(Deed::Register, name);
        for right in [Right::Watch, Right::Act, register("EX1"), register("Time")] {
            assert_eq!(access.check(ALICE, right), Ok(()));
        }
        assert_eq!(access.check(BOB, Right::Watch), Ok(()));
        let root = Credentials { uid: 0, ..BOB };
        assert_eq!(access.check(root, Right::With(Deed::Flood, "any")), Ok(()));
        assert_eq!(
            refusal(&access, ALICE, register("Times")),
            "the node does not permit this: user 1000 of group 985 may not register \"Times\", but EX*, Time; user 0 may"
        );
        assert!(refusal(&access, BOB, Right::Act).ends_with("may not act; user 0, user 7, group 985 may"));
        assert!(
            refusal(&access, ALICE, Right::With(Deed::Listen, "EX1"))
                .contains("nor any other objective; user 0")
        );
        assert!(refusal(&Access::new().act(Who::User(1)), BOB, Right::Watch).ends_with("watch; nobody may"));
    }
}
