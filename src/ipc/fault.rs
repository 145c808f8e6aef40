//! Errors as items of a message: `code, kind, text, detail...`. The code is graspy's number, the kind the name of the variant
//! of [`Error`], the text its sentence. A client that does not know the kind still has the number and the text.

use std::io;
use std::sync::Arc;

use crate::cbor::{DecodeError, Value};
use crate::error::{Error, Why};
use crate::start_error::StartError;

use super::form::{Form, Formed};

/// Each reason of a failed connection with its name.
const WHYS: [(Why, &str); 7] = [
    (Why::Refused, "Refused"),
    (Why::Unreachable, "Unreachable"),
    (Why::TimedOut, "TimedOut"),
    (Why::Reset, "Reset"),
    (Why::NotSecured, "NotSecured"),
    (Why::Unresolved, "Unresolved"),
    (Why::Other, "Other"),
];

/// Converts an error to its items.
pub(crate) fn form(error: &Error) -> Vec<Value> {
    let (kind, details) = parts(error);
    let mut items = vec![error.code().form(), kind.form(), error.to_string().form()];
    items.extend(details);
    items
}

/// The kind of an error, and its details. The kind of an error of graspy is graspy's name, and its number says everything.
fn parts(error: &Error) -> (&'static str, Vec<Value>) {
    match error {
        Error::Declined(reason) => ("declined", vec![reason.form()]),
        Error::PortTaken { port, cause } => ("PortTaken", vec![port.form(), cause_form(cause)]),
        Error::NotYourSession => ("NotYourSession", Vec::new()),
        Error::Stopped => ("Stopped", Vec::new()),
        Error::SessionLimit => ("SessionLimit", Vec::new()),
        Error::NoThread(cause) => ("NoThread", vec![cause_form(cause)]),
        Error::TooLarge { size, limit } => ("TooLarge", vec![size.form(), limit.form()]),
        Error::TooDeep => ("TooDeep", Vec::new()),
        Error::NoRandom => ("NoRandom", Vec::new()),
        Error::NoObjective => ("NoObjective", Vec::new()),
        Error::WrongValue(_) => ("WrongValue", Vec::new()),
        Error::OtherNamespace => ("OtherNamespace", Vec::new()),
        Error::Forked => ("Forked", Vec::new()),
        Error::NodeGone => ("NodeGone", Vec::new()),
        Error::ClientLimit(what) => ("ClientLimit", vec![(**what).form()]),
        Error::OtherProtocol(what) => ("OtherProtocol", vec![(**what).form()]),
        Error::Forbidden(what) => ("Forbidden", vec![(**what).form()]),
        Error::NotStarted(_) => ("NotStarted", Vec::new()),
        Error::Connection(failed) => {
            let why = failed.why();
            let name = WHYS.iter().find(|(known, _)| *known == why).map_or("Other", |(_, name)| name);
            let peer = failed.peer().map(|peer| peer.to_string());
            let cause = failed.cause().map_or(Value::Null, cause_form);
            ("Connection", vec![name.form(), peer.form(), cause])
        }
        plain => (plain.name(), Vec::new()),
    }
}

/// `[the system's number or null, text]`.
fn cause_form(cause: &io::Error) -> Value {
    let number = cause.raw_os_error().map(i64::from);
    Value::Array(vec![number.form(), cause.to_string().form()])
}

fn cause(value: Value) -> Option<io::Error> {
    let (number, text) = <(Option<i64>, String)>::read(value)?;
    Some(match number.and_then(|number| i32::try_from(number).ok()) {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::other(text),
    })
}

