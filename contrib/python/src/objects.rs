//! The objects of `grasp` (objectives, locators, handles) as the engine's types and back. What a program passes may be
//! of any class, if it has the attributes: so it is in graspy.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use grasp::{
    AsaLocator, AsaNonce, Locator, Objective, Protocol, SessionNonce, TaggedObjective, Value, monotonic_ms,
};
use parking_lot::Mutex;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyString};

use crate::value::{self, objective_value};

/// The classes that results are made of, and what else of Python they need.
#[derive(Debug)]
pub(crate) struct Classes {
    objective: Py<PyAny>,
    asa_locator: Py<PyAny>,
    tagged_objective: Py<PyAny>,
    session_handle: Py<PyAny>,
    ip_address: Py<PyAny>,
    monotonic: Py<PyAny>,
}

static CLASSES: Mutex<Option<Classes>> = Mutex::new(None);

/// Takes the classes of `grasp._types`, again if that module is imported once more.
#[pyfunction]
pub(crate) fn _bind(
    objective: Py<PyAny>,
    asa_locator: Py<PyAny>,
    tagged_objective: Py<PyAny>,
    session_handle: Py<PyAny>,
    ip_address: Py<PyAny>,
    monotonic: Py<PyAny>,
) {
    let classes = Classes { objective, asa_locator, tagged_objective, session_handle, ip_address, monotonic };
    let before = CLASSES.lock().replace(classes);
    // What goes runs Python code: it goes without the lock.
    drop(before);
}

/// One of the classes.
fn class<'py>(py: Python<'py>, which: impl FnOnce(&Classes) -> &Py<PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let classes = CLASSES.lock();
    let classes = classes.as_ref().ok_or_else(|| PyTypeError::new_err("grasp._types is not imported"))?;
    Ok(which(classes).clone_ref(py).into_bound(py))
}

/// The handle of an ASA. Whatever is no handle becomes one that nobody has, as in graspy, where it is `noASA`.
pub(crate) fn asa(handle: &Bound<'_, PyAny>) -> AsaNonce {
    AsaNonce::from_id(handle.cast::<PyInt>().ok().and_then(|number| number.extract().ok()).unwrap_or(0))
}

/// The handle of a session: anything with `id_value` and `id_source`.
pub(crate) fn session(handle: &Bound<'_, PyAny>) -> PyResult<SessionNonce> {
    let py = handle.py();
    let wrong = || {
        let kind = type_name(handle);
        PyTypeError::new_err(format!("a session handle is needed, as a negotiation returns it, not {kind}"))
    };
    let id_value = handle.getattr(intern!(py, "id_value")).map_err(|_| wrong())?;
    let id_source = handle.getattr(intern!(py, "id_source")).map_err(|_| wrong())?;
    let id_source = if id_source.is_none() {
        None
    } else {
        let packed: [u8; 16] = id_source.extract().map_err(|_| wrong())?;
        Some(Ipv6Addr::from(packed))
    };
    Ok(SessionNonce { id_value: id_value.extract().map_err(|_| wrong())?, id_source })
}

pub(crate) fn session_to_python<'py>(py: Python<'py>, session: SessionNonce) -> PyResult<Bound<'py, PyAny>> {
    let source = session.id_source.map(|address| PyBytes::new(py, &address.octets()));
    class(py, |classes| &classes.session_handle)?.call1((session.id_value, source))
}

const OBJECTIVE: &str = "an objective";
const LOCATOR: &str = "an asa_locator";

/// An objective with its value.
pub(crate) fn objective(object: &Bound<'_, PyAny>) -> PyResult<Objective> {
    let value = attribute(object, OBJECTIVE, intern!(object.py(), "value"))?;
    Ok(Objective { value: objective_value(&value)?, ..objective_without_value(object)? })
}

/// An objective for calls that do not use its value.
pub(crate) fn objective_without_value(object: &Bound<'_, PyAny>) -> PyResult<Objective> {
    let py = object.py();
    let name = attribute(object, OBJECTIVE, intern!(py, "name"))?;
    let name = name.cast::<PyString>().ok().and_then(|name| name.to_cow().ok().map(Cow::into_owned));
    let flag = |name| attribute(object, OBJECTIVE, name)?.is_truthy();
    Ok(Objective {
        name: name.ok_or_else(|| PyTypeError::new_err("the name of an objective must be text"))?,
        neg: flag(intern!(py, "neg"))?,
        dry: flag(intern!(py, "dry"))?,
        synch: flag(intern!(py, "synch"))?,
        discoverable: flag(intern!(py, "discoverable"))?,
        loop_count: loop_count(&attribute(object, OBJECTIVE, intern!(py, "loop_count"))?)?,
        value: Value::Null,
    })
}

