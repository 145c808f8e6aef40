//! The calls of graspy's API. Each has graspy's arguments, and returns its error number with what graspy returns beside
//! it. The texts are what `help` shows.

use grasp::{
    AsaLocator, AsaNonce, Discover, Engine, Error, Negotiation, Objective, Protocol, RegisterObj,
    SessionNonce, TaggedObjective,
};
use pyo3::exceptions::{PyException, PyRuntimeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyList, PyString, PyTuple};

use crate::engine::{self, Inside, call};
use crate::objects::{
    asa, locator, locator_to_python, milliseconds, objective, objective_to_python, objective_without_value,
    session, session_to_python, tagged, type_name,
};
use crate::value::{from_python, to_python};
use crate::views;

/// graspy's numbers that are not simply those of the engine's errors.
const OK: u8 = 0;
const NO_REPLY: u8 = 2;
const UNSPEC: u8 = 3;
const CBOR_FAIL: u8 = 24;

/// An error number alone, an error number and a result, and so on.
type Code = PyResult<u8>;
type Pair<'py> = PyResult<(u8, Option<Bound<'py, PyAny>>)>;
type Triple<'py> = PyResult<(u8, Option<Bound<'py, PyAny>>, Option<Bound<'py, PyAny>>)>;

/// The number of an error. What has no number of its own, and needs a sentence, is raised.
fn code(error: &Error) -> Code {
    match error {
        Error::NotStarted(why) => Err(PyRuntimeError::new_err(why.to_string())),
        other => Ok(other.code()),
    }
}

fn code_of(result: grasp::Result<()>) -> Code {
    result.map_or_else(|error| code(&error), |()| Ok(OK))
}

/// What was received, in Python. Nothing where a tag in it has a content that its type cannot have, which graspy
/// cannot decode.
fn readable<'py>(
    py: Python<'py>,
    converted: PyResult<Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    match converted {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.is_instance_of::<PyException>(py) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Registers an ASA under a unique name, and starts GRASP if it does not run yet.
///
/// Returns (0, handle), or (errorcode, None): ASAfull, dupASA. The handle identifies the ASA in all further calls.
#[pyfunction]
pub(crate) fn _register_asa<'py>(py: Python<'py>, asa_name: &Bound<'py, PyAny>) -> Pair<'py> {
    let inside = &Inside::enter(py);
    let name = asa_name.cast::<PyString>().map_err(|_| {
        PyTypeError::new_err(format!("the name of an ASA must be text, not {}", type_name(asa_name)))
    })?;
    let name = name.to_cow()?.into_owned();
    match call(py, inside, |engine| engine.register_asa(&name))? {
        Ok(handle) => Ok((OK, Some(handle.id().into_pyobject(py)?.into_any()))),
        Err(error) => Ok((code(&error)?, None)),
    }
}

/// Deregisters an ASA and all its objectives. Its sessions end, and its threads that listen return noSession.
///
/// Returns 0 or an errorcode: noASA, notYourASA. Happens by itself when the process ends.
#[pyfunction]
pub(crate) fn deregister_asa(
    py: Python<'_>,
    asa_handle: &Bound<'_, PyAny>,
    asa_name: &Bound<'_, PyAny>,
) -> Code {
    let inside = &Inside::enter(py);
    let handle = asa(asa_handle);
    // A name that is no text is nobody's.
    let Ok(name) = asa_name.extract::<String>() else { return Ok(Error::NoAsa.code()) };
    let result = call(py, inside, |engine| engine.deregister_asa(handle, &name))?;
    code_of(result)
}

/// Registers an objective that this ASA may negotiate, synchronize or flood.
///
/// ttl: how long discovered locators of it are valid, in milliseconds; 600000 by default.
/// discoverable: it can be discovered at once, otherwise while the ASA listens.
/// overlap: other ASAs may register it too.
/// local: it is announced with the link-local address.
/// rapid: its value goes into the responses to discoveries (for synchronization only).
/// locators: a list of asa_locator to announce instead of this node's address.
///
/// Returns 0 or an errorcode: noASA, notBoth, notDry, objFull, objReg, invalidLoc.
#[pyfunction]
#[pyo3(signature = (asa_handle, obj, ttl=None, discoverable=None, overlap=None, local=None, rapid=None, locators=None),
       text_signature = "(asa_handle, obj, ttl=None, discoverable=False, overlap=False, local=False, rapid=False, locators=[])")]
