//! The steps of the suite, in order. A step that fails does not keep the others from being tried.

use std::thread;
use std::time::{Duration, Instant};

use grasp::{
    Acp, AsaLocator, AsaNonce, Config, Discover, Engine, Error, Objective, RegisterObj, TaggedObjective,
    Value, tprint,
};
use grasptests::domains;
use nix::net::if_::if_indextoname;

use super::negotiation;
use super::report::{During, Outcome, Report, check};
use super::{Options, Pace};

/// How long something that happens at once may take.
const SOON: Duration = Duration::from_secs(5);

/// How long a synchronization or a discovery waits, in milliseconds.
const TIMEOUT: u32 = 5000;

/// Runs all steps. Without an engine there is nothing to try.
pub(super) fn run(options: Options, report: &Report) {
    let mut suite = Suite { pace: options.pace, asa: None, boot: None, boot_at: None };
    let s = &mut suite;
    report.step("start an engine that hears its own multicasts", || start(options));
    if !report.passed() {
        return;
    }
    report.step("register ASA-1 and EX1", || s.register_asa_1());
    report.step("discover EX1, for which nobody listens", || s.discover_ex1());
    report.step("register ASA and objective Boot", || s.register_boot());
    report.step("discover Boot", || s.discover_boot());
    report.step("discover Boot twice, diverted", || s.discover_boot_diverted());
    report.step("register Money, Bling (twice), Intent.PrefixManager", || s.register_flooded());
    report.step("flood the three in one message", || s.flood());
    report.step("listen for synchronizations of Boot", || s.listen_boot());
    report.step("synchronize Bling and Intent.PrefixManager: flooded", || s.synchronize_flooded());
    report.step("synchronize EX1: must fail", || s.synchronize_ex1());
    report.step("synchronize Boot: over TCP", || s.synchronize_boot());
    report.step("print the objective registry and the flood cache", || s.print());
    report.step("decode the CBOR embedded in a flood", || s.decode_flooded());
    report.step("deregister Boot; synchronizing it must fail", || s.deregister_boot());
    report.step("negotiate EX2", || negotiation::run(options, report));
    report.step("deregister ASA-1", || s.deregister_asa_1());
    report.step("stop the engine, nothing left over", stop);
}

/// What later steps need of earlier ones.
struct Suite {
    pace: Pace,
    asa: Option<AsaNonce>,
    boot: Option<AsaNonce>,
    /// Where Boot was discovered.
    boot_at: Option<AsaLocator>,
}

fn engine() -> Outcome<Engine> {
    grasp::process_engine().during("the engine")
}

fn start(options: Options) -> Outcome {
    let mut config = Config::new().listen_self(true).diagnose(true).test_mode(options.test_mode);
    if options.domain {
        config = config.acp(Acp::Domain(domains::credentials(&domains::authority(), 1)));
    }
    grasp::configure(config).map_err(|error| error.to_string())?;
    let engine = engine()?;
    for (index, address) in engine.links() {
        let name = if_indextoname(index).map(|name| name.to_string_lossy().into_owned());
        tprint!("Using interface", name.unwrap_or_default(), "index", index, "address", address);
    }
    match engine.my_address() {
        Some(address) => tprint!("My address:", address),
        None => tprint!("My address: none but link-local ones"),
    }
    Ok(())
}

fn stop() -> Outcome {
    let engine = engine()?;
    eventually("the sessions end", || engine.open_sessions() == 0)?;
    let stats = engine.stats();
    for (name, count) in stats.named().into_iter().filter(|(_, count)| *count > 0) {
        grasp::ttprint!(name, count);
    }
    grasp::shutdown();
    check!(engine.thread_count() == 0, "{} threads outlive their engine", engine.thread_count());
    check!(stats.panics == 0, "{} threads of the engine have panicked", stats.panics);
    tprint!("Exiting ASA test thread");
    Ok(())
}

