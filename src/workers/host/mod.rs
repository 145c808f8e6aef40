//! The state of an engine among the engines of its host, that is, of its network namespace. One of them, the front, receives at
//! port 7017 for all and hands on what arrives there; the others are its members. `core` stores this, `_host` keeps it up to
//! date, and `_uclisten` and the threads that answer by TCP use it.

mod message;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Mutex, RwLock};

use crate::bounds::Neighbour;
use crate::net::host::{Link, Unsent};
use crate::net::listener::Listener;
use crate::net::waker::Waker;
use crate::registry::Close as _;
use crate::stats::Counters;
pub(crate) use message::{Said, Status, Told, Wish, relays};

/// The largest number of members of a front.
pub(crate) const MEMBERS: usize = 64;
/// The largest number of questions by TCP that wait for answers of members.
const QUESTIONS: usize = 64;
/// How long a member may have no room before it loses its connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// The role of an engine among those of its host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It neither leads others nor follows one.
    #[default]
    Alone,
    Front,
    /// The front receives at port 7017 of these interfaces.
    Member {
        hears: BTreeSet<u32>,
    },
}

/// A member, as its front knows it.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) link: Link,
    /// Since when the member has had no room.
    full: Mutex<Option<Instant>>,
}

impl Member {
    pub(crate) fn new(link: Link) -> Arc<Self> {
        Arc::new(Self { link, full: Mutex::default() })
    }

    /// Hands a message on, if there is room at once. A member that has had no room for too long loses its connection. Returns
    /// whether the message was handed on.
    fn hand(&self, message: &[u8], counters: &Counters) -> bool {
        match self.link.send(message) {
            Ok(()) => {
                *self.full.lock() = None;
                counters.handed_on.add();
                return true;
            }
            Err(Unsent::Full) => {
                let since = *self.full.lock().get_or_insert_with(Instant::now);
                if since.elapsed() > PATIENCE {
                    self.link.close();
                }
            }
            // `_host` notices the end of the connection.
            Err(Unsent::Failed) => {}
        }
        counters.dropped_handed_on.add();
        false
    }
}

/// A question that members have been asked: where their answers go, and who has not answered yet.
#[derive(Debug)]
struct Question {
    answers: Sender<Vec<u8>>,
    missing: Vec<Arc<Member>>,
}

#[derive(Debug, Default)]
struct Questions {
    next: u64,
    open: BTreeMap<u64, Question>,
    ended: bool,
}

/// One engine among those of its host.
#[derive(Debug, Default)]
pub(crate) struct Host {
    standing: Mutex<Standing>,
    /// The members, if this engine is the front. Always replaced as a whole.
    members: RwLock<Arc<[Arc<Member>]>>,
    questions: Mutex<Questions>,
    /// Wakes `_host`. Absent where there is no such thread.
    waker: Mutex<Option<Arc<Waker>>>,
    /// The status of this engine, which `_host` tells the others.
    told: Mutex<Status>,
    /// The listener of TCP port 7017, if this engine is the front and has the port.
    pub(crate) door: Mutex<Option<Arc<Listener>>>,
    /// Held while what this engine hears at port 7017 changes, so that who has held it finds everything heard, with its threads.
    pub(crate) hearing: Mutex<()>,
}

impl Host {
    pub(crate) fn standing(&self) -> Standing {
        self.standing.lock().clone()
    }

    /// Returns whether the standing has changed.
    pub(crate) fn set_standing(&self, standing: Standing) -> bool {
        let mut own = self.standing.lock();
        let is_news = *own != standing;
        *own = standing;
        is_news
    }

    /// Whether it is this engine's task to receive at port 7017 of an interface.
    pub(crate) fn hears(&self, ifi: u32) -> bool {
        match &*self.standing.lock() {
            Standing::Alone | Standing::Front => true,
            Standing::Member { hears } => !hears.contains(&ifi),
        }
    }

    pub(crate) fn set_waker(&self, waker: &Arc<Waker>) {
        *self.waker.lock() = Some(Arc::clone(waker));
    }

    /// Wakes `_host`, which then looks at what has changed.
    fn wake(&self) {
        if let Some(waker) = &*self.waker.lock() {
            waker.wake();
        }
    }