#[allow(clippy::too_many_arguments, reason = "graspy's")]
pub(crate) fn register_obj(
    py: Python<'_>,
    asa_handle: &Bound<'_, PyAny>,
    obj: &Bound<'_, PyAny>,
    ttl: Option<&Bound<'_, PyAny>>,
    discoverable: Option<&Bound<'_, PyAny>>,
    overlap: Option<&Bound<'_, PyAny>>,
    local: Option<&Bound<'_, PyAny>>,
    rapid: Option<&Bound<'_, PyAny>>,
    locators: Option<&Bound<'_, PyAny>>,
) -> Code {
    let inside = &Inside::enter(py);
    let handle = asa(asa_handle);
    // graspy registers a copy, which can always be discovered.
    let objective = Objective { discoverable: true, ..objective(obj)? };
    let set = |flag: Option<&Bound<'_, PyAny>>| flag.map_or(Ok(false), |flag| flag.is_truthy());
    let mut options = RegisterObj {
        // Whatever is no positive integer is the default, as in graspy.
        ttl: ttl.filter(|ttl| ttl.is_exact_instance_of::<PyInt>()).and_then(|ttl| ttl.extract().ok()),
        discoverable: set(discoverable)?,
        overlap: set(overlap)?,
        local: set(local)?,
        rapid: set(rapid)?,
        ..RegisterObj::default()
    };
    if let Some(locators) = locators.filter(|locators| !locators.is_none()) {
        for one in locators.try_iter()? {
            let given = locator(&one?)?;
            options.locators.push(given.unwrap_or_else(AsaLocator::null));
        }
    }
    let name = objective.name.clone();
    let result = call(py, inside, |engine| engine.register_obj(handle, &objective, options))?;
    if result.is_ok() {
        views::registered(name);
    }
    code_of(result)
}

/// Deregisters an objective, by its name.
///
/// Returns 0 or an errorcode: noASA, notObj, notYourObj.
#[pyfunction]
pub(crate) fn deregister_obj(py: Python<'_>, asa_handle: &Bound<'_, PyAny>, obj: &Bound<'_, PyAny>) -> Code {
    let inside = &Inside::enter(py);
    let (handle, objective) = (asa(asa_handle), objective_without_value(obj)?);
    let result = call(py, inside, |engine| engine.deregister_obj(handle, &objective))?;
    code_of(result)
}

/// Finds the ASAs in the network that support an objective.
///
/// timeout: in milliseconds; at least 100 for each count of obj.loop_count, which is also the default. What is cached
/// is returned at once; otherwise answers are collected until the timeout is over.
/// flush: forget what is cached first.
/// minimum_TTL: forget what is cached and expires within so many milliseconds; 0 forgets all.
///
/// Returns (0, list of asa_locator), which may be empty, or (errorcode, []): noSecurity, notBoth, noASA, notYourObj.
#[pyfunction]
#[pyo3(signature = (asa_handle, obj, timeout, flush=None, minimum_TTL=None, relay_ifi=None, relay_shandle=None),
       text_signature = "(asa_handle, obj, timeout, flush=False, minimum_TTL=-1)")]