/// Waits until something is true.
fn eventually(what: &str, holds: impl Fn() -> bool) -> Outcome {
    let deadline = Instant::now() + SOON;
    while !holds() {
        check!(Instant::now() < deadline, "in vain for {SOON:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn synchronizable(name: &str, value: Value) -> Objective {
    let mut objective = Objective::new(name);
    objective.synch = true;
    objective.loop_count = 2;
    objective.value = value;
    objective
}

fn texts(items: &[&str]) -> Value {
    Value::from(items.iter().map(|item| Value::from(*item)).collect::<Vec<_>>())
}

fn ex1() -> Objective {
    synchronizable("EX1", Value::Null)
}

fn boot() -> Objective {
    synchronizable("Boot", Value::from(vec![Value::from(1), Value::from("two"), Value::from(3)]))
}

/// What an ASA that only wants to know the value says of Boot.
fn wanted_boot() -> Objective {
    let mut objective = Objective::new("Boot");
    objective.synch = true;
    objective
}

fn money() -> Objective {
    synchronizable("Money", Value::from(vec![Value::from(100), Value::from("NZD")]))
}

fn bling() -> Objective {
    synchronizable("Bling", texts(&["Diamonds", "Rubies"]))
}

fn embedded() -> Value {
    let numbers = Value::from(vec![Value::from(1), Value::from(2), Value::from(3)]);
    Value::from(vec![texts(&["CBOR", "within", "CBOR"]), numbers])
}

fn intent() -> Objective {
    synchronizable("Intent.PrefixManager", embedded().encoded_cbor())
}

impl Suite {
    fn asa(&self) -> Outcome<AsaNonce> {
        self.asa.ok_or_else(|| "ASA-1 is not registered".to_owned())
    }

    fn boot(&self) -> Outcome<AsaNonce> {
        self.boot.ok_or_else(|| "Boot is not registered".to_owned())
    }

    fn register_asa_1(&mut self) -> Outcome {
        let nonce = grasp::register_asa("ASA-1").during("register ASA-1")?;
        self.asa = Some(nonce);
        let options = RegisterObj { ttl: Some(10_000), ..RegisterObj::default() };
        grasp::register_obj(nonce, &ex1(), options).during("register EX1")?;
        let again = grasp::register_asa("ASA-1");
        check!(again == Err(Error::DupAsa), "ASA-1 registered a second time: {again:?}");
        tprint!("ASA-1 and EX1 registered");
        Ok(())
    }

    fn discover_ex1(&self) -> Outcome {
        let (timeout, started) = (self.pace.scaled(10_000), Instant::now());
        let found = grasp::discover(self.asa()?, &ex1(), Some(timeout), Discover::default());
        let found = found.during("discover EX1")?;
        match found.first() {
            Some(locator) => tprint!("EX1 discovered at", locator),
            None => tprint!("No discovery response for EX1"),
        }
        check!(found.is_empty(), "nobody listens for EX1, but it is at {}", locators(&found));
        let took = started.elapsed();
        check!(took >= Duration::from_millis(timeout.into()), "gave up after {took:?}, not {timeout} ms");
        Ok(())
    }

    fn register_boot(&mut self) -> Outcome {
        let nonce = grasp::register_asa("Boot").during("register ASA Boot")?;
        self.boot = Some(nonce);
        let options = RegisterObj { discoverable: true, ..RegisterObj::default() };
        grasp::register_obj(nonce, &wanted_boot(), options).during("register objective Boot")?;
        tprint!("ASA and objective Boot registered");
        Ok(())
    }

    fn find_boot(&self, timeout: u32) -> Outcome<Vec<AsaLocator>> {
        let mut objective = wanted_boot();
        objective.loop_count = 2;
        let options = Discover { enough: self.pace.enough(), ..Discover::default() };
        let found = grasp::discover(self.boot()?, &objective, Some(timeout), options);
        let found = found.during("discover Boot")?;
        match found.first() {
            Some(locator) => tprint!("Boot discovered at", locator, "diverted:", locator.diverted),
            None => tprint!("No discovery response for Boot"),
        }
        self.pace.settle(5000);
        Ok(found)
    }

    fn discover_boot(&mut self) -> Outcome {
        tprint!("Discovering Boot, forced divert: false");
        let found = self.find_boot(TIMEOUT)?;
        let locator = found.first().ok_or("nothing was discovered")?;
        check!(!locator.diverted, "{locator} is diverted");
        check!(locator.is_ipaddress() && locator.port.is_some(), "{locator} is no address with a port");
        self.boot_at = Some(locator.clone());
        Ok(())
    }

    /// The engine answers itself from its cache, as if Boot was at another node.
    fn discover_boot_diverted(&self) -> Outcome {
        let engine = engine()?;
        let _forced = ForcedDivert::on(&engine);
        let direct = self.boot_at.as_ref().ok_or("there is no locator to divert to")?;
        for _ in 0..2 {
            tprint!("Discovering Boot, forced divert: true");
            if direct.is_link_local() {
                // RFC 8990 §2.9.2: a Divert never names a link-local address.
                tprint!("This node has link-local addresses only, so that nothing can be diverted to");
                let found = self.find_boot(self.pace.scaled(TIMEOUT))?;
                check!(found.is_empty(), "diverted to {}", locators(&found));
                continue;
            }
            let found = self.find_boot(TIMEOUT)?;
            let locator = found.first().ok_or("nothing was discovered")?;
            check!(locator.diverted, "{locator} is not diverted");
            let same = (&locator.locator, locator.port) == (&direct.locator, direct.port);
            check!(same, "diverted to {locator}, not {direct}");
        }
        Ok(())
    }

    fn register_flooded(&self) -> Outcome {
        let nonce = self.asa()?;
        for objective in [money(), bling(), intent()] {
            let registered = grasp::register_obj(nonce, &objective, RegisterObj::default());
            registered.during(&objective.name)?;
            tprint!("Registered", objective.name);
        }
        let again = grasp::register_obj(nonce, &bling(), RegisterObj::default());
        if let Err(error) = &again {
            tprint!(error);
        }
        check!(again == Err(Error::ObjReg), "Bling registered a second time: {again:?}");
        Ok(())
    }

    fn flood(&self) -> Outcome {
        let (nonce, engine) = (self.asa()?, engine()?);
        let before = engine.stats();
        let tagged = [money(), bling(), intent()].map(|objective| TaggedObjective::new(objective, None));
        grasp::flood(nonce, 0, &tagged).during("flood")?;
        tprint!("Flooded Money, Bling and Intent.PrefixManager");
        check!(engine.stats().floods_sent == before.floods_sent + 1, "not one message was sent");
        // Heard from the link, besides being known here.
        eventually("the flood is heard", || engine.stats().floods_received > before.floods_received)?;
        for one in &tagged {
            let got = grasp::get_flood(nonce, &one.objective).during("get_flood")?;
            let value = got.first().map(|got| (&got.objective.value, got.source.expire));
            check!(value == Some((&one.objective.value, 0)), "{}: cached as {got:?}", one.objective.name);
        }
        Ok(())
    }

    fn listen_boot(&self) -> Outcome {
        let listening = grasp::listen_synchronize(self.boot()?, &boot());
        let result = listening.as_ref().err().map_or_else(|| "OK".to_owned(), ToString::to_string);
        tprint!("Listening for synchronizations of Boot:", result, "value", boot().value);
        listening.during("listen_synchronize")?;
        self.pace.settle(5000);
        Ok(())
    }

    /// What is flooded needs no peer.
    fn synchronize_flooded(&self) -> Outcome {
        let opened = engine()?.stats().sessions_opened;
        for objective in [bling(), intent()] {
            let name = &objective.name;
            let wanted = synchronizable(name, Value::Null);
            let got = grasp::synchronize(self.asa()?, &wanted, None, Some(TIMEOUT)).during(name)?;
            tprint!("Flooded", name, got.value);
            check!(got.value == objective.value, "{name} is {}", got.value);
        }
        check!(engine()?.stats().sessions_opened == opened, "a peer was asked for what is flooded");
        Ok(())
    }

    fn synchronize_ex1(&self) -> Outcome {
        let got = grasp::synchronize(self.asa()?, &ex1(), None, Some(self.pace.scaled(TIMEOUT)));
        match &got {
            Ok(objective) => tprint!("Synchronized EX1 (should fail)", objective.value),
            Err(error) => tprint!("No synchronization of EX1 (should fail):", error),
        }
        check!(got == Err(Error::NotFloodDisc), "EX1: {got:?}");
        Ok(())
    }

    fn synchronize_boot(&self) -> Outcome {
        let opened = engine()?.stats().sessions_opened;
        let got = grasp::synchronize(self.asa()?, &wanted_boot(), None, Some(TIMEOUT)).during("Boot")?;
        tprint!("Synchronized", got.name, got.value);
        check!(got.value == boot().value, "Boot is {}", got.value);
        check!(engine()?.stats().sessions_opened == opened + 1, "not over one connection");
        Ok(())
    }

    fn print(&self) -> Outcome {
        let text = engine()?.dump(true);
        for line in text.lines().filter(|line| !line.trim_matches('-').is_empty()) {
            tprint!(line);
        }
        let shown = |start: &str| text.lines().any(|line| line.starts_with(start));
        for name in ["EX1", "Boot", "Money", "Bling", "Intent.PrefixManager"] {
            check!(shown(&format!("{name} ASA: ")), "{name} is not in the objective registry:\n{text}");
        }
        for name in ["Money", "Bling", "Intent.PrefixManager"] {
            check!(shown(&format!("{name} count: ")), "{name} is not in the flood cache:\n{text}");
        }
        self.pace.settle(5000);
        Ok(())
    }

    fn decode_flooded(&self) -> Outcome {
        let wanted = synchronizable("Intent.PrefixManager", Value::Null);
        let flooded = grasp::get_flood(self.asa()?, &wanted).during("get_flood")?;
        let one = flooded.first().ok_or("nothing flooded is left")?;
        match one.objective.value.embedded() {
            Some(Ok(value)) => {
                tprint!("Flooded CBOR", one.objective.name, value);
                check!(value == embedded(), "not what was embedded: {value}");
                Ok(())
            }
            Some(Err(error)) => Err(format!("{} does not decode: {error}", one.objective.value)),
            None => Err(format!("{} is no embedded CBOR", one.objective.value)),
        }
    }

    fn deregister_boot(&self) -> Outcome {
        grasp::deregister_obj(self.boot()?, &boot()).during("deregister Boot")?;
        tprint!("Boot deregistered");
        // First its locator is still cached, and nobody is there; then it is forgotten.
        let timeout = self.pace.scaled(TIMEOUT);
        for expected in [Error::SockErrSynRq, Error::NotFloodDisc] {
            let got = grasp::synchronize(self.asa()?, &wanted_boot(), None, Some(timeout));
            match &got {
                Ok(objective) => tprint!("Synchronized Boot (should fail)", objective.value),
                Err(error) => tprint!("No synchronization of Boot (should fail):", error),
            }
            check!(got.as_ref() == Err(&expected), "Boot: {got:?} instead of {}", expected.name());
        }
        Ok(())
    }

    /// The original does this while the negotiators are at it; here they have finished.
    fn deregister_asa_1(&self) -> Outcome {
        let nonce = self.asa()?;
        grasp::deregister_asa(nonce, "ASA-1").during("deregister ASA-1")?;
        let after = grasp::register_obj(nonce, &ex1(), RegisterObj::default());
        check!(after == Err(Error::NoAsa), "ASA-1 is gone, but may register: {after:?}");
        tprint!("ASA-1 deregistered");
        Ok(())
    }
}

/// The switch `_test_divert`, off again when dropped.
struct ForcedDivert<'a>(&'a Engine);

impl<'a> ForcedDivert<'a> {
    fn on(engine: &'a Engine) -> Self {
        engine.set_test_divert(true);
        Self(engine)
    }
}

impl Drop for ForcedDivert<'_> {
    fn drop(&mut self) {
        self.0.set_test_divert(false);
    }
}

fn locators(list: &[AsaLocator]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
