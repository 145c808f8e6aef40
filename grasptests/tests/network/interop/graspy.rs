//! A graspy process as a side.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use grasp::{AsaLocator, Locator, Objective, Protocol, TaggedObjective, Value, monotonic_ms};
use grasptests::lab::Node;
use parking_lot::Mutex;
use serde_json::{Value as Json, json};

use crate::interop::SOON;
use crate::interop::side::{How, Reply, Session, Side};

/// The checkout of graspy.
///
/// # Panics
///
/// When the environment names none.
#[track_caller]
pub(crate) fn directory() -> PathBuf {
    let Some(directory) = std::env::var_os("GRASPY_DIR").map(PathBuf::from) else {
        panic!("set GRASPY_DIR to a checkout of graspy (the directory of grasp.py) to run this test");
    };
    assert!(
        directory.join("grasp.py").is_file(),
        "GRASPY_DIR is {}, where there is no grasp.py",
        directory.display()
    );
    directory
}

/// Who waits for which result, and the number of the last command.
type Waiting = Mutex<(u64, BTreeMap<u64, Sender<Json>>)>;

/// A graspy instance with one ASA. The process is killed when this is dropped.
pub(crate) struct Graspy {
    name: String,
    child: Mutex<Child>,
    commands: Mutex<ChildStdin>,
    waiting: Arc<Waiting>,
    starting: Receiver<Json>,
    address: Mutex<Option<Ipv6Addr>>,
}

impl Graspy {
    /// Starts instances, one per node; all of them start at the same time.
    pub(crate) fn start<const N: usize>(nodes: [&Node; N]) -> [Self; N] {
        let started = nodes.map(|node| Self::launch(node, false));
        started.iter().for_each(Self::ready);
        started
    }

    /// As `start`, one that hears its own multicasts, and those of other programs on its node.
    pub(crate) fn start_selfing(node: &Node) -> Self {
        let started = Self::launch(node, true);
        started.ready();
        started
    }