#[allow(non_snake_case, clippy::too_many_arguments, reason = "graspy's names")]
pub(crate) fn discover<'py>(
    py: Python<'py>,
    asa_handle: &Bound<'py, PyAny>,
    obj: &Bound<'py, PyAny>,
    timeout: &Bound<'py, PyAny>,
    flush: Option<&Bound<'py, PyAny>>,
    minimum_TTL: Option<&Bound<'py, PyAny>>,
    relay_ifi: Option<&Bound<'py, PyAny>>,
    relay_shandle: Option<&Bound<'py, PyAny>>,
) -> PyResult<(u8, Bound<'py, PyList>)> {
    let inside = &Inside::enter(py);
    // graspy's own threads use these to relay: here the engine relays.
    let _ = (relay_ifi, relay_shandle);
    let (handle, objective) = (asa(asa_handle), objective_without_value(obj)?);
    let time = milliseconds_or_none("timeout", timeout)?;
    let flush = flush.map_or(Ok(false), |flush| flush.is_truthy())?;
    let minimum_ttl = match minimum_TTL.filter(|least| !least.is_none()) {
        Some(least) if least.lt(0)? => None,
        Some(least) => Some(milliseconds("minimum_TTL", least)?.unwrap_or(0)),
        None => None,
    };
    let options = Discover { flush, minimum_ttl, ..Discover::default() };
    let found = call(py, inside, |engine| {
        if objective.neg {
            owned(engine, handle, &objective)?;
        }
        engine.discover(handle, &objective, time, options)
    })?;
    if found.is_ok() && is_dull()? {
        obj.setattr(intern!(py, "loop_count"), 1)?;
    }
    let list = PyList::empty(py);
    match found {
        Ok(found) => {
            for one in &found {
                list.append(locator_to_python(py, one)?)?;
            }
            Ok((OK, list))
        }
        Err(error) => Ok((code(&error)?, list)),
    }
}

/// A negative time is none, where graspy accepts it.
fn milliseconds_or_none(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Option<u32>> {
    let negative = object.is_instance_of::<PyInt>() && object.lt(0)?;
    if negative { Ok(None) } else { milliseconds(name, object) }
}

/// graspy lets only those discover an objective to be negotiated who have registered it; the engine does not mind.
fn owned(engine: &Engine, handle: AsaNonce, objective: &Objective) -> grasp::Result<()> {
    let state = engine.state();
    let mays = state.secure || state.dull;
    if !mays || objective.synch || !is_registered(engine, handle) {
        // The call itself says what is wrong.
        return Ok(());
    }
    let views = engine.objectives();
    let registered = views.iter().find(|view| view.objective.name == objective.name);
    if registered.is_some_and(|view| view.owners.contains(&handle)) { Ok(()) } else { Err(Error::NotYourObj) }
}

fn is_registered(engine: &Engine, handle: AsaNonce) -> bool {
    engine.asas().iter().any(|asa| asa.nonce == handle)
}

fn is_dull() -> PyResult<bool> {
    Ok(engine::current()?.is_some_and(|engine| engine.state().dull))
}

/// A peer: `None` where it is to be discovered.
fn peer(object: &Bound<'_, PyAny>) -> PyResult<Option<AsaLocator>> {
    if object.is_none() { Ok(None) } else { Ok(Some(locator(object)?.unwrap_or_else(AsaLocator::null))) }
}

/// Asks a peer to negotiate an objective.
///
/// obj: the objective with the wanted value.
/// peer: an asa_locator; None to discover one.
/// timeout: in milliseconds; 60000 by default.
/// noloop: do not wait for an answer, but use gsend() and grecv() with this session; returns (noReply, session, None).
///
/// Returns one of
///   (0, None, objective)     the peer agrees; the session is over
///   (0, session, objective)  the peer offers another value: use that objective for the next step
///   (declined, None, reason) the peer declines
///   (errorcode, None, None)  anything else: wait before you ask again
#[pyfunction]
#[pyo3(signature = (asa_handle, obj, peer, timeout, noloop=None),
       text_signature = "(asa_handle, obj, peer, timeout, noloop=False)")]
