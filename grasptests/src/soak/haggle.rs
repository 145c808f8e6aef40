//! The negotiations of the soak, from both sides. A request says how it is to be answered, so that both sides know
//! what must come of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use grasp::{AsaNonce, Engine, Error, Negotiation, Objective, SessionNonce, Value};

use super::network::{Here, Path, negotiated};
use super::report::{Call, LIFE, NET};
use super::{Shared, network};

/// How listening ends when what it needs is taken away.
const OVER: [Error; 4] = [Error::NoSession, Error::NoAsa, Error::NotYourObj, Error::Stopped];

/// How long a step waits for its answer, in milliseconds.
pub(super) const STEP: u32 = 3000;
/// The timeout of a request that will not be answered, in milliseconds.
pub(super) const SHORT: u32 = 700;

/// How a request is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Each offers one more than the other, until no rounds are left: who should have gone on, accepts.
    Haggle,
    /// The answerer declines.
    Decline,
    /// The asker declines the first counter-offer.
    AskerDeclines,
    /// The answerer asks for time first; for more than the asker's timeout if there are rounds.
    Wait,
    /// The answerer says that the request is invalid.
    Invalid,
    /// The answerer says nothing.
    Silent,
    /// The loop count of the request leaves no room for a counter-offer.
    Exhausted,
    /// `gsend` and `grecv`, as many rounds.
    Messages,
}

impl Kind {
    pub(super) const ALL: [Self; 8] = [
        Self::Haggle,
        Self::Decline,
        Self::AskerDeclines,
        Self::Wait,
        Self::Invalid,
        Self::Silent,
        Self::Exhausted,
        Self::Messages,
    ];
}

/// What a request or an offer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) kind: Kind,
    pub(super) number: i64,
    pub(super) rounds: i64,
    /// The node that asks.
    pub(super) from: usize,
}

impl Ask {
    pub(super) fn value(self) -> Value {
        let kind = Kind::ALL.iter().position(|kind| *kind == self.kind).unwrap_or_default();
        Value::Array(vec![kind.into(), self.number.into(), self.rounds.into(), self.from.into()])
    }

    fn of(value: &Value) -> Option<Self> {
        let [kind, number, rounds, from] = value.as_array()? else { return None };
        Some(Self {
            kind: *Kind::ALL.get(usize::try_from(kind.as_i64()?).ok()?)?,
            number: number.as_i64()?,
            rounds: rounds.as_i64()?,
            from: usize::try_from(from.as_i64()?).ok().filter(|from| *from < network::NODES)?,
        })
    }

    /// What follows it.
    const fn next(self) -> Self {
        Self { number: self.number + 1, rounds: self.rounds - 1, ..self }
    }

    pub(super) fn reason(self) -> String {
        format!("no {}", self.number)
    }
}

/// One side of a negotiation.
pub(super) struct Side<'a> {
    pub(super) shared: &'a Shared,
    pub(super) engine: &'a Engine,
    pub(super) asa: AsaNonce,
    path: Path,
    /// What has happened to the connection since then explains what happens now.
    began: Instant,
}

impl<'a> Side<'a> {
    pub(super) fn new(shared: &'a Shared, engine: &'a Engine, asa: AsaNonce, path: Path) -> Self {
        Self { shared, engine, asa, path, began: Instant::now() }
    }

