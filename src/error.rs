//! The errors of the API, with graspy's numbers, names and English texts (RFC 8991 §2.3.6, whose list ends at 38). One
//! number of graspy may be several errors here, each with its own text and cause.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::start_error::StartError;

/// The result of every API call.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the API. [`code`](Error::code) is graspy's number, and [`retry`](Error::retry) says whether a retry
/// helps. `Display` and `Debug` print a sentence, so that `main` may return the error. `source` is the error that the
/// system reported.
///
/// Two errors are equal if their numbers are equal; for [`Declined`](Error::Declined) the reasons must be equal, too.
/// So `error == Error::Unspec` holds for everything that graspy calls `unspec`, and `error == Error::SockErrNegRq` for
/// every failed connection of a negotiation, whatever the cause. Use `match` or `matches!` to distinguish these.
///
/// ```
/// use grasp::{Error, Retry};
/// let error = Error::TooLarge { size: 3000, limit: 2048 };
/// assert_eq!((error.code(), error.name(), error.retry()), (3, "unspec", Retry::No));
/// assert_eq!(error, Error::Unspec);
/// assert_eq!(format!("{error:?}"), "the message is too large: 3000 bytes, where 2048 may be sent");
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum Error {
    /// 1 `declined`. The peer declined; the reason it gave, if any. Asking again for less may help.
    Declined(Option<String>),
    /// 2 `noReply`. `grecv`: nothing arrived in time. A retry with a new session may help.
    NoReply,
    /// 3 `unspec`. Everything that has this number in graspy and no other name. Only for comparison: each cause is a
    /// variant of its own.
    Unspec,
    /// 4 `ASAfull`. The number of registered ASAs has reached [`Config::asa_limit`](crate::Config::asa_limit). A retry
    /// helps once another ASA is gone.
    AsaFull,
    /// 5 `dupASA`. An ASA of this name is already registered. A retry helps once it is gone.
    DupAsa,
    /// 6 `noASA`. The handle or the name does not belong to a registered ASA. A retry does not help.
    NoAsa,
    /// 7 `notYourASA`. `deregister_asa`: the name belongs to another handle. A retry does not help.
    NotYourAsa,
    /// 8 `notBoth`. Both `neg` and `synch` are set. A retry does not help.
    NotBoth,
    /// 9 `notDry`. `dry` is set without `neg`. A retry does not help.
    NotDry,
    /// 10 `notOverlap`. Never returned: overlap is supported.
    NotOverlap,
    /// 11 `objFull`. The number of registered objectives has reached
    /// [`Config::objective_limit`](crate::Config::objective_limit), or no port or thread is left for another one. A
    /// retry may help later.
    ObjFull,
    /// 11 `objFull`. The requested port for an objective is not available; the cause says why. A retry helps once it is
    /// free.
    PortTaken {
        /// The port.
        port: u16,
        /// The error of the system.
        cause: Arc<io::Error>,
    },
    /// 12 `objReg`. The objective is already registered, and at least one registration does not allow overlap. A retry
    /// helps once it is gone.
    ObjReg,
    /// 13 `notYourObj`. The calling ASA has not registered this objective. A retry does not help.
    NotYourObj,
    /// 14 `notObj`. `deregister_obj`: no ASA has registered the objective. A retry does not help.
    NotObj,
    /// 15 `notNeg`. `neg` is not set. A retry does not help.
    NotNeg,
    /// 16 `noSecurity`. There is no secure substrate, or the engine is a DULL instance. A retry helps once the
    /// substrate is up.
    NoSecurity,
    /// 17 `noDiscReply`. `req_negotiate` was called without a peer and found none. A retry may help; pause longer
    /// before each one.
    NoDiscReply,
    /// 18 `sockErrNegRq`. No connection to the peer within 5 s, or its locator cannot be resolved. A retry after a
    /// fresh discovery may help.
    SockErrNegRq,
    /// 19 `noSession`. The session is unknown or has ended; or `stop_negotiate` or a deregistration ended a blocked
    /// `listen_negotiate`. Harmless after a redundant `end_negotiate`.
    NoSession,
    /// 19 `noSession`. The session belongs to another ASA. A retry does not help.
    NotYourSession,
    /// 20 `noSocket`. The session has no connection, for example if the handle of an ASA is used as a session. A retry
    /// does not help.
    NoSocket,
    /// 21 `loopExhausted`. The loop count does not allow another step. The session is still open: end it.
    LoopExhausted,
    /// 22 `sockErrNegStep`. The step could not be sent; the session is over. A new negotiation may succeed.
    SockErrNegStep,
    /// 23 `noPeer`. The peer closed the connection without an answer: it is not listening now. A retry after a pause
    /// may help.
    NoPeer,
    /// 24 `CBORfail`. The answer is not CBOR, or is too large; the session is over.
    CborFail,
    /// 25 `invalidNeg`. The offer is for another objective, is not a negotiation, or mixes dry run and live; the
    /// session is over.
    InvalidNeg,
    /// 26 `invalidEnd`. The peer ended the session, but neither accepted nor declined; the session is over.
    InvalidEnd,
    /// 27 `noNegReply`. Nothing arrived in time, or the connection broke; the session is over. A new negotiation may
    /// succeed.
    NoNegReply,
    /// 28 `noValidStep`. The answer is malformed, belongs to another session, or is not a step of a negotiation; the
    /// session is over.
    NoValidStep,
    /// 29 `sockErrWait`. The request for more time could not be sent; the session is over.
    SockErrWait,
    /// 30 `sockErrEnd`. The end could not be sent. The session is over on this side nevertheless.
    SockErrEnd,
    /// 31 `IDclash`. A request came with the identifier of a session that is still open with the same peer. No call
    /// returns this error: such a request is refused, and counted as `session_clashes`.
    IdClash,
    /// 32 `notSynch`. `synch` is not set. A retry does not help.
    NotSynch,
    /// 33 `notFloodDisc`. `synchronize` without a locator found no value and no peer. A retry may help; pause longer
    /// before each one.
    NotFloodDisc,
    /// 34 `sockErrSynRq`. No connection to the peer within 5 s, or its locator cannot be resolved. A retry after a
    /// fresh discovery may help.
    SockErrSynRq,
    /// 35 `noListener`. The peer closed the connection without an answer. A retry after a pause may help.
    NoListener,
    /// 36 `noSynchReply`. Nothing arrived in time, or the connection broke. A retry may help.
    NoSynchReply,
    /// 37 `noValidSynch`. The answer is malformed, belongs to another session or objective, or is not a value. A retry
    /// with another peer may help.
    NoValidSynch,
    /// 38 `invalidLoc`. The locator cannot be sent: it is an address or name without protocol or port. A retry does not
    /// help.
    InvalidLoc,
    /// 39 `sockErr`. `gsend`: the message could not be sent; the session is over.
    SockErr,
    /// 3 `unspec`. The engine has been shut down. A retry does not help.
    Stopped,
    /// 3 `unspec`. The number of open sessions has reached [`Config::session_limit`](crate::Config::session_limit). A
    /// retry helps once some sessions have ended.
    SessionLimit,
    /// 3 `unspec`. A thread cannot be started; the cause says why. A retry may help later.
    NoThread(Arc<io::Error>),
    /// 3 `unspec`. The message would be larger than [`Config::unicast_size`](crate::Config::unicast_size) or
    /// [`Config::multicast_send_size`](crate::Config::multicast_send_size) allows. A retry does not help.
    TooLarge {
        /// The size that the message would have, in bytes.
        size: usize,
        /// The largest size that may be sent, in bytes.
        limit: usize,
    },
    /// 3 `unspec`. The value is nested deeper than 128 levels. A retry does not help.
    TooDeep,
    /// 3 `unspec`. The system's random generator does not answer, or too many identifiers are in use. A retry may help later.
    NoRandom,
    /// 3 `unspec`. `flood` was called without an objective. A retry does not help.
    NoObjective,
    /// 3 `unspec`. CBOR cannot represent a value, or a value does not match the requested type. A retry does not help.
    WrongValue(Arc<crate::wire::cbor::SerdeError>),
    /// A connection failed. Has the number and name of [`SockErrNegRq`](Self::SockErrNegRq),
    /// [`SockErrSynRq`](Self::SockErrSynRq), or one of the errors of a broken session. Says why it failed.
    Connection(Arc<ConnectionError>),
    /// 3 `unspec`. The calling thread is in another network namespace than the thread that started the engine, and the
    /// call needs a socket, which would be made in that other namespace. A retry helps from a thread in the engine's
    /// namespace. A thread is asked where it is ten times a second at most.
    OtherNamespace,
    /// 3 `unspec`. This process was forked from the one that started the engine, and has none of the engine's threads.
    /// A retry does not help: start another engine in this process.
    Forked,
    /// 3 `unspec`. The connection to the node has ended: the node has stopped, or this process did not keep up. A retry helps
    /// after [`Engine::reconnect`](crate::Engine::reconnect).
    NodeGone,
    /// 3 `unspec`. This process has as much of something as its node grants a client; the text says of what. A retry helps once
    /// it has less.
    ClientLimit(Arc<str>),
    /// 3 `unspec`. The node and this program speak different versions of the socket's protocol; the text says which. A retry does not
    /// help.
    OtherProtocol(Arc<str>),
    /// 16 `noSecurity`. The access rules of the node do not permit this process to do so; the text says what they permit, and
    /// to whom. A retry does not help.
    Forbidden(Arc<str>),
    /// 3 `unspec`. The process-wide engine could not be started. The text says what to do; a retry helps after that.
    NotStarted(Arc<StartError>),
}