pub(crate) fn req_negotiate<'py>(
    py: Python<'py>,
    asa_handle: &Bound<'py, PyAny>,
    obj: &Bound<'py, PyAny>,
    peer: &Bound<'py, PyAny>,
    timeout: &Bound<'py, PyAny>,
    noloop: Option<&Bound<'py, PyAny>>,
) -> Triple<'py> {
    let inside = &Inside::enter(py);
    let (handle, objective) = (asa(asa_handle), objective(obj)?);
    let (peer, time) = (self::peer(peer)?, milliseconds("timeout", timeout)?);
    if noloop.map_or(Ok(false), |noloop| noloop.is_truthy())? {
        let opened =
            call(py, inside, |engine| engine.req_negotiate_noloop(handle, &objective, peer.as_ref(), time))?;
        return match opened {
            Ok(session) => Ok((NO_REPLY, Some(session_to_python(py, session)?), None)),
            Err(error) => Ok((code(&error)?, None, None)),
        };
    }
    let reply = call(py, inside, |engine| engine.req_negotiate(handle, &objective, peer.as_ref(), time))?;
    negotiated(py, inside, handle, obj, reply)
}

/// Goes on with a negotiation: offers another value.
///
/// obj: the objective as it was last returned, with a new value.
/// timeout: in milliseconds; 60000 by default.
///
/// Returns the same as req_negotiate().
#[pyfunction]
pub(crate) fn negotiate_step<'py>(
    py: Python<'py>,
    asa_handle: &Bound<'py, PyAny>,
    shandle: &Bound<'py, PyAny>,
    obj: &Bound<'py, PyAny>,
    timeout: &Bound<'py, PyAny>,
) -> Triple<'py> {
    let inside = &Inside::enter(py);
    let (handle, session) = (asa(asa_handle), session(shandle)?);
    let (objective, time) = (objective(obj)?, milliseconds("timeout", timeout)?);
    let reply = call(py, inside, |engine| engine.negotiate_step(handle, session, &objective, time))?;
    negotiated(py, inside, handle, obj, reply)
}

/// The result of a request or a step. Where the peer agrees it is the caller's own objective, as in graspy.
fn negotiated<'py>(
    py: Python<'py>,
    inside: &Inside,
    handle: AsaNonce,
    own: &Bound<'py, PyAny>,
    reply: grasp::Result<Negotiation>,
) -> Triple<'py> {
    match reply {
        Ok(Negotiation::Agreed(_)) => Ok((OK, None, Some(own.clone()))),
        Ok(Negotiation::Offer(session, offer)) => match readable(py, objective_to_python(py, &offer))? {
            Some(offer) => Ok((OK, Some(session_to_python(py, session)?), Some(offer))),
            None => {
                give_up(py, inside, handle, session)?;
                Ok((CBOR_FAIL, None, None))
            }
        },
        Err(Error::Declined(reason)) => {
            let reason = reason.map(|reason| PyString::new(py, &reason).into_any());
            Ok((Error::Declined(None).code(), None, reason))
        }
        Err(error) => Ok((code(&error)?, None, None)),
    }
}

/// Ends a session whose peer has sent what cannot be read.
fn give_up(py: Python<'_>, inside: &Inside, handle: AsaNonce, session: SessionNonce) -> PyResult<()> {
    // The peer may have ended it.
    let _ = call(py, inside, |engine| engine.end_negotiate(handle, session, false, None))?;
    Ok(())
}

/// Asks the peer to wait so many milliseconds for the next step; 60000 by default. Does not wait itself.
///
/// Returns 0 or an errorcode.
#[pyfunction]
pub(crate) fn negotiate_wait(
    py: Python<'_>,
    asa_handle: &Bound<'_, PyAny>,
    shandle: &Bound<'_, PyAny>,
    timeout: &Bound<'_, PyAny>,
) -> Code {
    let inside = &Inside::enter(py);
    let (handle, session, time) = (asa(asa_handle), session(shandle)?, milliseconds("timeout", timeout)?);
    let result = call(py, inside, |engine| engine.negotiate_wait(handle, session, time))?;
    code_of(result)
}

