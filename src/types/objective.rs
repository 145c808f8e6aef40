//! Objectives, which are discovered, negotiated, synchronized or flooded (RFC 8990 §2.10, RFC 8991 §2.3.2.2).

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{AsaLocator, Value};
use crate::cbor::codec as cbor;
use crate::constants::GRASP_DEF_LOOPCT;

/// An objective (graspy's `objective`; RFC 8991 §2.3.2.2).
///
/// ```
/// use grasp::Objective;
/// let mut money = Objective::new("EX3");
/// money.neg = true;
/// money.value = grasp::Value::from_serialize(&("NZD", 47)).unwrap();
/// assert_eq!(money.loop_count, 6);
/// assert_eq!(money.value_as::<(String, i64)>().unwrap(), ("NZD".to_owned(), 47));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// The unique name, compared byte by byte (RFC 8990 §2.10.1). A private name contains a colon.
    pub name: String,
    /// May be negotiated. Excludes `synch`.
    pub neg: bool,
    /// May be negotiated as a dry run; a request with it set opens a dry run. Needs `neg`.
    pub dry: bool,
    /// May be synchronized and flooded. Excludes `neg`.
    pub synch: bool,
    /// May be discovered: bit `F_DISC` on the wire (RFC 8990 §2.10.2).
    pub discoverable: bool,
    /// How often the objective may still be relayed or answered (RFC 8990 §2.10.4). Between the steps of a negotiation
    /// an ASA passes the loop count on unchanged.
    pub loop_count: u8,
    /// The value: any CBOR; [`Value::Null`] if there is none.
    pub value: Value,
}

impl Objective {
    /// An objective with graspy's defaults: only the flag `discoverable` is set, loop count 6, null value.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            neg: false,
            dry: false,
            synch: false,
            discoverable: true,
            loop_count: GRASP_DEF_LOOPCT,
            value: Value::Null,
        }
    }

    /// The same objective with a value made from any serializable Rust value.
    ///
    /// # Errors
    /// If CBOR cannot represent `value` (rare). A retry does not help.
    pub fn with_value(mut self, value: impl Serialize) -> Result<Self, cbor::SerdeError> {
        self.value = Value::from_serialize(&value)?;
        Ok(self)
    }

    /// The value as a Rust type. Unpacks an embedded CBOR item ([`Value::EncodedCbor`]).
    ///
    /// # Errors
    /// If the value does not match the type. A retry does not help.
    pub fn value_as<T: DeserializeOwned>(&self) -> Result<T, cbor::SerdeError> {
        self.value.deserialize()
    }
}

/// An objective with the locator that accompanies it in a flood (RFC 8991 §2.3.2.4).
#[derive(Clone, Debug, PartialEq)]
pub struct TaggedObjective {
    /// The objective.
    pub objective: Objective,
    /// Its source: [`AsaLocator::null`] if there is none. In results of [`get_flood`](crate::get_flood), its `expire`
    /// says until when the value is valid.
    pub source: AsaLocator,
}

impl TaggedObjective {
    /// Adds a locator to an objective; `None` gives the null tag.
    #[must_use]
    pub fn new(objective: Objective, source: Option<AsaLocator>) -> Self {
        Self { objective, source: source.unwrap_or(AsaLocator::null()) }
    }
}