/// Whether a retry helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// No: the same call fails in the same way until the cause is removed.
    No,
    /// The same call may succeed later. Pause before each retry, longer each time.
    Later,
    /// The session is over. A new one may succeed.
    NewSession,
}

/// A row of the table of errors.
#[derive(Clone, Copy)]
struct Row {
    code: u8,
    name: &'static str,
    text: &'static str,
    retry: Retry,
}

const fn row(code: u8, name: &'static str, text: &'static str, retry: Retry) -> Row {
    Row { code, name, text, retry }
}

impl Error {
    /// The table of errors: number, name, text, and whether a retry helps.
    #[rustfmt::skip]
    fn row(&self) -> Row {
        match self {
            Self::Declined(_) => row(1, "declined", "Declined", Retry::NewSession),
            Self::NoReply => row(2, "noReply", "No reply", Retry::NewSession),
            Self::Unspec => row(3, "unspec", "Unspecified error", Retry::No),
            Self::AsaFull => row(4, "ASAfull", "ASA registry full", Retry::Later),
            Self::DupAsa => row(5, "dupASA", "Duplicate ASA name", Retry::Later),
            Self::NoAsa => row(6, "noASA", "ASA not registered", Retry::No),
            Self::NotYourAsa => row(7, "notYourASA", "ASA registered but not by you", Retry::No),
            Self::NotBoth => row(8, "notBoth", "Objective cannot support both negotiation and synchronization", Retry::No),
            Self::NotDry => row(9, "notDry", "Dry-run allowed only with negotiation", Retry::No),
            Self::NotOverlap => row(10, "notOverlap", "Overlap not supported by this implementation", Retry::No),
            Self::ObjFull => row(11, "objFull", "Objective registry full", Retry::Later),
            Self::ObjReg => row(12, "objReg", "Objective already registered", Retry::Later),
            Self::NotYourObj => row(13, "notYourObj", "Objective not registered by this ASA", Retry::No),
            Self::NotObj => row(14, "notObj", "Objective not found", Retry::No),
            Self::NotNeg => row(15, "notNeg", "Objective not negotiable", Retry::No),
            Self::NoSecurity => row(16, "noSecurity", "No security", Retry::Later),
            Self::NoDiscReply => row(17, "noDiscReply", "No reply to discovery", Retry::Later),
            Self::SockErrNegRq => row(18, "sockErrNegRq", "Socket error sending negotiation request", Retry::Later),
            Self::NoSession => row(19, "noSession", "No session", Retry::No),
            Self::NoSocket => row(20, "noSocket", "No socket", Retry::No),
            Self::LoopExhausted => row(21, "loopExhausted", "Loop count exhausted", Retry::No),
            Self::SockErrNegStep => row(22, "sockErrNegStep", "Socket error sending negotiation step", Retry::NewSession),
            Self::NoPeer => row(23, "noPeer", "Negotiation peer not listening", Retry::Later),
            Self::CborFail => row(24, "CBORfail", "CBOR decode failure", Retry::NewSession),
            Self::InvalidNeg => row(25, "invalidNeg", "Invalid Negotiate message", Retry::NewSession),
            Self::InvalidEnd => row(26, "invalidEnd", "Invalid end message", Retry::NewSession),
            Self::NoNegReply => row(27, "noNegReply", "No reply to negotiation step", Retry::NewSession),
            Self::NoValidStep => row(28, "noValidStep", "No valid reply to negotiation step", Retry::NewSession),
            Self::SockErrWait => row(29, "sockErrWait", "Socket error sending wait message", Retry::NewSession),
            Self::SockErrEnd => row(30, "sockErrEnd", "Socket error sending end message", Retry::No),
            Self::IdClash => row(31, "IDclash", "Incoming request Session ID clash", Retry::Later),
            Self::NotSynch => row(32, "notSynch", "Not a synchronization objective", Retry::No),
            Self::NotFloodDisc => row(33, "notFloodDisc", "Not flooded and no reply to discovery", Retry::Later),
            Self::SockErrSynRq => row(34, "sockErrSynRq", "Socket error sending synch request", Retry::Later),
            Self::NoListener => row(35, "noListener", "Synchronization peer not listening", Retry::Later),
            Self::NoSynchReply => row(36, "noSynchReply", "No reply to synchronization request", Retry::Later),
            Self::NoValidSynch => row(37, "noValidSynch", "No valid reply to synchronization request", Retry::Later),
            Self::InvalidLoc => row(38, "invalidLoc", "Invalid locator", Retry::No),
            Self::SockErr => row(39, "sockErr", "Socket error sending gmessage", Retry::NewSession),
            Self::Stopped => row(3, "unspec", "the engine has been shut down", Retry::No),
            Self::SessionLimit => row(3, "unspec", "as many sessions are open as are allowed", Retry::Later),
            Self::NoThread(_) => row(3, "unspec", "no thread can be started", Retry::Later),
            Self::TooLarge { .. } => row(3, "unspec", "the message is too large", Retry::No),
            Self::TooDeep => row(3, "unspec", "the value is nested too deep", Retry::No),
            Self::NoRandom => row(3, "unspec", "the system's random generator does not answer", Retry::Later),
            Self::NoObjective => row(3, "unspec", "there is no objective to flood", Retry::No),
            Self::WrongValue(_) => row(3, "unspec", "the value is of another type", Retry::No),
            Self::OtherNamespace => row(3, "unspec", "this thread is in another network namespace than the engine: call from a thread of the namespace that the engine was started in", Retry::No),
            Self::Forked => row(3, "unspec", "this process was forked off the one that started the engine, whose threads it does not have: start the engine after the fork", Retry::No),
            Self::NodeGone => row(3, "unspec", "the connection to the node has ended: connect again once the node runs", Retry::Later),
            Self::ClientLimit(_) => row(3, "unspec", "the node grants a client no more", Retry::Later),
            Self::OtherProtocol(_) => row(3, "unspec", "the node does not understand this program", Retry::No),
            Self::Forbidden(_) => row(16, "noSecurity", "the node does not permit this", Retry::No),
            Self::NotStarted(_) => row(3, "unspec", "the engine cannot be started", Retry::Later),
            Self::NotYourSession => row(19, "noSession", "the session belongs to another ASA", Retry::No),
            Self::PortTaken { .. } => row(11, "objFull", "the port cannot be had", Retry::Later),
            Self::Connection(error) => Row { retry: error.why.retry(), ..error.during.row() },
        }
    }

