//! What a node can do, whichever implementation it runs.

use grasp::{AsaLocator, Objective, SessionNonce, TaggedObjective, Value};

/// An open session of one of the two implementations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Session {
    Ours(SessionNonce),
    /// Its number in the driver.
    Graspy(u64),
}

/// How a request or a step was answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    Offer(Session, Objective),
    Agreed(Objective),
    Declined(Option<String>),
    /// The number of the error.
    Failed(u8),
}

impl Reply {
    #[track_caller]
    pub(crate) fn offer(self) -> (Session, Objective) {
        match self {
            Self::Offer(session, objective) => (session, objective),
            other => panic!("not an offer: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn agreed(self) -> Objective {
        match self {
            Self::Agreed(objective) => objective,
            other => panic!("not agreed: {other:?}"),
        }
    }
}

/// How an objective is registered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct How {
    pub(crate) discoverable: bool,
    pub(crate) rapid: bool,
    pub(crate) local: bool,
    pub(crate) ttl: Option<u32>,
}

/// One ASA on one node. Calls block, and panic where the test cannot go on; errors that a scenario may want to
/// see are returned as numbers.
pub(crate) trait Side: Sync {
    fn is_graspy(&self) -> bool;
    fn register(&self, objective: &Objective, how: How);
    fn discover(&self, objective: &Objective, timeout: u32, flush: bool) -> Vec<AsaLocator>;
    fn request(&self, objective: &Objective, peer: Option<&AsaLocator>, timeout: u32) -> Reply;
    fn open(&self, objective: &Objective, peer: &AsaLocator) -> Session;
    fn listen(&self, objective: &Objective) -> (Session, Objective);
    fn step(&self, session: Session, objective: &Objective, timeout: u32) -> Reply;
    fn wait(&self, session: Session, timeout: u32);
    fn end(&self, session: Session, accept: bool, reason: Option<&str>);
    fn invalid(&self, session: Session, info: &str);
    fn synchronize(
        &self,
        objective: &Objective,
        peer: Option<&AsaLocator>,
        timeout: u32,
    ) -> Result<Objective, u8>;
    fn serve(&self, objective: &Objective);
    fn flood(&self, ttl: u32, tagged: &[TaggedObjective]);
    fn flooded(&self, objective: &Objective) -> Vec<TaggedObjective>;
    fn send(&self, session: Session, message: &Value);
    fn receive(&self, session: Session, timeout: u32) -> Result<Value, u8>;

    /// The value that an ASA here gets if a peer's ASA gives `sent`. graspy shows an embedded item as its
    /// bytes, and sends bytes that begin with an item as an embedded one.
    fn seen(&self, sent: &Value) -> Value {
        match sent {
            Value::EncodedCbor(item) if self.is_graspy() => Value::Bytes(item.clone()),
            Value::Bytes(bytes) if !self.is_graspy() => Value::from_python_bytes(bytes.clone()),
            other => other.clone(),
        }
    }

    /// Discovers until something is found: an answerer may need a moment to listen, a graspy relay a second
    /// attempt.
    #[track_caller]
    fn find(&self, objective: &Objective) -> AsaLocator {
        // The loop count decides how long answers are collected.
        let wanted = Objective { loop_count: 6, ..objective.clone() };
        let mut found = Vec::new();
        grasptests::lab::eventually(crate::interop::SOON, "the objective is discovered", || {
            found = self.discover(&wanted, 0, false);
            !found.is_empty()
        });
        found.swap_remove(0)
    }
}

/// An objective for negotiation.
pub(crate) fn negotiable(name: &str, value: impl Into<Value>) -> Objective {
    let mut objective = Objective::new(name);
    objective.neg = true;
    objective.value = value.into();
    objective
}

/// An objective for synchronization and flooding.
pub(crate) fn synchronizable(name: &str, value: impl Into<Value>) -> Objective {
    let mut objective = Objective::new(name);
    objective.synch = true;
    objective.value = value.into();
    objective
}