/// Ends a negotiation.
///
/// result: True to accept what the peer last offered, False to decline.
/// reason: why it is declined.
///
/// Returns 0 or an errorcode; noSession, after the session has ended, does no harm.
#[pyfunction]
#[pyo3(signature = (asa_handle, shandle, result, reason=None))]
pub(crate) fn end_negotiate(
    py: Python<'_>,
    asa_handle: &Bound<'_, PyAny>,
    shandle: &Bound<'_, PyAny>,
    result: &Bound<'_, PyAny>,
    reason: Option<&Bound<'_, PyAny>>,
) -> Code {
    let inside = &Inside::enter(py);
    let (handle, session, accept) = (asa(asa_handle), session(shandle)?, result.is_truthy()?);
    let reason = match reason.filter(|reason| !accept && !reason.is_none()) {
        Some(reason) => Some(reason.extract::<String>().map_err(|_| {
            PyTypeError::new_err(format!("the reason must be text, not {}", type_name(reason)))
        })?),
        None => None,
    };
    let ended = call(py, inside, |engine| engine.end_negotiate(handle, session, accept, reason.as_deref()))?;
    code_of(ended)
}

/// Tells the peer that its last message was invalid, and ends the session.
///
/// info: any value that helps to find out what was wrong.
///
/// Returns 0 or an errorcode.
#[pyfunction]
#[pyo3(signature = (asa_handle, shandle, info=None),
       text_signature = "(asa_handle, shandle, info='No information')")]
pub(crate) fn send_invalid(
    py: Python<'_>,
    asa_handle: &Bound<'_, PyAny>,
    shandle: &Bound<'_, PyAny>,
    info: Option<&Bound<'_, PyAny>>,
) -> Code {
    let inside = &Inside::enter(py);
    let (handle, session, info) = (asa(asa_handle), session(shandle)?, info.map(from_python).transpose()?);
    let result = call(py, inside, |engine| engine.send_invalid(handle, session, info))?;
    code_of(result)
}

/// Waits, without limit, for a peer that asks to negotiate an objective. It can be discovered from now on.
///
/// Call it again for the next request, or in several threads: peers are refused while nobody listens.
///
/// Returns (0, session, objective) with the value that the peer wants, or (errorcode, None, None). After
/// stop_negotiate() or a deregistration that is noSession.
#[pyfunction]
pub(crate) fn listen_negotiate<'py>(
    py: Python<'py>,
    asa_handle: &Bound<'py, PyAny>,
    obj: &Bound<'py, PyAny>,
) -> Triple<'py> {
    let inside = &Inside::enter(py);
    let (handle, objective) = (asa(asa_handle), objective_without_value(obj)?);
    loop {
        match call(py, inside, |engine| engine.listen_negotiate(handle, &objective))? {
            Ok((session, asked)) => match readable(py, objective_to_python(py, &asked))? {
                Some(asked) => return Ok((OK, Some(session_to_python(py, session)?), Some(asked))),
                // A request that cannot be read is refused, and the ASA goes on listening.
                None => give_up(py, inside, handle, session)?,
            },
            Err(error) => return Ok((code(&error)?, None, None)),
        }
    }
}

/// Stops listening for requests to negotiate an objective: listen_negotiate() returns noSession.
///
/// Returns 0 or an errorcode.
#[pyfunction]
pub(crate) fn stop_negotiate(py: Python<'_>, asa_handle: &Bound<'_, PyAny>, obj: &Bound<'_, PyAny>) -> Code {
    let inside = &Inside::enter(py);
    let (handle, objective) = (asa(asa_handle), objective_without_value(obj)?);
    let result = call(py, inside, |engine| engine.stop_negotiate(handle, &objective))?;
    code_of(result)
}

/// Sends any value to the peer of a session. Not in RFC 8991.
///
/// Returns 0 or an errorcode.
#[pyfunction]
pub(crate) fn gsend(
    py: Python<'_>,
    asa_handle: &Bound<'_, PyAny>,
    shandle: &Bound<'_, PyAny>,
    message: &Bound<'_, PyAny>,
) -> Code {
    let inside = &Inside::enter(py);
    let (handle, session, message) = (asa(asa_handle), session(shandle)?, from_python(message)?);
    let result = call(py, inside, |engine| engine.gsend(handle, session, &message))?;
    code_of(result)
}