    /// graspy's number of the error.
    #[must_use]
    pub fn code(&self) -> u8 {
        self.row().code
    }

    /// graspy's name of the error, as in `errors.noASA`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.row().name
    }

    /// Whether a retry helps.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.row().retry
    }

    /// Why a connection failed, if the error is that of a failed connection.
    #[must_use]
    pub fn why(&self) -> Option<Why> {
        match self {
            Self::Connection(error) => Some(error.why),
            _ => None,
        }
    }

    /// graspy's error of this number, from 1 on; `Unspec` for a number that it does not have.
    #[cfg(feature = "ipc")]
    pub(crate) fn of_number(code: u8) -> Self {
        let index = usize::from(code).checked_sub(1);
        index.and_then(|index| BY_NUMBER.get(index)).cloned().unwrap_or(Self::Unspec)
    }

    /// The same error with the known facts about the connection that failed.
    pub(crate) fn because(self, why: Why, peer: Option<SocketAddr>, cause: Option<io::Error>) -> Self {
        Self::Connection(Arc::new(ConnectionError { during: self, why, peer, cause }))
    }
}

/// A connection to a peer that failed.
#[derive(Debug)]
pub struct ConnectionError {
    /// The error without its cause.
    during: Error,
    why: Why,
    peer: Option<SocketAddr>,
    cause: Option<io::Error>,
}

