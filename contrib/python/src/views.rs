//! What programs read of graspy's registries, caches and addresses. `grasp` makes objects of it; here it is tuples.

use std::collections::HashMap;
use std::net::IpAddr;

use grasp::{AsaNonce, Engine, Objective, TaggedObjective};
use parking_lot::Mutex;
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use crate::engine::{Inside, current};
use crate::objects::{address_to_python, locator_to_python, objective_to_python, tagged_to_python};

/// The names of objectives in the order of their registration, which graspy's registry has.
static REGISTERED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The flooded values that Python has seen, by name, with their objects. As long as an entry of the flood cache is the
/// same it is the same object, as in graspy: programs compare `x.source` and hang attributes on it.
static FLOODS: Mutex<Option<HashMap<String, Vec<Flood>>>> = Mutex::new(None);

struct Flood {
    tagged: TaggedObjective,
    object: Py<PyAny>,
}

/// An objective has been registered.
pub(crate) fn registered(name: String) {
    let mut names = REGISTERED.lock();
    if !names.contains(&name) {
        names.push(name);
    }
}

impl Flood {
    fn clone_ref(&self, py: Python<'_>) -> Self {
        Self { tagged: self.tagged.clone(), object: self.object.clone_ref(py) }
    }
}

/// The objects of one objective's flooded values.
pub(crate) fn floods_to_python<'py>(
    py: Python<'py>,
    name: &str,
    found: &[TaggedObjective],
) -> PyResult<Bound<'py, PyList>> {
    let known = known(py, name);
    // Making objects runs Python code, which may come back here, or let another thread in: no lock meanwhile.
    let mut current = Vec::with_capacity(found.len());
    for tagged in found {
        if let Some(flood) = same(&known, tagged) {
            current.push(flood.clone_ref(py));
            continue;
        }
        match tagged_to_python(py, tagged) {
            Ok(object) => current.push(Flood { tagged: tagged.clone(), object: object.unbind() }),
            // One that cannot be read is none: graspy does not keep it either.
            Err(error) if error.is_instance_of::<PyException>(py) => {}
            Err(error) => return Err(error),
        }
    }
    remember(py, name, &known, &mut current);
    PyList::new(py, current.iter().map(|flood| &flood.object))
}

/// What Python has seen of an objective's flooded values.
fn known(py: Python<'_>, name: &str) -> Vec<Flood> {
    let floods = FLOODS.lock();
    let known = floods.as_ref().and_then(|floods| floods.get(name));
    known.into_iter().flatten().map(|flood| flood.clone_ref(py)).collect()
}

/// Remembers what an objective's flooded values are now, where they were `known` before. A value that another thread has made
/// an object of meanwhile gets that one.
fn remember(py: Python<'_>, name: &str, known: &[Flood], current: &mut [Flood]) {
    // An object that goes runs Python code: it goes without the lock.
    let mut gone = Vec::new();
    let mut floods = FLOODS.lock();
    let floods_of_all = floods.get_or_insert_default();
    let present = floods_of_all.remove(name).unwrap_or_default();
    for flood in current.iter_mut() {
        if let Some(first) = same(&present, &flood.tagged) {
            gone.push(std::mem::replace(&mut flood.object, first.object.clone_ref(py)));
        }
    }
    let (new, old): (Vec<_>, Vec<_>) = present
        .into_iter()
        .partition(|flood| same(known, &flood.tagged).is_none() && same(current, &flood.tagged).is_none());
    let all: Vec<_> = current.iter().map(|flood| flood.clone_ref(py)).chain(new).collect();
    if !all.is_empty() {
        floods_of_all.insert(name.to_owned(), all);
    }
    drop(floods);
    drop((gone, old));
}

/// The one that is the same as a flooded value.
fn same<'a>(floods: &'a [Flood], tagged: &TaggedObjective) -> Option<&'a Flood> {
    floods.iter().find(|flood| is_same(&flood.tagged, tagged))
}

/// Whether two flooded values are the same to the last bit: 0.0 and -0.0 are equal, and NaN is not equal to itself.
fn is_same(one: &TaggedObjective, other: &TaggedObjective) -> bool {
    one.source == other.source
        && flags(&one.objective) == flags(&other.objective)
        && one.objective.value.encode() == other.objective.value.encode()
}

/// What of an objective is no value.
const fn flags(objective: &Objective) -> (bool, bool, bool, bool, u8) {
    let Objective { neg, dry, synch, discoverable, loop_count, .. } = *objective;
    (neg, dry, synch, discoverable, loop_count)
}

/// The flooded value whose object this is.
pub(crate) fn flood_of(object: &Bound<'_, PyAny>) -> Option<TaggedObjective> {
    let floods = FLOODS.lock();
    let mut known = floods.iter().flat_map(HashMap::values).flatten();
    known.find(|flood| flood.object.is(object)).map(|flood| flood.tagged.clone())
}

/// What graspy does to the object of a value that is forgotten.
pub(crate) fn mark_expired(object: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = object.py();
    let source = object.getattr(intern!(py, "source"))?;
    if source.getattr(intern!(py, "expire"))?.gt(0)? {
        let past: i64 = py
            .import(intern!(py, "time"))?
            .call_method0(intern!(py, "monotonic"))?
            .extract::<f64>()
            .map(floor)?;
        source.setattr(intern!(py, "expire"), past - 1)?;
    }
    Ok(())
}