/// Receives a value from the peer of a session within a timeout in milliseconds, which must be given. Not in RFC 8991.
///
/// Returns (0, value) or (errorcode, None). Any error ends the session.
#[pyfunction]
pub(crate) fn grecv<'py>(
    py: Python<'py>,
    asa_handle: &Bound<'py, PyAny>,
    shandle: &Bound<'py, PyAny>,
    timeout: &Bound<'py, PyAny>,
) -> Pair<'py> {
    let inside = &Inside::enter(py);
    let (handle, session) = (asa(asa_handle), session(shandle)?);
    if timeout.is_none() {
        return Err(PyTypeError::new_err("grecv needs a timeout in milliseconds, not None"));
    }
    let time = milliseconds("timeout", timeout)?.unwrap_or(0);
    match call(py, inside, |engine| engine.grecv(handle, session, time))? {
        Ok(value) => match readable(py, to_python(py, &value))? {
            Some(value) => Ok((OK, Some(value))),
            None => {
                give_up(py, inside, handle, session)?;
                Ok((CBOR_FAIL, None))
            }
        },
        Err(error) => Ok((code(&error)?, None)),
    }
}

/// Gets the current value of an objective, which this ASA need not have registered.
///
/// loc: the asa_locator to ask; None takes a flooded value, or discovers whom to ask.
/// timeout: in milliseconds; 60000 by default.
///
/// Returns (0, objective) or (errorcode, None).
#[pyfunction]
pub(crate) fn synchronize<'py>(
    py: Python<'py>,
    asa_handle: &Bound<'py, PyAny>,
    obj: &Bound<'py, PyAny>,
    loc: &Bound<'py, PyAny>,
    timeout: &Bound<'py, PyAny>,
) -> Pair<'py> {
    let inside = &Inside::enter(py);
    let (handle, objective) = (asa(asa_handle), objective(obj)?);
    let (peer, time) = (peer(loc)?, milliseconds("timeout", timeout)?);
    let value = call(py, inside, |engine| {
        let is_flooded =
            peer.is_none() && engine.get_flood(handle, &objective).is_ok_and(|found| !found.is_empty());
        let mut value = engine.synchronize(handle, &objective, peer.as_ref(), time)?;
        let came_with_discovery = || {
            let cached = engine.discovery_cache();
            cached.iter().any(|view| view.name == objective.name && view.rapid.is_some())
        };
        // graspy counts the way of a value that was asked for.
        if !is_flooded && (peer.is_some() || !came_with_discovery()) {
            value.loop_count = value.loop_count.saturating_sub(1);
        }
        Ok(value)
    })?;
    match value {
        Ok(received) => match readable(py, objective_to_python(py, &received))? {
            Some(received) => Ok((OK, Some(received))),
            None => Ok((CBOR_FAIL, None)),
        },
        Err(error) => Ok((code(&error)?, None)),
    }
}

/// Serves the value of an objective to whoever asks. Returns at once; call it again when the value changes.
///
/// Returns 0 or an errorcode.
#[pyfunction]
pub(crate) fn listen_synchronize(
    py: Python<'_>,
    asa_handle: &Bound<'_, PyAny>,
    obj: &Bound<'_, PyAny>,
) -> Code {
    let inside = &Inside::enter(py);
    let (handle, objective) = (asa(asa_handle), objective(obj)?);
    let result = call(py, inside, |engine| engine.listen_synchronize(handle, &objective))?;
    code_of(result)
}

/// Stops serving the value of an objective.
///
/// Returns 0 or an errorcode.
#[pyfunction]
pub(crate) fn stop_synchronize(
    py: Python<'_>,
    asa_handle: &Bound<'_, PyAny>,
    obj: &Bound<'_, PyAny>,
) -> Code {
    let inside = &Inside::enter(py);
    let (handle, objective) = (asa(asa_handle), objective_without_value(obj)?);
    let result = call(py, inside, |engine| engine.stop_synchronize(handle, &objective))?;
    code_of(result)
}