/// An attribute of what should be `wanted`.
fn attribute<'py>(
    object: &Bound<'py, PyAny>,
    wanted: &str,
    name: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    object.getattr(name).map_err(|_| {
        PyTypeError::new_err(format!("{wanted} is needed, and this {} has no {name}", type_name(object)))
    })
}

/// RFC 8990 §2.10.4 has 0 to 255. graspy sends any integer: those beyond become the nearest.
fn loop_count(object: &Bound<'_, PyAny>) -> PyResult<u8> {
    let number = object.cast::<PyInt>().map_err(|_| {
        PyTypeError::new_err(format!("loop_count must be an integer, not {}", type_name(object)))
    })?;
    match number.extract::<i64>() {
        Ok(count) => Ok(u8::try_from(count.clamp(0, 255)).unwrap_or(u8::MAX)),
        Err(_) => Ok(if number.lt(0)? { 0 } else { u8::MAX }),
    }
}

/// A received objective, as a new object.
pub(crate) fn objective_to_python<'py>(py: Python<'py>, received: &Objective) -> PyResult<Bound<'py, PyAny>> {
    let value = value::objective_to_python(py, &received.value)?;
    let object = class(py, |classes| &classes.objective)?.call1((received.name.as_str(),))?;
    for (name, set) in [
        (intern!(py, "neg"), received.neg),
        (intern!(py, "dry"), received.dry),
        (intern!(py, "synch"), received.synch),
    ] {
        if set {
            object.setattr(name, true)?;
        }
    }
    object.setattr(intern!(py, "loop_count"), received.loop_count)?;
    if !value.is_none() {
        object.setattr(intern!(py, "value"), value)?;
    }
    Ok(object)
}

/// A locator. `None` where it is the null tag.
pub(crate) fn locator<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<AsaLocator>> {
    let py = object.py();
    let get = |name| attribute(object, LOCATOR, name);
    let place = get(intern!(py, "locator"))?;
    if place.is_none() {
        return Ok(None);
    }
    let locator = if let Ok(text) = place.cast::<PyString>() {
        let text = text.to_cow()?.into_owned();
        if get(intern!(py, "is_uri"))?.is_truthy()? {
            Locator::Uri(text)
        } else if get(intern!(py, "is_fqdn"))?.is_truthy()? {
            Locator::Fqdn(text)
        } else {
            return Err(PyTypeError::new_err(
                "a locator that is text needs is_fqdn or is_uri; an address must be an ipaddress object",
            ));
        }
    } else {
        Locator::from(address(&place)?)
    };
    let ifi = get(intern!(py, "ifi"))?;
    let ifi = ifi.extract::<u32>().ok().filter(|ifi| *ifi > 0);
    let number = |name: &Bound<'py, PyString>| -> PyResult<Option<u16>> {
        let object = attribute(object, LOCATOR, name)?;
        if object.is_none() {
            return Ok(None);
        }
        let wrong = |_| PyTypeError::new_err(format!("{name} must be None or an integer from 0 to 65535"));
        object.extract().map(Some).map_err(wrong)
    };
    let protocol = number(intern!(py, "protocol"))?.map(|number| Protocol::from_number(number.into()));
    let port = number(intern!(py, "port"))?;
    Ok(Some(AsaLocator { locator: Some(locator), ifi, protocol, port, ..AsaLocator::null() }))
}

/// The address of an `ipaddress` object.
fn address(object: &Bound<'_, PyAny>) -> PyResult<IpAddr> {
    let packed = object.getattr(intern!(object.py(), "packed")).ok();
    let bytes =
        packed.as_ref().and_then(|packed| packed.cast::<PyBytes>().ok()).map(|bytes| bytes.as_bytes());
    let address = bytes.and_then(|bytes| {
        let wide = <[u8; 16]>::try_from(bytes).map(|octets| IpAddr::from(Ipv6Addr::from(octets)));
        wide.or_else(|_| <[u8; 4]>::try_from(bytes).map(|octets| IpAddr::from(Ipv4Addr::from(octets)))).ok()
    });
    address.ok_or_else(|| {
        PyTypeError::new_err(format!("a locator must be an ipaddress object, not {}", type_name(object)))
    })
}

