//! The errors of the API: graspy's numbers, names and English texts, RFC 8991 §2.3.6 (whose list ends at 38).

use std::fmt;
use std::sync::Arc;

use crate::start_error::StartError;

/// What every call of the API returns.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the API. [`code`](Error::code) is graspy's number, `Display` its English text.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// 1 `declined`. The peer declined; the reason it gave, if any. Asking again for less may help.
    Declined(Option<String>),
    /// 2 `noReply`. `grecv`: nothing arrived in time. A retry may help, with a new session.
    NoReply,
    /// 3 `unspec`. An argument makes no sense, or the engine has been shut down. A retry does not help.
    Unspec,
    /// 4 `ASAfull`. As many ASAs are registered as [`Config::asa_limit`](crate::Config::asa_limit) allows. A retry helps once another ASA is gone.
    AsaFull,
    /// 5 `dupASA`. An ASA of this name is registered. A retry helps once it is gone.
    DupAsa,
    /// 6 `noASA`. The handle, or the name, is not that of a registered ASA. A retry does not help.
    NoAsa,
    /// 7 `notYourASA`. `deregister_asa`: the name belongs to another handle. A retry does not help.
    NotYourAsa,
    /// 8 `notBoth`. Both `neg` and `synch` are set. A retry does not help.
    NotBoth,
    /// 9 `notDry`. `dry` is set without `neg`. A retry does not help.
    NotDry,
    /// 10 `notOverlap`. Never returned: overlap is supported.
    NotOverlap,
    /// 11 `objFull`. As many objectives are registered as [`Config::objective_limit`](crate::Config::objective_limit) allows, or no port or thread is left for one more. A retry may help later.
    ObjFull,
    /// 11 `objFull`. The port that was wanted for an objective cannot be had; the cause says why. A retry helps once it is
    /// free.
    PortTaken {
        /// The port.
        port: u16,
        /// What the system says.
        cause: Arc<std::io::Error>,
    },
    /// 12 `objReg`. The objective is registered and at least one registration does not allow overlap. A retry helps once it is gone.
    ObjReg,
    /// 13 `notYourObj`. The calling ASA has not registered this objective. A retry does not help.
    NotYourObj,
    /// 14 `notObj`. `deregister_obj`: nobody has registered it. A retry does not help.
    NotObj,
    /// 15 `notNeg`. `neg` is not set. A retry does not help.
    NotNeg,
    /// 16 `noSecurity`. There is no secure substrate, or the engine runs as a DULL instance. A retry helps once the substrate is up.
    NoSecurity,
    /// 17 `noDiscReply`. `req_negotiate` without a peer found none. A retry may help, after a pause that grows.
    NoDiscReply,
    /// 18 `sockErrNegRq`. No connection to the peer within 5 s, or its locator cannot be resolved. A retry, with a fresh discovery, may help.
    SockErrNegRq,
    /// 19 `noSession`. The session is unknown or has ended; or a blocked `listen_negotiate` was ended by `stop_negotiate` or a deregistration. Harmless after a redundant `end_negotiate`.
    NoSession,
    /// 20 `noSocket`. The session has no connection, as when the handle of an ASA is used for one. A retry does not help.
    NoSocket,
    /// 21 `loopExhausted`. The loop count does not allow another step. The session is still open: end it.
    LoopExhausted,
    /// 22 `sockErrNegStep`. The step could not be sent; the session is over. A new negotiation may succeed.
    SockErrNegStep,
    /// 23 `noPeer`. The peer closed the connection without a word: it is not listening now. A retry may help, after a pause.
    NoPeer,
    /// 24 `CBORfail`. What came is not CBOR, or too large; the session is over.
    CborFail,
    /// 25 `invalidNeg`. The offer is for another objective, or not a negotiation, or mixes dry run and live; the session is over.
    InvalidNeg,
    /// 26 `invalidEnd`. The peer ended neither by accepting nor by declining; the session is over.
    InvalidEnd,
    /// 27 `noNegReply`. Nothing came in time, or the connection broke; the session is over. A new negotiation may succeed.
    NoNegReply,
    /// 28 `noValidStep`. What came is malformed, of another session, or no step of a negotiation; the session is over.
    NoValidStep,
    /// 29 `sockErrWait`. The request for time could not be sent; the session is over.
    SockErrWait,
    /// 30 `sockErrEnd`. The end could not be sent. The session is over on this side all the same.
    SockErrEnd,
    /// 31 `IDclash`. A request came under the identifier of a session that is still open with the same peer. It was dropped; listen again.
    IdClash,
    /// 32 `notSynch`. `synch` is not set. A retry does not help.
    NotSynch,
    /// 33 `notFloodDisc`. `synchronize` without a locator found no value and no peer. A retry may help, after a pause that grows.
    NotFloodDisc,
    /// 34 `sockErrSynRq`. No connection to the peer within 5 s, or its locator cannot be resolved. A retry, with a fresh discovery, may help.
    SockErrSynRq,
    /// 35 `noListener`. The peer closed the connection without a word. A retry may help, after a pause.
    NoListener,
    /// 36 `noSynchReply`. Nothing came in time, or the connection broke. A retry may help.
    NoSynchReply,
    /// 37 `noValidSynch`. What came is malformed, of another session or objective, or no value. A retry may help with another peer.
    NoValidSynch,
    /// 38 `invalidLoc`. A locator that cannot be sent: an address or name without protocol or port. A retry does not help.
    InvalidLoc,
    /// 39 `sockErr`. `gsend`: the message could not be sent; the session is over.
    SockErr,
    /// 3 `unspec`. The process-wide engine could not be started. What to do is in the sentence; then a
    /// retry helps.
    NotStarted(Arc<StartError>),
}