/// Sends the values of objectives to all nodes of the network.
///
/// ttl: how long they are valid, in milliseconds; 0 is for ever.
/// tagged_obj: one tagged_objective or several, or a list of them. A locator with the address :: in the first makes it a
/// flood for the links only, with each link's own address in its place.
///
/// Returns 0 or an errorcode: noSecurity, unspec, notBoth, notSynch, noASA, notYourObj, invalidLoc.
#[pyfunction]
#[pyo3(signature = (asa_handle, ttl, *tagged_obj))]
pub(crate) fn flood(
    py: Python<'_>,
    asa_handle: &Bound<'_, PyAny>,
    ttl: &Bound<'_, PyAny>,
    tagged_obj: &Bound<'_, PyTuple>,
) -> Code {
    let inside = &Inside::enter(py);
    let handle = asa(asa_handle);
    let mut given = Vec::new();
    for one in tagged_obj.iter() {
        if let Ok(list) = one.cast_exact::<PyList>() {
            given = list.iter().collect();
            break;
        }
        if type_name(&one) != "tagged_objective" {
            return Ok(UNSPEC);
        }
        given.push(one);
    }
    let ttl = milliseconds_or_none("ttl", ttl)?.unwrap_or(0);
    let mut objectives = Vec::new();
    for one in &given {
        let (objective, source) = tagged(one)?;
        let source = if source.is_none() { None } else { locator_to_flood(&source)? };
        objectives.push(TaggedObjective::new(objective, source));
    }
    let Some(first) = objectives.first() else { return Ok(UNSPEC) };
    let unspecified = std::net::Ipv6Addr::UNSPECIFIED.into();
    let link_only = is_dull()? || first.source.locator == Some(unspecified);
    let result = call(py, inside, |engine| engine.flood(handle, ttl, &objectives))?;
    if result.is_ok()
        && link_only
        && let Some(first) = given.first()
    {
        first.getattr(intern!(py, "objective"))?.setattr(intern!(py, "loop_count"), 1)?;
    }
    code_of(result)
}

/// A locator, or none. One that does not say of which kind it is cannot be sent: `invalidLoc`.
fn locator_to_flood(source: &Bound<'_, PyAny>) -> PyResult<Option<AsaLocator>> {
    let py = source.py();
    if source.getattr(intern!(py, "locator"))?.is_none() {
        return Ok(None);
    }
    let mut is_any = false;
    for kind in [intern!(py, "is_ipaddress"), intern!(py, "is_fqdn"), intern!(py, "is_uri")] {
        is_any |= source.getattr(kind)?.is_truthy()?;
    }
    if !is_any {
        return Ok(Some(AsaLocator { protocol: None, ..AsaLocator::fqdn("", Protocol::Tcp, 0) }));
    }
    locator(source)
}

/// The values of an objective that have been flooded and are valid, oldest first.
///
/// Returns (0, list of tagged_objective), which may be empty, or (errorcode, None): noASA, notSynch.
#[pyfunction]
pub(crate) fn get_flood<'py>(
    py: Python<'py>,
    asa_handle: &Bound<'py, PyAny>,
    obj: &Bound<'py, PyAny>,
) -> Pair<'py> {
    let inside = &Inside::enter(py);
    let (handle, objective) = (asa(asa_handle), objective_without_value(obj)?);
    match call(py, inside, |engine| engine.get_flood(handle, &objective))? {
        Ok(found) => Ok((OK, Some(views::floods_to_python(py, &objective.name, &found)?.into_any()))),
        Err(error) => Ok((code(&error)?, None)),
    }
}

/// Forgets a value that get_flood() has returned, because it is stale.
///
/// Returns 0 or noASA. A value that is not known any more is none.
#[pyfunction]
pub(crate) fn expire_flood(
    py: Python<'_>,
    asa_handle: &Bound<'_, PyAny>,
    tagged_obj: &Bound<'_, PyAny>,
) -> Code {
    let inside = &Inside::enter(py);
    let handle = asa(asa_handle);
    let stale = views::flood_of(tagged_obj);
    let result = call(py, inside, |engine| match &stale {
        Some(stale) => engine.expire_flood(handle, stale),
        None if is_registered(engine, handle) => Ok(()),
        None => Err(Error::NoAsa),
    })?;
    if result.is_ok() && stale.is_some() {
        views::mark_expired(tagged_obj)?;
    }
    code_of(result)
}