impl ConnectionError {
    /// Why it failed.
    #[must_use]
    pub const fn why(&self) -> Why {
        self.why
    }

    /// The peer, if it is known.
    #[must_use]
    pub const fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// What the system said.
    #[cfg(feature = "ipc")]
    pub(crate) const fn cause(&self) -> Option<&io::Error> {
        self.cause.as_ref()
    }
}

/// Why a connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// Nobody listens on the port.
    Refused,
    /// No route leads to the peer, or it does not answer on its link.
    Unreachable,
    /// Nothing arrived in time.
    TimedOut,
    /// The peer, or a device on the path, cut the connection.
    Reset,
    /// TLS with the peer fails: one of both is no member of the other one's domain, or the peer does not speak TLS 1.3. The cause
    /// says what is wrong.
    NotSecured,
    /// The locator leads to no address: its name is not known, it is a URI, or its protocol is not TCP.
    Unresolved,
    /// Any other reason; the cause says which.
    Other,
}

impl Why {
    /// Classifies an error of the system.
    pub(crate) fn of(kind: io::ErrorKind) -> Self {
        use io::ErrorKind as Kind;
        match kind {
            Kind::ConnectionRefused => Self::Refused,
            Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown => Self::Unreachable,
            Kind::TimedOut | Kind::WouldBlock => Self::TimedOut,
            Kind::InvalidData => Self::NotSecured,
            Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => Self::Reset,
            _ => Self::Other,
        }
    }