/// An address as an `ipaddress` object.
pub(crate) fn address_to_python<'py>(py: Python<'py>, address: IpAddr) -> PyResult<Bound<'py, PyAny>> {
    let octets = match address {
        IpAddr::V4(address) => PyBytes::new(py, &address.octets()),
        IpAddr::V6(address) => PyBytes::new(py, &address.octets()),
    };
    class(py, |classes| &classes.ip_address)?.call1((octets,))
}

/// A locator, as a new object.
pub(crate) fn locator_to_python<'py>(py: Python<'py>, locator: &AsaLocator) -> PyResult<Bound<'py, PyAny>> {
    let (place, kind) = match &locator.locator {
        None => (py.None().into_bound(py), None),
        Some(Locator::Ipv6(address)) => {
            (address_to_python(py, (*address).into())?, Some(intern!(py, "is_ipaddress")))
        }
        Some(Locator::Ipv4(address)) => {
            (address_to_python(py, (*address).into())?, Some(intern!(py, "is_ipaddress")))
        }
        Some(Locator::Fqdn(name)) => (PyString::new(py, name).into_any(), Some(intern!(py, "is_fqdn"))),
        Some(Locator::Uri(uri)) => (PyString::new(py, uri).into_any(), Some(intern!(py, "is_uri"))),
        Some(_) => (py.None().into_bound(py), None),
    };
    let object = class(py, |classes| &classes.asa_locator)?.call1((place, locator.ifi, locator.diverted))?;
    if let Some(kind) = kind {
        object.setattr(kind, true)?;
    }
    object.setattr(intern!(py, "protocol"), locator.protocol.map(Protocol::number))?;
    object.setattr(intern!(py, "port"), locator.port)?;
    if locator.expire > 0 {
        object.setattr(intern!(py, "expire"), expiry(py, locator.expire)?)?;
    }
    Ok(object)
}

/// Milliseconds of the engine's clock as seconds of Python's `time.monotonic`, which is never 0: that is never.
fn expiry(py: Python<'_>, expire: u64) -> PyResult<i64> {
    let now: f64 = class(py, |classes| &classes.monotonic)?.call0()?.extract()?;
    let left = i64::try_from(expire).unwrap_or(i64::MAX).saturating_sub_unsigned(monotonic_ms());
    // A time that is exact to a second must not be later than the real one.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "times of some years")]
    let seconds = (now + left as f64 / 1000.0).floor() as i64;
    Ok(seconds.max(1))
}

/// A tagged objective, as it is flooded.
pub(crate) fn tagged<'py>(object: &Bound<'py, PyAny>) -> PyResult<(Objective, Bound<'py, PyAny>)> {
    let py = object.py();
    let get = |name| attribute(object, "a tagged_objective", name);
    Ok((objective(&get(intern!(py, "objective"))?)?, get(intern!(py, "source"))?))
}

pub(crate) fn tagged_to_python<'py>(
    py: Python<'py>,
    tagged: &TaggedObjective,
) -> PyResult<Bound<'py, PyAny>> {
    let objective = objective_to_python(py, &tagged.objective)?;
    let source = locator_to_python(py, &tagged.source)?;
    class(py, |classes| &classes.tagged_objective)?.call1((objective, source))
}

/// A number of milliseconds. `None` where it is false in Python: None, 0, False.
///
/// # Errors
/// `TypeError` if it is no number, or a negative one.
pub(crate) fn milliseconds(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Option<u32>> {
    let wrong = || {
        let kind = type_name(object);
        PyTypeError::new_err(format!("{name} must be a number of milliseconds or None, not {kind}"))
    };
    if object.is_none() {
        return Ok(None);
    }
    if !(object.is_instance_of::<PyInt>() || object.is_instance_of::<PyFloat>())
        || object.is_instance_of::<PyBool>() && object.is_truthy()?
    {
        return Err(wrong());
    }
    let number: f64 = object.extract()?;
    if number.is_nan() || number < 0.0 {
        return Err(PyTypeError::new_err(format!(
            "{name} must not be negative: it is a number of milliseconds"
        )));
    }
    // What is less than a millisecond is not nothing, and more than there is room for is as good as for ever.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of a float saturates")]
    let number = number.ceil() as u32;
    Ok(Some(number).filter(|number| *number > 0))
}

/// The name of an object's type, for a message.
pub(crate) fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string())
}
