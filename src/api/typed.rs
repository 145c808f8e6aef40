//! Objectives whose values have a Rust type.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Asa, Flooding, Peer, RegisterObj, Reply, Session, Source};
use crate::error::Result;
use crate::types::{AsaLocator, Objective, TaggedObjective, Value};

/// An objective whose values have one Rust type, `T`, and are converted in one place: sent values are `T`s, and a received
/// value is a `T` or an error ([`Error::WrongValue`](crate::Error::WrongValue)).
///
/// ```
/// use grasp::TypedObjective;
///
/// #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
/// struct Money(String, i64);
///
/// # fn main() -> grasp::Result<()> {
/// let ex3 = TypedObjective::<Money>::negotiable("EX3").loop_count(4);
/// let wish = ex3.with(&Money("NZD".into(), 47))?;
/// assert!(wish.neg && wish.loop_count == 4);
/// assert_eq!(ex3.read(&wish)?, Money("NZD".into(), 47));
/// # Ok(())
/// # }
/// ```
pub struct TypedObjective<T> {
    objective: Objective,
    of: PhantomData<fn(T) -> T>,
}

impl<T> TypedObjective<T> {
    /// An objective that can be negotiated.
    #[must_use]
    pub fn negotiable(name: &str) -> Self {
        Self::from(Objective { neg: true, ..Objective::new(name) })
    }

    /// An objective that can be synchronized and flooded.
    #[must_use]
    pub fn synchronizable(name: &str) -> Self {
        Self::from(Objective { synch: true, ..Objective::new(name) })
    }

    /// The same with another loop count.
    #[must_use]
    pub fn loop_count(mut self, loop_count: u8) -> Self {
        self.objective.loop_count = loop_count;
        self
    }

    /// The same with dry runs on or off.
    #[must_use]
    pub fn dry(mut self, dry: bool) -> Self {
        self.objective.dry = dry;
        self
    }

    /// The objective without a value.
    #[must_use]
    pub const fn objective(&self) -> &Objective {
        &self.objective
    }

    /// Registers the objective with an ASA; see [`Engine::register_obj`](crate::Engine::register_obj).
    ///
    /// # Errors
    /// Those of `register_obj`.
    pub fn register(&self, asa: &Asa, options: RegisterObj) -> Result<()> {
        asa.engine().register_obj(asa.nonce(), &self.objective, options)
    }
}

impl<T: Serialize> TypedObjective<T> {
    /// The objective with a value.
    ///
    /// # Errors
    /// [`Error::WrongValue`](crate::Error::WrongValue) if CBOR cannot represent the value. A retry does not help.
    pub fn with(&self, value: &T) -> Result<Objective> {
        Ok(Objective { value: Value::from_serialize(value)?, ..self.objective.clone() })
    }

    /// Asks a peer to negotiate; see [`Asa::negotiate`].
    ///
    /// # Errors
    /// Those of [`with`](Self::with) and [`Asa::negotiate`].
    pub fn negotiate(
        &self,
        asa: &Asa,
        wish: &T,
        peer: Option<&AsaLocator>,
        timeout: Option<u32>,
    ) -> Result<Reply> {
        asa.negotiate(&self.with(wish)?, peer, timeout)
    }

    /// Makes a counter-offer; see [`Session::step`].
    ///
    /// # Errors
    /// Those of [`with`](Self::with) and [`Session::step`]. After any of them the session is over.
    pub fn step(&self, session: Session, value: &T, timeout: Option<u32>) -> Result<Reply> {
        session.step(Value::from_serialize(value)?, timeout)
    }

    /// Serves a value; a later call replaces it. See
    /// [`Engine::listen_synchronize`](crate::Engine::listen_synchronize).
    ///
    /// # Errors
    /// Those of [`with`](Self::with) and `listen_synchronize`.
    pub fn publish(&self, asa: &Asa, value: &T) -> Result<()> {
        asa.engine().listen_synchronize(asa.nonce(), &self.with(value)?)
    }

    /// Floods a value once; see [`Engine::flood`](crate::Engine::flood).
    ///
    /// # Errors
    /// Those of [`with`](Self::with) and `flood`.
    pub fn flood(&self, asa: &Asa, ttl: u32, value: &T, source: Option<AsaLocator>) -> Result<()> {
        asa.engine().flood(asa.nonce(), ttl, &[TaggedObjective::new(self.with(value)?, source)])
    }

    /// Floods a value at regular intervals; see [`Engine::flood_every`](crate::Engine::flood_every).
    ///
    /// # Errors
    /// Those of [`with`](Self::with) and `flood_every`.
    pub fn flood_every(
        &self,
        asa: &Asa,
        interval: u32,
        ttl: u32,
        value: &T,
        source: Option<AsaLocator>,
    ) -> Result<Flooding> {
        let tagged = [TaggedObjective::new(self.with(value)?, source)];
        asa.engine().flood_every(asa.nonce(), interval, ttl, &tagged)
    }
}

impl<T: DeserializeOwned> TypedObjective<T> {
    /// The value of a received objective.
    ///
    /// # Errors
    /// [`Error::WrongValue`](crate::Error::WrongValue) if it is of another type. A retry does not help.
    pub fn read(&self, objective: &Objective) -> Result<T> {
        Ok(objective.value_as()?)
    }

    /// Gets the current value, with its source; see [`Asa::synchronize`].
    ///
    /// # Errors
    /// Those of [`read`](Self::read) and [`Asa::synchronize`].
    pub fn synchronize(
        &self,
        asa: &Asa,
        peer: Option<&AsaLocator>,
        timeout: Option<u32>,
    ) -> Result<(T, Source)> {
        let got = asa.synchronize(&self.objective, peer, timeout)?;
        Ok((self.read(&got.objective)?, got.source))
    }

    /// The valid flooded values of this type, with their sources; those of other types are left out. See
    /// [`Engine::get_flood`](crate::Engine::get_flood).
    ///
    /// # Errors
    /// Those of `get_flood`.
    pub fn get_flood(&self, asa: &Asa) -> Result<Vec<(T, AsaLocator)>> {
        let flooded = asa.engine().get_flood(asa.nonce(), &self.objective)?.into_iter();
        Ok(flooded.filter_map(|one| Some((self.read(&one.objective).ok()?, one.source))).collect())
    }

    /// The peer's request or offer.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    pub fn offered(&self, session: &Session) -> Result<(T, Peer)> {
        Ok((self.read(session.objective())?, session.peer().clone()))
    }
}

impl<T> From<Objective> for TypedObjective<T> {
    fn from(objective: Objective) -> Self {
        Self { objective: Objective { value: Value::Null, ..objective }, of: PhantomData }
    }
}

impl<T> Clone for TypedObjective<T> {
    fn clone(&self) -> Self {
        Self { objective: self.objective.clone(), of: PhantomData }
    }
}

impl<T> fmt::Debug for TypedObjective<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedObjective").field(&self.objective).finish()
    }
}
