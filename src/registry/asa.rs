//! The ASA registry (graspy's `_asa_registry`): the ASAs that may make calls.

use parking_lot::Mutex;

use crate::bounds::{HashMap, HashSet};
use crate::error::{Error, Result};
use crate::types::AsaNonce;

/// Registered ASAs, by handle and by name.
#[derive(Debug)]
pub(crate) struct AsaRegistry {
    inner: Mutex<Inner>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Inner {
    by_handle: HashMap<AsaNonce, String>,
    by_name: HashMap<String, AsaNonce>,
    /// Deregistered, with objectives and sessions that are about to go: nobody else may have the handle yet.
    leaving: HashSet<AsaNonce>,
}

impl AsaRegistry {
    pub(crate) fn new(limit: usize) -> Self {
        Self { inner: Mutex::default(), limit }
    }

    /// Adds an ASA. Checks for `ASAfull` before `dupASA`.
    pub(crate) fn register(&self, nonce: AsaNonce, name: &str) -> Result<()> {
        let mut inner = self.inner.lock();
        if inner.by_handle.len() >= self.limit {
            return Err(Error::AsaFull);
        }
        let is_taken = inner.by_handle.contains_key(&nonce) || inner.leaving.contains(&nonce);
        if is_taken || inner.by_name.contains_key(name) {
            return Err(Error::DupAsa);
        }
        inner.by_handle.insert(nonce, name.to_owned());
        inner.by_name.insert(name.to_owned(), nonce);
        Ok(())
    }

    /// Nothing of an ASA that was deregistered is left: its handle is free.
    pub(crate) fn left(&self, nonce: AsaNonce) {
        self.inner.lock().leaving.remove(&nonce);
    }

    /// Removes an ASA: `noASA` if the name is unknown, `notYourASA` if it belongs to another ASA.
    pub(crate) fn deregister(&self, nonce: AsaNonce, name: &str) -> Result<()> {
        let mut inner = self.inner.lock();
        match inner.by_name.get(name) {
            None => Err(Error::NoAsa),
            Some(owner) if *owner != nonce => Err(Error::NotYourAsa),
            Some(_) => {
                inner.by_name.remove(name);
                inner.by_handle.remove(&nonce);
                inner.leaving.insert(nonce);
                Ok(())
            }
        }
    }

    /// Whether a registered ASA has this handle.
    pub(crate) fn is_registered(&self, nonce: AsaNonce) -> bool {
        self.inner.lock().by_handle.contains_key(&nonce)
    }

    /// Returns `noASA` unless a registered ASA has this handle.
    pub(crate) fn check(&self, nonce: AsaNonce) -> Result<()> {
        if self.is_registered(nonce) { Ok(()) } else { Err(Error::NoAsa) }
    }

    /// Lists all ASAs by name, for `dump_all`.
    pub(crate) fn list(&self) -> Vec<(String, AsaNonce)> {
        let mut list: Vec<_> = self.inner.lock().by_name.iter().map(|(n, h)| (n.clone(), *h)).collect();
        list.sort();
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_handles_are_checked_in_the_documented_order() {
        let asas = AsaRegistry::new(2);
        asas.register(AsaNonce(1), "a").unwrap();
        assert_eq!(asas.register(AsaNonce(2), "a"), Err(Error::DupAsa));
        asas.register(AsaNonce(2), "b").unwrap();
        assert_eq!(asas.register(AsaNonce(3), "a"), Err(Error::AsaFull));
        assert_eq!(asas.deregister(AsaNonce(1), "c"), Err(Error::NoAsa));
        assert_eq!(asas.deregister(AsaNonce(1), "b"), Err(Error::NotYourAsa));
        asas.deregister(AsaNonce(1), "a").unwrap();
        assert_eq!(asas.check(AsaNonce(1)), Err(Error::NoAsa));
        assert_eq!(asas.list(), vec![("b".to_owned(), AsaNonce(2))]);
    }

    #[test]
    fn a_handle_belongs_to_one_until_nothing_of_it_is_left() {
        let asas = AsaRegistry::new(9);
        asas.register(AsaNonce(1), "a").unwrap();
        assert_eq!(asas.register(AsaNonce(1), "b"), Err(Error::DupAsa));
        asas.deregister(AsaNonce(1), "a").unwrap();
        assert_eq!(asas.register(AsaNonce(1), "b"), Err(Error::DupAsa), "its sessions are still being ended");
        asas.left(AsaNonce(1));
        asas.register(AsaNonce(1), "b").unwrap();
    }
}
