//! An ASA as a guard: it is registered as long as the guard exists.

use crate::engine::Engine;
use crate::error::Result;
use crate::types::AsaNonce;

/// A registered ASA. Dropping it, also while a panic unwinds, deregisters the ASA and its objectives, which graspy leaves
/// to the ASA.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = grasp::Engine::start(grasp::Config::new())?;
/// let asa = grasp::Asa::register(&engine, "Briggs")?;
/// engine.register_obj(asa.nonce(), &grasp::Objective::new("EX3"), Default::default())?;
/// drop(asa);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Asa {
    engine: Engine,
    nonce: AsaNonce,
    name: String,
}

impl Asa {
    /// Registers an ASA with an engine; see [`Engine::register_asa`].
    ///
    /// # Errors
    /// Those of [`Engine::register_asa`].
    pub fn register(engine: &Engine, name: &str) -> Result<Self> {
        let nonce = engine.register_asa(name)?;
        Ok(Self { engine: engine.clone(), nonce, name: name.to_owned() })
    }

    /// Registers an ASA with the engine of the process; see [`register_asa`](crate::register_asa).
    ///
    /// # Errors
    /// Those of [`register_asa`](crate::register_asa).
    pub fn new(name: &str) -> Result<Self> {
        Self::register(&crate::process_engine()?, name)
    }

    /// The handle for the calls of the API.
    #[must_use]
    pub const fn nonce(&self) -> AsaNonce {
        self.nonce
    }

    /// The name of the ASA.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The engine that the ASA is registered with.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }
}

impl Drop for Asa {
    fn drop(&mut self) {
        // If it fails, the ASA is deregistered already, or the engine is gone: nothing is left to do.
        let _ = self.engine.deregister_asa(self.nonce, &self.name);
    }
}