    const fn retry(self) -> Retry {
        match self {
            Self::Unresolved => Retry::No,
            _ => Retry::Later,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "the peer refuses the connection",
            Self::Unreachable => "the peer cannot be reached",
            Self::TimedOut => "the peer does not answer in time",
            Self::Reset => "the connection was reset",
            Self::NotSecured => "the connection cannot be secured",
            Self::Unresolved => "the locator leads to no address",
            Self::Other => "the connection failed",
        })
    }
}

/// The English text of an error number; `OK` for 0 (graspy's `etext`). `None` from 40 on.
///
/// ```
/// assert_eq!(grasp::etext(12), Some("Objective already registered"));
/// ```
#[must_use]
pub fn etext(code: u8) -> Option<&'static str> {
    match code.checked_sub(1) {
        None => Some("OK"),
        Some(index) => BY_NUMBER.get(usize::from(index)).map(|error| error.row().text),
    }
}

impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Declined(a), Self::Declined(b)) => a == b,
            _ => self.code() == other.code(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.row().text;
        match self {
            Self::NotStarted(error) => error.fmt(f),
            Self::NoThread(cause) => write!(f, "{text}: {cause}"),
            Self::ClientLimit(what) | Self::OtherProtocol(what) | Self::Forbidden(what) => {
                write!(f, "{text}: {what}")
            }
            Self::WrongValue(cause) => write!(f, "{text}: {cause}"),
            Self::TooLarge { size, limit } => write!(f, "{text}: {size} bytes, where {limit} may be sent"),
            Self::PortTaken { port, cause } => write!(f, "TCP port {port} cannot be had: {cause}"),
            Self::Connection(error) => {
                write!(f, "{text}: {}", error.why)?;
                if let Some(peer) = error.peer {
                    write!(f, " ({peer})")?;
                }
                match &error.cause {
                    Some(cause) if error.why == Why::Other => write!(f, ": {cause}"),
                    _ => Ok(()),
                }
            }
            _ => f.write_str(text),
        }
    }
}

/// Prints the sentence of `Display`, because this is what people see when `main` returns the error.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declined(Some(reason)) => write!(f, "{self}: {reason:?}"),
            _ => fmt::Display::fmt(self, f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotStarted(error) => Some(error.as_ref()),
            Self::PortTaken { cause, .. } | Self::NoThread(cause) => Some(cause.as_ref()),
            Self::WrongValue(cause) => Some(cause.as_ref()),
            Self::Connection(error) => error.cause.as_ref().map(|cause| cause as _),
            _ => None,
        }
    }
}

impl From<crate::wire::cbor::SerdeError> for Error {
    fn from(error: crate::wire::cbor::SerdeError) -> Self {
        Self::WrongValue(Arc::new(error))
    }
}