    pub(super) fn call(&self, what: &'static str, milliseconds: u32) -> Call<'_> {
        let limit = Duration::from_millis(milliseconds.into());
        Call::new(self.shared, what, self.path, limit).explained_since(self.began)
    }

    pub(super) fn end(&self, session: SessionNonce, accept: bool, reason: Option<&str>) {
        let call = self.call("end_negotiate", 5000);
        call.judge(self.engine.end_negotiate(self.asa, session, accept, reason), &[NET, LIFE]);
    }

    /// Goes on from the peer's offer until one side accepts.
    pub(super) fn haggle(&self, session: SessionNonce, mut objective: Objective, mut ask: Ask) {
        while ask.rounds > 0 {
            let offered = ask.next();
            objective.value = offered.value();
            let call = self.call("negotiate_step", 5000 + STEP);
            let reply = self.engine.negotiate_step(self.asa, session, &objective, Some(STEP));
            match call.judge(reply, &[NET, LIFE]) {
                None => return,
                Some(Negotiation::Agreed(agreed)) => {
                    self.check("what was agreed", &agreed.value, offered);
                    self.check_rounds(offered);
                    return;
                }
                Some(Negotiation::Offer(_, answer)) => {
                    if !self.check("a counter-offer", &answer.value, offered.next()) {
                        return self.end(session, false, None);
                    }
                    ask = offered.next();
                    objective = answer;
                }
            }
        }
        self.end(session, true, None);
    }

    /// A peer accepts only what has no rounds left.
    pub(super) fn check_rounds(&self, agreed: Ask) {
        if agreed.rounds != 0 {
            self.shared.report.unexpected(format!("accepted too early: {agreed:?}"));
        }
    }

    pub(super) fn check(&self, what: &str, found: &Value, expected: Ask) -> bool {
        let right = Ask::of(found) == Some(expected);
        if !right {
            self.shared.report.unexpected(format!("{what} is {found} and not {expected:?}"));
        }
        right
    }
}

/// A thread of a server: answers every request in a thread of its own, until it is woken by the end.
pub(super) fn listen(shared: &Arc<Shared>, here: &Here) {
    let objective = negotiated(here.node);
    let alone = Path::between(here.node, here.node);
    loop {
        let began = Instant::now();
        match here.engine.listen_negotiate(here.server, &objective) {
            Ok((session, request)) => {
                let (shared, here) = (Arc::clone(shared), here.clone());
                let answer = move || answer(&shared, &here, session, &request);
                if let Err(error) = std::thread::Builder::new().name("answer".to_owned()).spawn(answer) {
                    panic!("no thread for the soak: {error}");
                }
            }
            Err(error)
                if OVER.contains(&error) && shared.faults.explain(alone, began) || shared.is_over() =>
            {
                return;
            }
            Err(error) => {
                shared.report.unexpected(format!("n{}: listen_negotiate: {}", here.node + 1, error.name()));
                return;
            }
        }
    }
}

fn answer(shared: &Shared, here: &Here, session: SessionNonce, request: &Objective) {
    let Some(ask) = Ask::of(&request.value) else {
        shared.report.unexpected(format!("a request with {}", request.value));
        return;
    };
    let path = Path::between(here.node, ask.from);
    let side = Side::new(shared, &here.engine, here.server, path);
    match ask.kind {
        Kind::Haggle => side.haggle(session, request.clone(), ask),
        Kind::Decline => side.end(session, false, Some(&ask.reason())),
        Kind::AskerDeclines => {
            let offer = Objective { value: ask.next().value(), ..request.clone() };
            let call = side.call("negotiate_step", 5000 + STEP);
            match side.engine.negotiate_step(side.asa, session, &offer, Some(STEP)) {
                Err(Error::Declined(Some(reason))) if reason == ask.next().reason() => call.ok(),
                Ok(other) => call.wrong(&format!("{other:?}")),
                other => drop(call.judge(other, &[NET, LIFE])),
            }
        }
        Kind::Wait => {
            let call = side.call("negotiate_wait", 5000);
            let waited = side.engine.negotiate_wait(side.asa, session, Some(2 * STEP));
            if call.judge(waited, &[NET, LIFE]).is_some() {
                let time = if ask.rounds > 0 { STEP + 300 } else { 100 };
                std::thread::sleep(Duration::from_millis(time.into()));
                side.end(session, true, None);
            }
        }
        Kind::Invalid => {
            let call = side.call("send_invalid", 5000);
            call.judge(side.engine.send_invalid(side.asa, session, None), &[NET, LIFE]);
        }
        Kind::Silent => {
            // Much longer than the asker waits, also if it begins to wait late on a busy machine.
            std::thread::sleep(Duration::from_millis((SHORT + 3000).into()));
            let call = side.call("end_negotiate", 5000);
            match side.engine.end_negotiate(side.asa, session, false, None) {
                // The asker is gone.
                Err(Error::SockErrEnd) => call.ok(),
                other => drop(call.judge(other, &[NET, LIFE])),
            }
        }
        Kind::Exhausted => {
            let call = side.call("negotiate_step", 5000 + STEP);
            match side.engine.negotiate_step(side.asa, session, request, Some(STEP)) {
                Err(Error::LoopExhausted) => call.ok(),
                Ok(other) => call.wrong(&format!("{other:?}")),
                other => drop(call.judge(other, &[NET, LIFE])),
            }
            side.end(session, false, Some(&ask.reason()));
        }
        Kind::Messages => messages(&side, session, ask),
    }
}

/// Answers numbers with the next, until the peer ends.
fn messages(side: &Side<'_>, session: SessionNonce, ask: Ask) {
    for round in 0..ask.rounds {
        let call = side.call("grecv", STEP);
        let Some(got) = call.judge(side.engine.grecv(side.asa, session, STEP), &[NET, LIFE]) else { return };
        if got.as_i64() != Some(ask.number + 2 * round) {
            side.shared.report.unexpected(format!("grecv: {got} in round {round} of {ask:?}"));
        }
        let call = side.call("gsend", 5000);
        let next = Value::from(ask.number + 2 * round + 1);
        if call.judge(side.engine.gsend(side.asa, session, &next), &[NET, LIFE]).is_none() {
            return;
        }
    }
    // M_END, which grecv gives like anything else; then both ends are closed.
    let call = side.call("grecv", STEP);
    if call.judge(side.engine.grecv(side.asa, session, STEP), &[NET, LIFE]).is_some() {
        let call = side.call("end_negotiate", 5000);
        match side.engine.end_negotiate(side.asa, session, true, None) {
            Err(Error::SockErrEnd) => call.ok(),
            other => drop(call.judge(other, &[NET, LIFE])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_its_way_through_a_value() {
        for kind in Kind::ALL {
            let ask = Ask { kind, number: -7, rounds: 3, from: 5 };
            assert_eq!(Ask::of(&ask.value()), Some(ask));
        }
        assert_eq!(Ask::of(&Value::Null), None);
    }
}