    /// Starts an instance and does not wait until it is ready.
    pub(crate) fn launch(node: &Node, selfing: bool) -> Self {
        let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/driver.py");
        let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
        let mut command: Command = node.command(&python);
        command.arg(driver).env("GRASPY_DIR", directory()).env("PYTHONDONTWRITEBYTECODE", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {python:?}: {error}"));
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let waiting = Arc::new(Mutex::new((0, BTreeMap::new())));
        let (name, results) = (node.name().to_owned(), Arc::clone(&waiting));
        let said = name.clone();
        in_thread(move || lines(stderr.unwrap(), |line| println!("graspy {said}: {line}")));
        in_thread(move || {
            lines(stdout.unwrap(), |line| deliver(&results, line));
            // The process has ended: nobody will be answered any more.
            results.lock().1.clear();
        });
        let commands = Mutex::new(stdin.unwrap());
        let (_, starting) = bounded(1);
        let (child, address) = (Mutex::new(child), Mutex::new(None));
        let mut launched = Self { name, child, commands, waiting, starting, address };
        launched.starting =
            launched.command("start", json!({"name": launched.name.clone(), "selfing": selfing}));
        launched
    }

    /// Waits until a launched instance is ready.
    pub(crate) fn ready(&self) {
        let result = self.result("start", &self.starting);
        assert_eq!(code(&result), 0, "{result}");
        *self.address.lock() = result["address"].as_str().and_then(|text| text.parse().ok());
    }

    /// Its own address, if it has one that is not link-local.
    pub(crate) fn address(&self) -> Option<Ipv6Addr> {
        *self.address.lock()
    }

    /// The largest multicast and unicast messages that it takes.
    pub(crate) fn sizes(&self) -> (Option<u64>, Option<u64>) {
        let result = self.call("sizes", json!({}));
        (result["multicast"].as_u64(), result["unicast"].as_u64())
    }

    fn command(&self, name: &str, mut arguments: Json) -> Receiver<Json> {
        let (tx, rx) = bounded(1);
        let number = {
            let mut waiting = self.waiting.lock();
            waiting.0 += 1;
            let number = waiting.0;
            waiting.1.insert(number, tx);
            number
        };
        arguments["id"] = json!(number);
        arguments["do"] = json!(name);
        writeln!(self.commands.lock(), "{arguments}").expect("the driver reads");
        rx
    }

    #[track_caller]
    fn result(&self, name: &str, results: &Receiver<Json>) -> Json {
        let result = results.recv_timeout(SOON);
        let result = result.unwrap_or_else(|error| panic!("graspy {}: {name}: {error}", self.name));
        if let Some(raised) = result["raised"].as_str() {
            panic!("graspy {}: {name}: {raised}", self.name);
        }
        result
    }

    #[track_caller]
    fn call(&self, name: &str, arguments: Json) -> Json {
        self.result(name, &self.command(name, arguments))
    }

    /// A call that has to succeed.
    #[track_caller]
    fn succeed(&self, name: &str, arguments: Json) -> Json {
        let result = self.call(name, arguments);
        assert_eq!(code(&result), 0, "graspy {}: {name}: {result}", self.name);
        result
    }
}

impl Drop for Graspy {
    fn drop(&mut self) {
        let mut child = self.child.lock();
        // It may have ended already.
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn in_thread(body: impl FnOnce() + Send + 'static) {
    thread::Builder::new().name("graspy-output".to_owned()).spawn(body).expect("a thread starts");
}

fn lines(output: impl Read, mut each: impl FnMut(&str)) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        each(&line);
    }
}

fn deliver(waiting: &Waiting, line: &str) {
    let Some(result) = line.strip_prefix("RESULT ").and_then(|text| text.parse::<Json>().ok()) else {
        println!("driver: {line}");
        return;
    };
    let waiter = result["id"].as_u64().and_then(|number| waiting.lock().1.remove(&number));
    if let Some(waiter) = waiter {
        // The call may have given up.
        let _ = waiter.send(result);
    }
}

fn code(result: &Json) -> u8 {
    result["error"].as_u64().and_then(|code| code.try_into().ok()).expect("an error number")
}

fn hex(value: &Value) -> String {
    value.encode().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn value(text: &Json) -> Value {
    let digits = text.as_str().expect("hexadecimal digits").as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    Value::decode(&digits.chunks(2).map(byte).collect::<Vec<_>>()).expect("CBOR")
}

fn objective(json: &Json) -> Objective {
    let flag = |name: &str| json[name].as_bool().expect("a flag");
    let mut objective = Objective::new(json["name"].as_str().expect("a name"));
    (objective.neg, objective.dry, objective.synch) = (flag("neg"), flag("dry"), flag("synch"));
    objective.loop_count = json["loop_count"].as_u64().and_then(|n| n.try_into().ok()).expect("a loop count");
    objective.value = value(&json["value"]);
    objective
}

fn locator(json: &Json) -> AsaLocator {
    let text = json["locator"].as_str().unwrap_or_default();
    let mut locator = match json["kind"].as_str() {
        Some("ip") => AsaLocator::new(text.parse::<Ipv6Addr>().expect("an IPv6 address"), None),
        Some("fqdn") => AsaLocator::fqdn(text, Protocol::Tcp, 0),
        Some("uri") => AsaLocator::uri(text),
        _ => AsaLocator::null(),
    };
    locator.protocol = json["protocol"].as_u64().map(Protocol::from_number);
    locator.port = json["port"].as_u64().and_then(|port| port.try_into().ok());
    locator.ifi = json["ifi"].as_u64().and_then(|ifi| ifi.try_into().ok());
    locator.diverted = json["diverted"] == true;
    locator.expire = json["life"].as_i64().map_or(0, |life| monotonic_ms().saturating_add_signed(life));
    locator
}

fn of_objective(objective: &Objective) -> Json {
    // An ASA of graspy gives an embedded item as bytes.
    let value = match &objective.value {
        Value::EncodedCbor(item) => Value::Bytes(item.clone()),
        other => other.clone(),
    };
    let Objective { name, neg, dry, synch, loop_count, .. } = objective;
    json!({"name": name, "neg": neg, "dry": dry, "synch": synch, "loop_count": loop_count, "value": hex(&value)})
}

fn of_locator(locator: &AsaLocator) -> Json {
    let (kind, text) = match &locator.locator {
        None => ("none", None),
        Some(Locator::Fqdn(name)) => ("fqdn", Some(name.clone())),
        Some(Locator::Uri(uri)) => ("uri", Some(uri.clone())),
        Some(address) => ("ip", Some(address.to_string())),
    };
    let protocol = locator.protocol.map(Protocol::number);
    json!({"kind": kind, "locator": text, "protocol": protocol, "port": locator.port, "ifi": locator.ifi})
}

fn reply(result: &Json) -> Reply {
    match (code(result), result["session"].as_u64()) {
        (0, Some(session)) => Reply::Offer(Session::Graspy(session), objective(&result["objective"])),
        (0, None) => Reply::Agreed(objective(&result["objective"])),
        (1, _) => Reply::Declined(result["reason"].as_str().map(str::to_owned)),
        (code, _) => Reply::Failed(code),
    }
}

fn number(session: Session) -> u64 {
    match session {
        Session::Graspy(number) => number,
        Session::Ours(_) => panic!("a session of another side"),
    }
}

impl Side for Graspy {
    fn is_graspy(&self) -> bool {
        true
    }

    fn register(&self, objective: &Objective, how: How) {
        let How { discoverable, rapid, local, ttl } = how;
        let objective = of_objective(objective);
        let arguments = json!({"objective": objective, "discoverable": discoverable, "rapid": rapid, "local": local, "ttl": ttl});
        self.succeed("register_obj", arguments);
    }

    fn discover(&self, objective: &Objective, timeout: u32, flush: bool) -> Vec<AsaLocator> {
        let arguments = json!({"objective": of_objective(objective), "timeout": timeout, "flush": flush});
        let result = self.succeed("discover", arguments);
        result["locators"].as_array().expect("a list").iter().map(locator).collect()
    }

    fn request(&self, objective: &Objective, peer: Option<&AsaLocator>, timeout: u32) -> Reply {
        let peer = peer.map(of_locator);
        let arguments = json!({"objective": of_objective(objective), "peer": peer, "timeout": timeout});
        reply(&self.call("req_negotiate", arguments))
    }

    fn open(&self, objective: &Objective, peer: &AsaLocator) -> Session {
        let arguments = json!({"objective": of_objective(objective), "peer": of_locator(peer)});
        Session::Graspy(self.succeed("open_session", arguments)["session"].as_u64().expect("a session"))
    }

    fn listen(&self, asked: &Objective) -> (Session, Objective) {
        match reply(&self.call("listen_negotiate", json!({"objective": of_objective(asked)}))) {
            Reply::Offer(session, objective) => (session, objective),
            other => panic!("graspy {}: listen_negotiate: {other:?}", self.name),
        }
    }

    fn step(&self, session: Session, objective: &Objective, timeout: u32) -> Reply {
        let (session, objective) = (number(session), of_objective(objective));
        let arguments = json!({"session": session, "objective": objective, "timeout": timeout});
        reply(&self.call("negotiate_step", arguments))
    }

    fn wait(&self, session: Session, timeout: u32) {
        self.succeed("negotiate_wait", json!({"session": number(session), "timeout": timeout}));
    }

    fn end(&self, session: Session, accept: bool, reason: Option<&str>) {
        let arguments = json!({"session": number(session), "accept": accept, "reason": reason});
        self.succeed("end_negotiate", arguments);
    }

    fn invalid(&self, session: Session, info: &str) {
        self.succeed("send_invalid", json!({"session": number(session), "info": info}));
    }

    fn synchronize(
        &self,
        asked: &Objective,
        peer: Option<&AsaLocator>,
        timeout: u32,
    ) -> Result<Objective, u8> {
        let peer = peer.map(of_locator);
        let arguments = json!({"objective": of_objective(asked), "peer": peer, "timeout": timeout});
        let result = self.call("synchronize", arguments);
        match code(&result) {
            0 => Ok(objective(&result["objective"])),
            code => Err(code),
        }
    }

    fn serve(&self, objective: &Objective) {
        self.succeed("listen_synchronize", json!({"objective": of_objective(objective)}));
    }

    fn flood(&self, ttl: u32, tagged: &[TaggedObjective]) {
        let one =
            |tagged: &TaggedObjective| json!([of_objective(&tagged.objective), of_locator(&tagged.source)]);
        let tagged: Vec<_> = tagged.iter().map(one).collect();
        self.succeed("flood", json!({"ttl": ttl, "tagged": tagged}));
    }

    fn flooded(&self, asked: &Objective) -> Vec<TaggedObjective> {
        let result = self.succeed("get_flood", json!({"objective": of_objective(asked)}));
        let one = |pair: &Json| TaggedObjective::new(objective(&pair[0]), Some(locator(&pair[1])));
        result["tagged"].as_array().expect("a list").iter().map(one).collect()
    }

    fn send(&self, session: Session, message: &Value) {
        self.succeed("gsend", json!({"session": number(session), "message": hex(message)}));
    }

    fn receive(&self, session: Session, timeout: u32) -> Result<Value, u8> {
        let result = self.call("grecv", json!({"session": number(session), "timeout": timeout}));
        match code(&result) {
            0 => Ok(value(&result["message"])),
            code => Err(code),
        }
    }
}
