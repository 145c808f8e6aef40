//! Python objects to CBOR and back, as cbor2 does it in graspy.
//!
//! What programs mostly send (None, booleans, integers, floats, text, bytes, lists, tuples, dicts) is converted here.
//! Anything else goes through cbor2 itself, so that every type that it knows, in the version that is installed,
//! arrives as it would with graspy. cbor2 is imported when it is first needed.

use grasp::Value;
use pyo3::exceptions::{PyException, PyMemoryError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::engine::Inside;

/// How deep values are nested that are converted here. cbor2 judges what is deeper: it may contain itself.
const LEVELS: usize = 100;

/// The value of an objective: bytes that begin with a CBOR item are sent as an embedded item (tag 24), as graspy does.
pub(crate) fn objective_value(object: &Bound<'_, PyAny>) -> PyResult<Value> {
    match object.cast_exact::<PyBytes>() {
        Ok(bytes) => Ok(Value::from_python_bytes(bytes.as_bytes().to_vec())),
        Err(_) => from_python(object),
    }
}

/// Any Python object.
///
/// # Errors
/// `TypeError` if CBOR cannot express it.
pub(crate) fn from_python(object: &Bound<'_, PyAny>) -> PyResult<Value> {
    match plain(object, LEVELS)? {
        Some(value) => Ok(value),
        None => through_cbor2(object),
    }
}

/// A value of the types that are converted here; nothing if there is another one in it.
fn plain(object: &Bound<'_, PyAny>, levels: usize) -> PyResult<Option<Value>> {
    let Some(levels) = levels.checked_sub(1) else { return Ok(None) };
    Ok(Some(if object.is_none() {
        Value::Null
    } else if let Ok(text) = object.cast_exact::<PyString>() {
        let Ok(text) = text.to_cow() else { return Ok(None) };
        Value::Text(text.into_owned())
    } else if let Ok(number) = object.cast_exact::<PyInt>() {
        match number.extract::<i64>() {
            Ok(number) => Value::from(number),
            Err(_) => return Ok(None),
        }
    } else if let Ok(list) = object.cast_exact::<PyList>() {
        return array(list.iter(), levels);
    } else if let Ok(tuple) = object.cast_exact::<PyTuple>() {
        return array(tuple.iter(), levels);
    } else if let Ok(dict) = object.cast_exact::<PyDict>() {
        let mut pairs = Vec::with_capacity(dict.len());
        for (key, value) in dict.iter() {
            match (plain(&key, levels)?, plain(&value, levels)?) {
                (Some(key), Some(value)) => pairs.push((key, value)),
                _ => return Ok(None),
            }
        }
        Value::Map(pairs)
    } else if let Ok(truth) = object.cast_exact::<PyBool>() {
        Value::from(truth.is_true())
    } else if let Ok(number) = object.cast_exact::<PyFloat>() {
        Value::from(number.value())
    } else if let Ok(bytes) = object.cast_exact::<PyBytes>() {
        Value::from(bytes.as_bytes())
    } else {
        return Ok(None);
    }))
}

fn array<'py>(
    items: impl ExactSizeIterator<Item = Bound<'py, PyAny>>,
    levels: usize,
) -> PyResult<Option<Value>> {
    let mut array = Vec::with_capacity(items.len());
    for item in items {
        match plain(&item, levels)? {
            Some(item) => array.push(item),
            None => return Ok(None),
        }
    }
    Ok(Some(Value::Array(array)))
}

fn through_cbor2(object: &Bound<'_, PyAny>) -> PyResult<Value> {
    let py = object.py();
    let encoded = encoder(py)?.call1((object,)).map_err(|error| not_expressible(object, error))?;
    let encoded = encoded.cast::<PyBytes>()?;
    Value::decode(encoded.as_bytes())
        .map_err(|error| PyTypeError::new_err(format!("the value cannot be sent: {error}")))
}

/// What cbor2 raises has many types: it becomes a TypeError that says where it comes from.
fn not_expressible(object: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
    let py = object.py();
    if !error.is_instance_of::<PyException>(py) || error.is_instance_of::<PyMemoryError>(py) {
        return error;
    }
    let kind = object.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
    let raised = PyTypeError::new_err(format!("CBOR cannot express this {kind}: {}", error.value(py)));
    raised.set_cause(py, Some(error));
    raised
}

/// The value of a received objective: an embedded item arrives as its bytes, as in graspy.
pub(crate) fn objective_to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    match value {
        Value::EncodedCbor(item) => Ok(PyBytes::new(py, item).into_any()),
        _ => to_python(py, value),
    }
}

/// Any received value.
///
/// # Errors
/// What cbor2 raises for a tag whose content is wrong.
pub(crate) fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    match to_plain(py, value)? {
        Some(object) => Ok(object),
        // Shared references and the like are valid across a whole value.
        None => decoder(py)?.call1((PyBytes::new(py, &value.encode()),)),
    }
}

fn to_plain<'py>(py: Python<'py>, value: &Value) -> PyResult<Option<Bound<'py, PyAny>>> {
    Ok(Some(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(truth) => PyBool::new(py, *truth).to_owned().into_any(),
        Value::Integer(number) => match i64::try_from(*number) {
            Ok(number) => number.into_pyobject(py)?.into_any(),
            Err(_) => number.into_pyobject(py)?.into_any(),
        },
        Value::Float(number) => PyFloat::new(py, *number).into_any(),
        Value::Bytes(bytes) => PyBytes::new(py, bytes).into_any(),
        Value::Text(text) => PyString::new(py, text).into_any(),
        Value::Array(items) => {
            let list = PyList::empty(py);
            for item in items {
                match to_plain(py, item)? {
                    Some(item) => list.append(item)?,
                    None => return Ok(None),
                }
            }
            list.into_any()
        }
        Value::Map(pairs) => {
            let dict = PyDict::new(py);
            for (key, value) in pairs {
                // cbor2 makes other keys immutable.
                if matches!(key, Value::Array(_) | Value::Map(_)) {
                    return Ok(None);
                }
                match (to_plain(py, key)?, to_plain(py, value)?) {
                    (Some(key), Some(value)) => dict.set_item(key, value)?,
                    _ => return Ok(None),
                }
            }
            dict.into_any()
        }
        _ => return Ok(None),
    }))
}

static ENCODER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static DECODER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

fn encoder(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    helper(py, &ENCODER, intern!(py, "dumps"))
}

fn decoder(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    helper(py, &DECODER, intern!(py, "loads"))
}

/// A function of cbor2.
fn helper<'py>(
    py: Python<'py>,
    cell: &'static PyOnceLock<Py<PyAny>>,
    name: &Bound<'py, PyString>,
) -> PyResult<&'py Bound<'py, PyAny>> {
    let function = cell.get_or_try_init(py, || -> PyResult<_> {
        Ok(py.import(intern!(py, "cbor2"))?.getattr(name)?.unbind())
    })?;
    Ok(function.bind(py))
}

/// For tests: the bytes that a value is sent as, and what arrives of them.
#[pyfunction]
pub(crate) fn _round_trip<'py>(
    object: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyAny>)> {
    let _inside = Inside::enter(object.py());
    let py = object.py();
    let sent = from_python(object)?.encode();
    let received = Value::decode(&sent).map_err(|error| PyTypeError::new_err(error.to_string()))?;
    Ok((PyBytes::new(py, &sent), to_python(py, &received)?))
}