impl Error {
    /// graspy's number of the error.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Declined(_) => 1,
            Self::NoReply => 2,
            Self::Unspec | Self::NotStarted(_) => 3,
            Self::AsaFull => 4,
            Self::DupAsa => 5,
            Self::NoAsa => 6,
            Self::NotYourAsa => 7,
            Self::NotBoth => 8,
            Self::NotDry => 9,
            Self::NotOverlap => 10,
            Self::ObjFull | Self::PortTaken { .. } => 11,
            Self::ObjReg => 12,
            Self::NotYourObj => 13,
            Self::NotObj => 14,
            Self::NotNeg => 15,
            Self::NoSecurity => 16,
            Self::NoDiscReply => 17,
            Self::SockErrNegRq => 18,
            Self::NoSession => 19,
            Self::NoSocket => 20,
            Self::LoopExhausted => 21,
            Self::SockErrNegStep => 22,
            Self::NoPeer => 23,
            Self::CborFail => 24,
            Self::InvalidNeg => 25,
            Self::InvalidEnd => 26,
            Self::NoNegReply => 27,
            Self::NoValidStep => 28,
            Self::SockErrWait => 29,
            Self::SockErrEnd => 30,
            Self::IdClash => 31,
            Self::NotSynch => 32,
            Self::NotFloodDisc => 33,
            Self::SockErrSynRq => 34,
            Self::NoListener => 35,
            Self::NoSynchReply => 36,
            Self::NoValidSynch => 37,
            Self::InvalidLoc => 38,
            Self::SockErr => 39,
        }
    }

    /// graspy's name of the error, as in `errors.noASA`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        NAMES.get(usize::from(self.code())).map_or("unspec", |(name, _)| name)
    }
}

/// The English text of an error number, `OK` for 0 (graspy's `etext`). `None` from 40 on.
///
/// ```
/// assert_eq!(grasp::etext(12), Some("Objective already registered"));
/// ```
#[must_use]
pub fn etext(code: u8) -> Option<&'static str> {
    NAMES.get(usize::from(code)).map(|(_, text)| *text)
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
        match self {
            Self::NotStarted(error) => error.fmt(f),
            Self::PortTaken { port, cause } => write!(f, "TCP port {port} cannot be had: {cause}"),
            _ => f.write_str(etext(self.code()).unwrap_or("Unspecified error")),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotStarted(error) => Some(error.as_ref()),
            Self::PortTaken { cause, .. } => Some(cause.as_ref()),
            _ => None,
        }
    }
}

/// graspy's names and texts, by number.
const NAMES: [(&str, &str); 40] = [
    ("ok", "OK"),
    ("declined", "Declined"),
    ("noReply", "No reply"),
    ("unspec", "Unspecified error"),
    ("ASAfull", "ASA registry full"),
    ("dupASA", "Duplicate ASA name"),
    ("noASA", "ASA not registered"),
    ("notYourASA", "ASA registered but not by you"),
    ("notBoth", "Objective cannot support both negotiation and synchronization"),
    ("notDry", "Dry-run allowed only with negotiation"),
    ("notOverlap", "Overlap not supported by this implementation"),
    ("objFull", "Objective registry full"),
    ("objReg", "Objective already registered"),
    ("notYourObj", "Objective not registered by this ASA"),
    ("notObj", "Objective not found"),
    ("notNeg", "Objective not negotiable"),
    ("noSecurity", "No security"),
    ("noDiscReply", "No reply to discovery"),
    ("sockErrNegRq", "Socket error sending negotiation request"),
    ("noSession", "No session"),
    ("noSocket", "No socket"),
    ("loopExhausted", "Loop count exhausted"),
    ("sockErrNegStep", "Socket error sending negotiation step"),
    ("noPeer", "Negotiation peer not listening"),
    ("CBORfail", "CBOR decode failure"),
    ("invalidNeg", "Invalid Negotiate message"),
    ("invalidEnd", "Invalid end message"),
    ("noNegReply", "No reply to negotiation step"),
    ("noValidStep", "No valid reply to negotiation step"),
    ("sockErrWait", "Socket error sending wait message"),
    ("sockErrEnd", "Socket error sending end message"),
    ("IDclash", "Incoming request Session ID clash"),
    ("notSynch", "Not a synchronization objective"),
    ("notFloodDisc", "Not flooded and no reply to discovery"),
    ("sockErrSynRq", "Socket error sending synch request"),
    ("noListener", "Synchronization peer not listening"),
    ("noSynchReply", "No reply to synchronization request"),
    ("noValidSynch", "No valid reply to synchronization request"),
    ("invalidLoc", "Invalid locator"),
    ("sockErr", "Socket error sending gmessage"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_texts_agree() {
        assert_eq!((Error::Declined(None).code(), Error::SockErr.code()), (1, 39));
        assert_eq!(Error::NoAsa.name(), "noASA");
        assert_eq!(Error::NoPeer.to_string(), "Negotiation peer not listening");
        assert_eq!(etext(0), Some("OK"));
        assert_eq!(etext(40), None);
    }

    #[test]
    fn a_start_error_shows_its_sentence_and_its_source() {
        let error = Error::NotStarted(Arc::new(StartError::NoInterface));
        assert_eq!(error.code(), 3);
        assert!(error.to_string().contains("no usable interface"), "{error}");
        assert!(std::error::Error::source(&error).is_some());
    }
}
