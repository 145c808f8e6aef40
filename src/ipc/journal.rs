//! Remembers what a client has registered with its node, so that `client` can register it again with the next one. Pure.

use std::collections::BTreeMap;

use crate::cbor::Value;

use super::form::Formed as _;

/// The calls to make again, in order.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// The names of the ASAs, by handle.
    asas: BTreeMap<u32, Value>,
    /// By handle and name, the registration of an objective and, if its value is served, the call that serves it.
    objectives: BTreeMap<(u32, String), Registered>,
}

#[derive(Debug)]
struct Registered {
    registration: Vec<Value>,
    served: Option<Vec<Value>>,
}

impl Journal {
    /// Records a call that has succeeded, with its result.
    pub(crate) fn note(&mut self, call: &str, arguments: &[Value], result: &Value) {
        match call {
            "register_asa" => {
                if let (Some(handle), Some(name)) = (u32::read(result.clone()), arguments.first()) {
                    self.asas.insert(handle, name.clone());
                }
            }
            "deregister_asa" => {
                if let Some(handle) = handle(arguments) {
                    self.asas.remove(&handle);
                    self.objectives.retain(|(owner, _), _| *owner != handle);
                }
            }
            "register_obj" => {
                if let Some(key) = key(arguments) {
                    let registered = Registered { registration: arguments.to_vec(), served: None };
                    self.objectives.insert(key, registered);
                }
            }
            "deregister_obj" => {
                if let Some(key) = key(arguments) {
                    self.objectives.remove(&key);
                }
            }
            "listen_synchronize" => self.serve(arguments, Some(arguments.to_vec())),
            "stop_synchronize" => self.serve(arguments, None),
            _ => {}
        }
    }

    fn serve(&mut self, arguments: &[Value], served: Option<Vec<Value>>) {
        if let Some(known) = key(arguments).and_then(|key| self.objectives.get_mut(&key)) {
            known.served = served;
        }
    }

    /// The calls to make: those of the ASAs, with the handles that they had, then those of their objectives.
    pub(crate) fn calls(&self) -> Vec<(&'static str, Vec<Value>)> {
        let asas =
            self.asas.iter().map(|(handle, name)| ("register_asa", vec![name.clone(), (*handle).into()]));
        let objectives = self.objectives.values().flat_map(|known| {
            let served = known.served.iter().map(|served| ("listen_synchronize", served.clone()));
            std::iter::once(("register_obj", known.registration.clone())).chain(served)
        });
        asas.chain(objectives).collect()
    }
}

fn handle(arguments: &[Value]) -> Option<u32> {
    arguments.first().cloned().and_then(u32::read)
}

/// The handle, and the name of the objective, which the call gives as an objective or as a name.
fn key(arguments: &[Value]) -> Option<(u32, String)> {
    let name = match arguments.get(1)? {
        Value::Array(objective) => objective.first()?.as_str()?,
        name => name.as_str()?,
    };
    Some((handle(arguments)?, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_registered_is_called_again_and_nothing_else() {
        let mut journal = Journal::default();
        let (one, two) = (Value::from(1), Value::from(2));
        let objective =
            |name: &str, value: i64| Value::Array(vec![name.into(), 5.into(), 6.into(), value.into()]);
        journal.note("register_asa", &["a".into()], &one);
        journal.note("register_asa", &["b".into()], &two);
        for name in ["EX1", "EX2", "EX3"] {
            journal.note(
                "register_obj",
                &[one.clone(), objective(name, 0), Value::Map(Vec::new())],
                &Value::Null,
            );
        }
        journal.note("register_obj", &[two.clone(), objective("EX4", 0)], &Value::Null);
        journal.note("listen_synchronize", &[one.clone(), objective("EX1", 7)], &Value::Null);
        journal.note("listen_synchronize", &[one.clone(), objective("EX2", 7)], &Value::Null);
        journal.note("stop_synchronize", &[one.clone(), objective("EX2", 0)], &Value::Null);
        journal.note("deregister_obj", &[one.clone(), "EX3".into()], &Value::Null);
        journal.note("deregister_asa", &[two, "b".into()], &Value::Null);
        journal.note("discover", std::slice::from_ref(&one), &Value::Null);
        let calls = journal.calls();
        let names: Vec<_> = calls.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["register_asa", "register_obj", "listen_synchronize", "register_obj"]);
        assert_eq!(calls[0].1, ["a".into(), one.clone()]);
        assert_eq!(calls[2].1, [one, objective("EX1", 7)]);
    }
}