/// Converts a number and the items after it to an error; `None` if they are not an error.
pub(crate) fn read(code: u8, mut items: impl Iterator<Item = Value>) -> Option<Error> {
    let (kind, text) = (String::read(items.next()?)?, String::read(items.next()?)?);
    let mut next = || items.next().unwrap_or_default();
    Some(match kind.as_str() {
        "declined" => Error::Declined(Option::read(next())?),
        "PortTaken" => Error::PortTaken { port: u16::read(next())?, cause: Arc::new(cause(next())?) },
        "NotYourSession" => Error::NotYourSession,
        "Stopped" => Error::Stopped,
        "SessionLimit" => Error::SessionLimit,
        "NoThread" => Error::NoThread(Arc::new(cause(next())?)),
        "TooLarge" => Error::TooLarge { size: usize::read(next())?, limit: usize::read(next())? },
        "TooDeep" => Error::TooDeep,
        "NoRandom" => Error::NoRandom,
        "NoObjective" => Error::NoObjective,
        "WrongValue" => {
            Error::WrongValue(Arc::new(DecodeError::malformed("the node could not convert it").into()))
        }
        "OtherNamespace" => Error::OtherNamespace,
        "Forked" => Error::Forked,
        "NodeGone" => Error::NodeGone,
        "ClientLimit" => Error::ClientLimit(String::read(next())?.into()),
        "OtherProtocol" => Error::OtherProtocol(String::read(next())?.into()),
        "Forbidden" => Error::Forbidden(String::read(next())?.into()),
        "NotStarted" => Error::NotStarted(Arc::new(StartError::NodeRefuses(text))),
        "Connection" => {
            let name = String::read(next())?;
            let why = WHYS.iter().find(|(_, known)| *known == name).map_or(Why::Other, |(why, _)| *why);
            let peer = <Option<String>>::read(next())?.and_then(|peer| peer.parse().ok());
            let cause = match next() {
                Value::Null => None,
                known => Some(cause(known)?),
            };
            Error::of_number(code).because(why, peer, cause)
        }
        _ => Error::of_number(code),
    })
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn there_and_back(error: &Error) -> Error {
        let mut items = form(error).into_iter();
        let code = u8::read(items.next().unwrap()).unwrap();
        read(code, items).unwrap()
    }

    #[test]
    fn every_error_keeps_its_number_name_text_and_advice() {
        let cause = || Arc::new(io::Error::from_raw_os_error(98));
        let peer = "[fe80::1%3]:4711".parse().ok();
        let refused = || Some(io::Error::from_raw_os_error(111));
        let mut errors: Vec<_> = (1..40).map(Error::of_number).collect();
        errors.extend([
            Error::Declined(Some("too much".into())),
            Error::PortTaken { port: 7017, cause: cause() },
            Error::NotYourSession,
            Error::Stopped,
            Error::SessionLimit,
            Error::NoThread(cause()),
            Error::TooLarge { size: 3000, limit: 2048 },
            Error::TooDeep,
            Error::NoRandom,
            Error::NoObjective,
            Error::OtherNamespace,
            Error::Forked,
            Error::NodeGone,
            Error::ClientLimit("64 calls".into()),
            Error::OtherProtocol("version 2".into()),
            Error::Forbidden("not you".into()),
            Error::NotStarted(Arc::new(StartError::NoInterface)),
            Error::SockErrNegRq.because(Why::Refused, peer, refused()),
            Error::NoNegReply.because(Why::Reset, None, None),
            Error::SockErrSynRq.because(Why::Other, peer, Some(io::Error::other("odd"))),
        ]);
        for error in errors {
            let back = there_and_back(&error);
            assert_eq!((back.code(), back.name(), back.retry()), (error.code(), error.name(), error.retry()));
            assert_eq!((back.to_string(), format!("{back:?}")), (error.to_string(), format!("{error:?}")));
            assert_eq!((back.why(), back.source().is_some()), (error.why(), error.source().is_some()));
            assert_eq!(std::mem::discriminant(&back), std::mem::discriminant(&error), "{error}");
        }
        let wrong = Error::from(crate::wire::cbor::SerdeError::from(DecodeError::Truncated));
        assert_eq!(there_and_back(&wrong).to_string(), wrong.to_string());
    }

    #[test]
    fn an_error_of_a_later_version_has_its_number_at_least() {
        let items = ["SomethingNew", "a sentence"].map(Value::from);
        assert!(matches!(read(24, items.into_iter()), Some(Error::CborFail)));
    }
}