    /// Sets the status of this engine. Wakes `_host` if the status has changed, or if the engine is alone and should look for a
    /// front again.
    pub(crate) fn update(&self, status: Status) {
        let is_news = {
            let mut told = self.told.lock();
            let is_news = *told != status;
            *told = status;
            is_news
        };
        if is_news || *self.standing.lock() == Standing::Alone {
            self.wake();
        }
    }

    /// The status of this engine.
    pub(crate) fn status(&self) -> Status {
        self.told.lock().clone()
    }

    /// Replaces the members. Questions no longer wait for those that are gone.
    pub(crate) fn set_members(&self, members: &[Arc<Member>]) {
        *self.members.write() = members.into();
        let mut questions = self.questions.lock();
        questions.open.retain(|_, question| {
            question.missing.retain(|one| members.iter().any(|member| Arc::ptr_eq(member, one)));
            !question.missing.is_empty()
        });
    }

    fn members(&self) -> Arc<[Arc<Member>]> {
        Arc::clone(&self.members.read())
    }

    /// Hands a datagram on to all members.
    pub(crate) fn hand_on(&self, (ifi, source): Neighbour, port: u16, bytes: &[u8], counters: &Counters) {
        let members = self.members();
        if !members.is_empty() {
            let message = Told::Datagram { ifi, source, port, bytes }.encode();
            for member in &*members {
                member.hand(&message, counters);
            }
        }
    }

    /// Asks all members. The answers end once each member has answered, is gone, or has no room. There are none if too many
    /// questions are open.
    pub(crate) fn ask(&self, (ifi, source): Neighbour, bytes: &[u8], counters: &Counters) -> Answers<'_> {
        let members = self.members();
        let (tx, rx) = bounded(members.len().max(1));
        let number = if members.is_empty() { None } else { self.open_question(tx, &members) };
        if let Some(number) = number {
            let message = Told::Question { number, ifi, source, bytes }.encode();
            for member in members.iter().filter(|member| !member.hand(&message, counters)) {
                self.answer(member, number, None);
            }
        }
        Answers { host: self, number, rx }
    }

    fn open_question(&self, answers: Sender<Vec<u8>>, members: &[Arc<Member>]) -> Option<u64> {
        let mut questions = self.questions.lock();
        if questions.ended || questions.open.len() >= QUESTIONS {
            return None;
        }
        let number = questions.next;
        questions.next = number.wrapping_add(1);
        questions.open.insert(number, Question { answers, missing: members.to_vec() });
        Some(number)
    }

    /// Takes the answer of a member. Ignores it if the member was not asked.
    pub(crate) fn answer(&self, member: &Arc<Member>, number: u64, answer: Option<&[u8]>) {
        let mut questions = self.questions.lock();
        let Some(question) = questions.open.get_mut(&number) else { return };
        let missing = question.missing.len();
        question.missing.retain(|one| !Arc::ptr_eq(one, member));
        if question.missing.len() == missing {
            return;
        }
        let answers = question.answers.clone();
        if question.missing.is_empty() {
            questions.open.remove(&number);
        }
        drop(questions);
        if let Some(answer) = answer {
            // The channel has room for one answer of each member.
            let _ = answers.try_send(answer.to_vec());
        }
    }

    /// Ends all questions, and receiving at port 7017 by TCP.
    pub(crate) fn end(&self) {
        let open = {
            let mut questions = self.questions.lock();
            questions.ended = true;
            std::mem::take(&mut questions.open)
        };
        drop(open);
        if let Some(door) = self.door.lock().take() {
            door.close();
        }
        self.wake();
    }
}

/// The answers of members to a question, which is forgotten when this is dropped.
#[derive(Debug)]
pub(crate) struct Answers<'a> {
    host: &'a Host,
    number: Option<u64>,
    rx: Receiver<Vec<u8>>,
}

impl Answers<'_> {
    /// The next answer; `None` once no more can come, or the deadline has passed.
    pub(crate) fn next(&self, deadline: Instant) -> Option<Vec<u8>> {
        self.rx.recv_deadline(deadline).ok()
    }
}

impl Drop for Answers<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.host.questions.lock().open.remove(&number);
        }
    }
}