/// graspy's errors, from 1 on.
static BY_NUMBER: [Error; 39] = [
    Error::Declined(None),
    Error::NoReply,
    Error::Unspec,
    Error::AsaFull,
    Error::DupAsa,
    Error::NoAsa,
    Error::NotYourAsa,
    Error::NotBoth,
    Error::NotDry,
    Error::NotOverlap,
    Error::ObjFull,
    Error::ObjReg,
    Error::NotYourObj,
    Error::NotObj,
    Error::NotNeg,
    Error::NoSecurity,
    Error::NoDiscReply,
    Error::SockErrNegRq,
    Error::NoSession,
    Error::NoSocket,
    Error::LoopExhausted,
    Error::SockErrNegStep,
    Error::NoPeer,
    Error::CborFail,
    Error::InvalidNeg,
    Error::InvalidEnd,
    Error::NoNegReply,
    Error::NoValidStep,
    Error::SockErrWait,
    Error::SockErrEnd,
    Error::IdClash,
    Error::NotSynch,
    Error::NotFloodDisc,
    Error::SockErrSynRq,
    Error::NoListener,
    Error::NoSynchReply,
    Error::NoValidSynch,
    Error::InvalidLoc,
    Error::SockErr,
];

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn numbers_names_and_texts_agree() {
        for (number, error) in (1..).zip(&BY_NUMBER) {
            assert_eq!(error.code(), number, "{error}");
            assert_eq!(etext(number), Some(error.to_string().as_str()));
        }
        assert_eq!(Error::NoAsa.name(), "noASA");
        assert_eq!(Error::NoPeer.to_string(), "Negotiation peer not listening");
        assert_eq!((etext(0), etext(40)), (Some("OK"), None));
    }

    #[test]
    fn a_start_error_shows_its_sentence_and_its_source() {
        let error = Error::NotStarted(Arc::new(StartError::NoInterface));
        assert_eq!(error.code(), 3);
        assert!(error.to_string().contains("no usable interface"), "{error}");
        assert!(error.source().is_some());
        assert_eq!(format!("{error:?}"), error.to_string());
        assert_eq!(format!("{:?}", StartError::NoInterface), StartError::NoInterface.to_string());
    }

    #[test]
    fn causes_share_a_number_and_have_their_own_words() {
        let cause = || Arc::new(io::Error::other("no room"));
        let own = [
            Error::Stopped,
            Error::SessionLimit,
            Error::NoThread(cause()),
            Error::TooLarge { size: 2, limit: 1 },
            Error::TooDeep,
            Error::NoRandom,
            Error::NoObjective,
            Error::OtherNamespace,
            Error::Forked,
            Error::NodeGone,
            Error::ClientLimit("64 calls".into()),
            Error::OtherProtocol("version 2".into()),
        ];
        let texts: std::collections::BTreeSet<_> = own.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), own.len());
        assert!(own.iter().all(|error| *error == Error::Unspec && error.to_string() != "Unspecified error"));
        assert_eq!(Error::NoThread(cause()).source().map(ToString::to_string).as_deref(), Some("no room"));
        assert_eq!((Error::SessionLimit.retry(), Error::Stopped.retry()), (Retry::Later, Retry::No));
    }

    #[test]
    fn a_failed_connection_says_why_and_is_equal_to_its_kind() {
        let peer = "[fd00::1]:4711".parse().ok();
        let failed = |kind| Error::SockErrNegRq.because(Why::of(kind), peer, Some(kind.into()));
        let refused = failed(io::ErrorKind::ConnectionRefused);
        assert_eq!((&refused, refused.code(), refused.name()), (&Error::SockErrNegRq, 18, "sockErrNegRq"));
        assert_eq!(
            refused.to_string(),
            "Socket error sending negotiation request: the peer refuses the connection ([fd00::1]:4711)"
        );
        assert!(refused.source().is_some() && refused.why() == Some(Why::Refused));
        let whys = [
            (io::ErrorKind::HostUnreachable, Why::Unreachable),
            (io::ErrorKind::TimedOut, Why::TimedOut),
            (io::ErrorKind::InvalidData, Why::NotSecured),
            (io::ErrorKind::ConnectionReset, Why::Reset),
            (io::ErrorKind::OutOfMemory, Why::Other),
        ];
        for (kind, why) in whys {
            assert_eq!(failed(kind).why(), Some(why));
        }
        assert_ne!(refused, Error::SockErrSynRq);
    }
}