#[allow(clippy::cast_possible_truncation, reason = "a time of some years in seconds")]
fn floor(seconds: f64) -> i64 {
    seconds.floor() as i64
}

/// The engine, which must run.
fn running() -> PyResult<Engine> {
    current()?.ok_or_else(|| PyRuntimeError::new_err("GRASP does not run yet: register_asa() starts it"))
}

/// The flood cache: a list of tagged_objective.
#[pyfunction]
pub(crate) fn _flood_cache(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    let _inside = Inside::enter(py);
    let engine = running()?;
    let views = py.detach(|| engine.flood_cache());
    let mut by_name: HashMap<&str, Vec<TaggedObjective>> = HashMap::new();
    for view in &views {
        by_name.entry(view.tagged.objective.name.as_str()).or_default().push(view.tagged.clone());
    }
    for (name, found) in &by_name {
        floods_to_python(py, name, found)?;
    }
    let list = PyList::empty(py);
    for view in &views {
        let floods = FLOODS.lock();
        let known = floods.as_ref().and_then(|floods| floods.get(&view.tagged.objective.name));
        let known = known.and_then(|known| same(known, &view.tagged));
        let object = known.map(|known| known.object.clone_ref(py));
        drop(floods);
        if let Some(object) = object {
            list.append(object)?;
        }
    }
    Ok(list)
}

/// The registered ASAs: (name, handle).
#[pyfunction]
pub(crate) fn _asa_registry(py: Python<'_>) -> PyResult<Vec<(String, u32)>> {
    let _inside = Inside::enter(py);
    let engine = running()?;
    Ok(py.detach(|| engine.asas()).into_iter().map(|asa| (asa.name, asa.nonce.id())).collect())
}

/// The registered objectives, in the order of their registration: the arguments of `_registered_objective`.
#[pyfunction]
pub(crate) fn _obj_registry(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    let _inside = Inside::enter(py);
    let engine = running()?;
    let mut views = py.detach(|| engine.objectives());
    {
        let mut names = REGISTERED.lock();
        names.retain(|name| views.iter().any(|view| view.objective.name == *name));
        views.sort_by_key(|view| names.iter().position(|name| *name == view.objective.name));
    }
    let list = PyList::empty(py);
    for view in &views {
        let owners: Vec<u32> = view.owners.iter().copied().map(AsaNonce::id).collect();
        let locators = PyList::empty(py);
        for one in &view.locators {
            locators.append(locator_to_python(py, one)?)?;
        }
        list.append((
            objective_to_python(py, &view.objective)?,
            owners,
            (view.overlap, view.discoverable, view.local, view.rapid),
            locators,
            (view.port, view.ttl, view.listening),
        ))?;
    }
    Ok(list)
}

/// The discovery cache: (name, locators, objective that came in rapid mode or None).
#[pyfunction]
pub(crate) fn _discovery_cache(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    let _inside = Inside::enter(py);
    let engine = running()?;
    let list = PyList::empty(py);
    for view in py.detach(|| engine.discovery_cache()) {
        let locators = PyList::empty(py);
        for one in &view.locators {
            locators.append(locator_to_python(py, one)?)?;
        }
        let rapid = view.rapid.as_ref().map(|rapid| objective_to_python(py, rapid)).transpose()?;
        list.append((view.name, locators, rapid))?;
    }
    Ok(list)
}

/// The open sessions: (identifier, source or None, whether it is relayed).
#[pyfunction]
pub(crate) fn _session_id_cache(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    let _inside = Inside::enter(py);
    let engine = running()?;
    let list = PyList::empty(py);
    for view in py.detach(|| engine.sessions()) {
        let source = view.session.id_source.map(|address| PyBytes::new(py, &address.octets()));
        list.append((
            view.session.id_value,
            source,
            view.kind == grasp::trace::SessionKind::RelayedDiscovery,
        ))?;
    }
    Ok(list)
}

/// The node's own address or None, the session locator, and the links: [index, address].
#[pyfunction]
pub(crate) fn _addresses(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
    let _inside = Inside::enter(py);
    let engine = running()?;
    let own = match engine.my_address() {
        Some(grasp::Locator::Ipv6(address)) => Some(address_to_python(py, IpAddr::V6(address))?),
        _ => None,
    };
    let links = PyList::empty(py);
    for (ifi, address) in engine.links() {
        let link = PyList::empty(py);
        link.append(ifi)?;
        link.append(address_to_python(py, IpAddr::V6(address))?)?;
        links.append(link)?;
    }
    (own, address_to_python(py, IpAddr::V6(engine.session_locator()))?, links).into_pyobject(py)
}

/// What is in force: (secure, sealed, relaying, largest unicast message, largest multicast message, threads).
#[pyfunction]
pub(crate) fn _state(py: Python<'_>) -> PyResult<(bool, bool, bool, usize, usize, usize)> {
    let _inside = Inside::enter(py);
    let engine = running()?;
    let state = py.detach(|| engine.state());
    let threads = engine.thread_count();
    Ok((state.secure, state.sealed, state.relaying, state.unicast_size, state.multicast_size, threads))
}
