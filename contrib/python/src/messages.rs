//! A message in graspy's form (`_message`, `_option`), for programs that look at captures.

use std::net::IpAddr;

use grasp::wire::{Body, Limits, Outcome, WireLocator, WireObjective, WireOption, decode};
use grasp::{Locator, Objective, Value};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

use crate::engine::Inside;
use crate::objects::objective_to_python;
use crate::value::{from_python, to_python};

/// graspy's numbers of options.
const DIVERT: u8 = 100;
const ACCEPT: u8 = 101;
const DECLINE: u8 = 102;
const IPV6: u8 = 103;
const IPV4: u8 = 104;
const FQDN: u8 = 105;
const URI: u8 = 106;

/// The attributes of a `_message` for a message that cbor2 has decoded, or the reason why it is none.
#[pyfunction]
pub(crate) fn _parse<'py>(
    payload: &Bound<'py, PyAny>,
) -> PyResult<(Option<Bound<'py, PyDict>>, Option<String>)> {
    let _inside = Inside::enter(payload.py());
    let py = payload.py();
    let bytes = from_python(payload)?.encode();
    let message = match decode(&bytes, &Limits { size: usize::MAX, depth: 128 }) {
        Ok(message) => message,
        Err(error) => return Ok((None, Some(error.to_string()))),
    };
    let fields = PyDict::new(py);
    fields.set_item("mtype", message.message_type())?;
    if let Some(session) = message.session() {
        fields.set_item("id_value", session)?;
    }
    match &message.body {
        Body::Noop => {}
        Body::Discovery { initiator, objective, .. } => {
            fields.set_item("id_source", packed(py, *initiator))?;
            fields.set_item("obj", wire_objective(py, objective)?)?;
        }
        Body::Response(response) => {
            fields.set_item("id_source", packed(py, response.initiator))?;
            fields.set_item("ttl", response.ttl)?;
            let options = PyList::empty(py);
            for one in &response.options {
                if let Some(one) = option(py, one)? {
                    options.append(one)?;
                }
            }
            fields.set_item("options", options)?;
            if let Some(objective) = &response.objective {
                fields.set_item("obj", wire_objective(py, objective)?)?;
            }
        }
        Body::RequestNegotiate(step)
        | Body::RequestSynchronize(step)
        | Body::Negotiate(step)
        | Body::Synch(step) => fields.set_item("obj", wire_objective(py, &step.objective)?)?,
        Body::End { outcome, .. } => {
            let end = PyDict::new(py);
            match outcome {
                Outcome::Accept => end.set_item("otype", ACCEPT)?,
                Outcome::Decline(reason) => {
                    end.set_item("otype", DECLINE)?;
                    end.set_item("reason", reason)?;
                }
            }
            fields.set_item("options", [end])?;
        }
        Body::Wait { time, .. } => fields.set_item("ttl", time)?,
        Body::Flood(flood) => {
            fields.set_item("id_source", packed(py, flood.initiator))?;
            fields.set_item("ttl", flood.ttl)?;
            let list = PyList::empty(py);
            for (objective, place) in &flood.objectives {
                let place = place.as_ref().map(|place| locator(py, place)).transpose()?;
                list.append((wire_objective(py, objective)?, place))?;
            }
            fields.set_item("flood_list", list)?;
        }
        Body::Invalid { content, .. } => {
            let content = content.iter().chain(&message.extra).cloned().collect();
            fields.set_item("content", to_python(py, &Value::Array(content))?)?;
        }
        Body::Unknown { message_type, .. } => {
            return Ok((None, Some(format!("Unknown message type {message_type}"))));
        }
    }
    Ok((Some(fields), None))
}

/// graspy does not unpack an embedded item here.
fn wire_objective<'py>(py: Python<'py>, objective: &WireObjective) -> PyResult<Bound<'py, PyAny>> {
    let objective = objective.to_objective();
    let object = objective_to_python(py, &Objective { value: Value::Null, ..objective.clone() })?;
    object.setattr("value", to_python(py, &objective.value)?)?;
    Ok(object)
}

fn option<'py>(py: Python<'py>, option: &WireOption) -> PyResult<Option<Bound<'py, PyDict>>> {
    Ok(match option {
        WireOption::Locator(place) => Some(locator(py, place)?),
        WireOption::Divert(places) => {
            let embedded = PyList::empty(py);
            for place in places {
                embedded.append(locator(py, place)?)?;
            }
            let divert = PyDict::new(py);
            divert.set_item("otype", DIVERT)?;
            divert.set_item("embedded", embedded)?;
            Some(divert)
        }
        WireOption::Other(_) => None,
    })
}

fn locator<'py>(py: Python<'py>, place: &WireLocator) -> PyResult<Bound<'py, PyDict>> {
    let (kind, locator) = match &place.locator {
        Locator::Ipv6(address) => (IPV6, packed(py, IpAddr::V6(*address)).into_any()),
        Locator::Ipv4(address) => (IPV4, packed(py, IpAddr::V4(*address)).into_any()),
        Locator::Fqdn(name) => (FQDN, PyString::new(py, name).into_any()),
        Locator::Uri(uri) => (URI, PyString::new(py, uri).into_any()),
        _ => return Ok(PyDict::new(py)),
    };
    let option = PyDict::new(py);
    option.set_item("otype", kind)?;
    option.set_item("locator", locator)?;
    option.set_item("protocol", place.protocol.map(grasp::Protocol::number))?;
    option.set_item("port", place.port)?;
    Ok(option)
}

fn packed(py: Python<'_>, address: IpAddr) -> Bound<'_, PyBytes> {
    match address {
        IpAddr::V4(address) => PyBytes::new(py, &address.octets()),
        IpAddr::V6(address) => PyBytes::new(py, &address.octets()),
    }
}
