//! pfxm3 as its users run it: programs on the nodes of a private network, among themselves and with graspy's.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use asa_examples::pfxm::{Family, Form, Message, Pool, Prefix};
use grasp::{Asa, Config, Discover, Engine, Error, Negotiation, Objective, RegisterObj, SessionNonce, Value};
use grasp_lab::{Lab, LabError, Node, Printed, eventually, isolated};
use rustix::process::{Pid, Signal, kill_process};

const SOON: Duration = Duration::from_secs(60);
const POOLS: [&str; 2] = ["10.0.0.0/8", "2001:db8::/32"];

/// A program on a node. Killed when dropped.
struct Program {
    name: String,
    child: Child,
    /// On standard output only.
    printed: Printed,
}

impl Program {
    fn start(node: &Node, mut command: Command, input: &str) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
        let printed = Printed::new(node.name());
        printed.follow(child.stdout.take().expect("piped"));
        Printed::new(node.name()).follow(child.stderr.take().expect("piped"));
        Self { name: node.name().to_owned(), child, printed }
    }

    fn pfxm3(node: &Node, options: &str) -> Self {
        let mut command = node.command(env!("CARGO_BIN_EXE_pfxm3"));
        command.args(options.split_whitespace());
        Self::start(node, command, "")
    }

    /// A line that contains this, as soon as there is one.
    #[track_caller]
    fn says(&self, text: &str) -> String {
        let mut found = None;
        eventually(SOON, &format!("{} says {text:?}", self.name), || {
            found = self.printed.lines().into_iter().find(|line| line.contains(text));
            found.is_some()
        });
        found.expect("just found")
    }

    fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("it runs");
    }

    /// Its books, when it has ended.
    #[track_caller]
    fn books(mut self) -> Books {
        let status = self.printed.ends(&mut self.child, SOON);
        assert!(status.success(), "{status:?}");
        let list = |name: &str| {
            let line = self.says(name);
            let (_, list) = line.split_once(name).expect("it contains this");
            list.split_whitespace().filter_map(|word| word.parse().ok()).collect()
        };
        Books {
            owned: [list("free:"), list("delegated:")].concat(),
            given: list("given:"),
            held: [list("offered:"), list("in doubt:"), list("not taken:")].concat(),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a pfxm3 says at its end.
struct Books {
    owned: Vec<Prefix>,
    given: Vec<Prefix>,
    held: Vec<Prefix>,
}

/// No prefix has two owners, and together with what is held they are what there was at the beginning.
#[track_caller]
fn all_is_there(books: &[Books]) {
    let mut sum = Pool::default();
    for prefix in books.iter().flat_map(|books| &books.owned) {
        assert!(sum.insert(*prefix), "{prefix} has another owner");
    }
    let mut held: Vec<_> = books.iter().flat_map(|books| books.held.clone()).collect();
    held.sort_by_key(Prefix::length);
    held.into_iter().for_each(|prefix| _ = sum.insert(prefix));
    sum.join();
    assert_eq!(sum.iter().map(ToString::to_string).collect::<Vec<_>>(), POOLS);
}

fn pair() -> Result<(Lab, Node, Node), LabError> {
    let lab = Lab::new()?;
    let (a, b) = (lab.node("origin")?, lab.node("other")?);
    lab.link(&a, &b)?;
    Ok((lab, a, b))
}

#[test]
fn an_origin_serves_four_others_over_two_hops() -> Result<(), LabError> {
    isolated!(180);
    let lab = Lab::new()?;
    let hub = lab.node("hub")?;
    let ends = ["origin", "one", "two", "three"].map(|name| lab.node(name).expect("a node"));
    ends.iter().try_for_each(|end| lab.link(&hub, end).map(drop))?;
    lab.route_all()?;
    let started = Instant::now();
    let origin = Program::pfxm3(&ends[0], "--origin");
    origin.says("Ready to negotiate");
    let others: Vec<Program> =
        [&hub, &ends[1], &ends[2], &ends[3]].map(|node| Program::pfxm3(node, "--quick")).into();
    for other in &others {
        other.says("Served");
    }
    println!("all served after {:?}", started.elapsed());
    let all: Vec<Program> = others.into_iter().chain([origin]).collect();
    all.iter().for_each(Program::interrupt);
    let books: Vec<Books> = all.into_iter().map(Program::books).collect();
    all_is_there(&books);
    let given: usize = books.iter().map(|books| books.given.len()).sum();
    assert!(given >= 8, "each of four has got IPv6 and IPv4: {given}");
    Ok(())
}

#[test]
fn the_form_with_tags_works_as_well() -> Result<(), LabError> {
    isolated!();
    let (_lab, a, b) = pair()?;
    let origin = Program::pfxm3(&a, "--origin --tags");
    origin.says("Ready to negotiate PrefixManagerT");
    let books = Program::pfxm3(&b, "--quick --tags --until-served").books();
    assert_eq!(books.owned.iter().filter(|prefix| prefix.family() == Family::V4).count().min(1), 1);
    origin.interrupt();
    all_is_there(&[books, origin.books()]);
    Ok(())
}

/// An ASA that can do what pfxm3 would not.
struct Tester {
    asa: Asa,
    objective: Objective,
}

impl Tester {
    fn new(node: &Node) -> Self {
        let engine = node.run(|| Engine::start(Config::new())).expect("start");
        let asa = Asa::register(&engine, "tester").expect("register");
        let mut objective = Objective::new("PrefixManager");
        objective.neg = true;
        node.run(|| engine.register_obj(asa.nonce(), &objective, RegisterObj::default())).expect("register");
        Self { asa, objective }
    }

    /// Asks, and returns the offer.
    fn ask(&self, node: &Node, length: u8, named: Option<Prefix>) -> Result<(SessionNonce, Prefix), Error> {
        let engine = self.asa.engine();
        let request = Message { family: Family::V6, length, prefix: named };
        let asked = Objective { value: Form::Array.encode(&request), ..self.objective.clone() };
        let options = Discover { enough: Some(1), ..Discover::default() };
        let mut found = Vec::new();
        eventually(SOON, "the origin is found", || {
            let discovered = node.run(|| engine.discover(self.asa.nonce(), &asked, Some(1000), options));
            found = discovered.expect("discover");
            !found.is_empty()
        });
        match node.run(|| engine.req_negotiate(self.asa.nonce(), &asked, found.first(), Some(5000)))? {
            Negotiation::Offer(session, offer) => {
                let offer = Form::Array.decode(&offer.value).expect("an offer");
                Ok((session, offer.prefix.expect("a prefix")))
            }
            Negotiation::Agreed(_) => panic!("nothing was offered"),
        }
    }

    fn end(&self, session: SessionNonce, accept: bool) {
        self.asa.engine().end_negotiate(self.asa.nonce(), session, accept, None).expect("end");
    }
}

#[test]
fn a_negotiation_that_fails_half_way_loses_nothing() -> Result<(), LabError> {
    isolated!();
    let (_lab, a, b) = pair()?;
    let origin = Program::pfxm3(&a, "--origin --pool 2001:db8::/60 --no-ipv4");
    origin.says("Ready to negotiate");
    let tester = Tester::new(&b);

    // Declined: free again, and so offered again.
    let (session, declined) = tester.ask(&b, 61, None).expect("an offer");
    tester.end(session, false);
    origin.says(&format!("Did not give {declined} - Declined (Refused)"));

    // Nonsense instead of an end: whether we have it is not known.
    let (session, doubted) = tester.ask(&b, 61, None).expect("an offer");
    assert_eq!(doubted, declined);
    tester
        .asa
        .engine()
        .send_invalid(tester.asa.nonce(), session, Some(Value::from("half way")))
        .expect("sent");
    origin.says(&format!("Did not give {doubted} - No valid reply to negotiation step (Unknown)"));

    // Nobody gets it, not even we, and what is left is all that there is.
    let (session, other) = tester.ask(&b, 61, None).expect("an offer");
    assert_eq!(
        (doubted.to_string(), other.to_string()),
        ("2001:db8:0:8::/61".into(), "2001:db8::/61".into())
    );
    tester.end(session, true);
    origin.says(&format!("Gave {other}"));
    assert_eq!(tester.ask(&b, 64, None), Err(Error::Declined(Some("Prefix pool empty".to_owned()))));

    // We name it, to say that we were offered it and do not have it.
    let (session, again) = tester.ask(&b, doubted.length(), Some(doubted)).expect("an offer");
    assert_eq!(again, doubted);
    tester.end(session, true);
    origin.says(&format!("Gave {doubted}"));
    origin.interrupt();
    let books = origin.books();
    assert_eq!(books.given, [other, doubted]);
    assert!(books.owned.is_empty() && books.held.is_empty());
    Ok(())
}

#[test]
fn a_peer_that_dies_before_it_accepts_costs_nothing() -> Result<(), LabError> {
    isolated!();
    let (_lab, a, b) = pair()?;
    let origin = Program::pfxm3(&a, "--origin");
    origin.says("Ready to negotiate");
    let tester = Tester::new(&b);
    let (_, offered) = tester.ask(&b, 57, None).expect("an offer");
    tester.asa.engine().shutdown();
    origin.says(&format!("Did not give {offered} - Negotiation peer not listening (Gone)"));
    origin.interrupt();
    all_is_there(&[origin.books()]);
    Ok(())
}

#[test]
fn stopped_while_an_offer_is_open_it_declines_and_keeps_the_doubt() -> Result<(), LabError> {
    isolated!();
    let (_lab, a, b) = pair()?;
    let origin = Program::pfxm3(&a, "--origin");
    origin.says("Ready to negotiate");
    let tester = Tester::new(&b);
    let (session, offered) = tester.ask(&b, 57, None).expect("an offer");
    origin.interrupt();
    origin.says(&format!("Did not give {offered} - No session (Unknown)"));
    let counter = Objective { value: Value::Null, ..tester.objective.clone() };
    let end = tester.asa.engine().negotiate_step(tester.asa.nonce(), session, &counter, Some(5000));
    assert!(matches!(&end, Err(Error::Declined(Some(why))) if why == "Stopping"), "{end:?}");
    let books = origin.books();
    assert_eq!(books.held, [offered]);
    all_is_there(&[books]);
    Ok(())
}

#[test]
fn help_explains_and_wrong_options_are_refused() {
    let run =
        |options: &[&str]| Command::new(env!("CARGO_BIN_EXE_pfxm3")).args(options).output().expect("run");
    let help = run(&["--help"]);
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.status.success() && text.contains("--origin") && text.contains("--lab"), "{text}");
    for wrong in [["--pool", "10.0.0.0/8"], ["--pool", "::/3"], ["--subnet-length", "97"]] {
        assert!(!run(&wrong).status.success(), "{wrong:?}");
    }
}

#[test]
fn lab_runs_a_pair() {
    lab_runs(&[]);
}

#[test]
fn lab_runs_a_pair_in_a_domain_through_a_relay() {
    let text = lab_runs(&["--domain", "--relays", "1", "--test-mode"]);
    assert!(!text.contains("trusts everything on its links"), "{text}");
}

fn lab_runs(more: &[&str]) -> String {
    let options = [&["--origin", "--lab", "pfxm3 --quick --until-served", "--seed", "1"], more].concat();
    let run = Command::new(env!("CARGO_BIN_EXE_pfxm3")).args(options).output().expect("run");
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(
        run.status.success() && text.contains("Served"),
        "{text}{}",
        String::from_utf8_lossy(&run.stderr)
    );
    text
}

// With graspy's own pfxm3.py and pfxm4.py

/// What runs one of graspy's programs without a window, a password and the dialogue of its engine. Tags of new
/// versions of cbor2 cannot be changed, and those for addresses are decoded to objects; pfxm4.py expects the tags
/// of old ones.
const RUN_GRASPY: &str = r#"
import inspect, os, runpy, sys, types
sys.modules["quadsk"] = types.SimpleNamespace(key="No key", iv=None)
sys.modules["tkinter"] = types.SimpleNamespace(font=None)
root = os.environ["GRASPY_DIR"]
sys.path.insert(0, root)
import cbor2

class Tag:
    def __init__(self, tag, value):
        self.tag, self.value = tag, value

if "semantic_decoders" in inspect.signature(cbor2.loads).parameters:
    loads, dumps, Made = cbor2.loads, cbor2.dumps, cbor2.CBORTag
    inside = lambda it: it.decode() if isinstance(it, cbor2.CBORDecoder) else it
    keep = {n: (lambda it, *_, n=n: Tag(n, inside(it))) for n in (52, 54)}
    encode = lambda encoder, tag: encoder.encode(Made(tag.tag, tag.value))
    cbor2.CBORTag = Tag
    cbor2.loads = lambda data: loads(data, semantic_decoders=keep)
    cbor2.dumps = lambda value: dumps(value, default=encode)
import grasp
grasp.skip_dialogue(testing=False, selfing=False, diagnosing=True)
grasp.init_bubble_text = lambda caption: None
runpy.run_path(os.path.join(root, "ASA-examples", sys.argv[1]), run_name="__main__")
"#;

fn graspy(node: &Node, program: &str, answers: &str) -> Program {
    let Some(directory) = std::env::var_os("GRASPY_DIR").map(PathBuf::from) else {
        panic!("set GRASPY_DIR to a checkout of graspy (the directory of grasp.py) to run this test");
    };
    let mut command = node.command(std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into()));
    command.args(["-u", "-c", RUN_GRASPY, program]);
    command.env("GRASPY_DIR", directory).env("PYTHONDONTWRITEBYTECODE", "1");
    Program::start(node, command, answers)
}

/// Ours is the origin, theirs asks.
fn theirs_asks(program: &str, options: &str) -> Result<(), LabError> {
    let (_lab, a, b) = pair()?;
    let origin = Program::pfxm3(&a, &format!("--origin {options}"));
    origin.says("Ready to negotiate");
    // Not the origin; subnets of 64 bits; quickly.
    let other = graspy(&b, program, "N\n64\nY\n");
    other.says("Results for PrefixManager.Params : [[['role', 'RSG'], ['prefix_length', 34]]");
    other.says("Obtained 2001:db8:");
    other.says("Obtained 10.");
    other.says("prefix was delegated");
    origin.says("Gave 2001:db8:ffff:ff80::/57");
    origin.says("Gave 10.");
    drop(other);
    origin.interrupt();
    let books = origin.books();
    assert!(books.given.len() >= 2 && books.held.is_empty(), "{:?} {:?}", books.given, books.held);
    // What it has got is what ours has given.
    let theirs = Books { owned: books.given.clone(), given: Vec::new(), held: Vec::new() };
    all_is_there(&[books, theirs]);
    Ok(())
}

/// Theirs is the origin, ours asks.
fn ours_asks(program: &str, options: &str) -> Result<(), LabError> {
    let (_lab, a, b) = pair()?;
    // The origin; subnets of 64 bits; no prefix by hand; with IPv4, for which Y means no.
    let origin = graspy(&a, program, "Y\n64\nN\nN\n");
    origin.says("Ready to negotiate");
    let books = Program::pfxm3(&b, &format!("--quick --until-served {options}")).books();
    origin.says("Negotiation succeeded");
    let all: Vec<String> = {
        let mut pool = Pool::default();
        assert!(books.owned.iter().all(|prefix| pool.insert(*prefix)));
        pool.join();
        pool.iter().map(ToString::to_string).collect()
    };
    assert_eq!(all.len(), 2, "one prefix of each kind: {all:?}");
    assert!(all[0].starts_with("10.") && all[0].ends_with("/20") && all[1].ends_with("/57"), "{all:?}");
    assert!(books.held.is_empty());
    Ok(())
}

#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn graspy_gets_prefixes_from_our_origin() -> Result<(), LabError> {
    isolated!(180);
    theirs_asks("pfxm3.py", "")
}

#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn graspy_gets_tagged_prefixes_from_our_origin() -> Result<(), LabError> {
    isolated!(180);
    theirs_asks("pfxm4.py", "--tags")
}

#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn we_get_prefixes_from_graspys_origin() -> Result<(), LabError> {
    isolated!(180);
    ours_asks("pfxm3.py", "")
}

#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn we_get_tagged_prefixes_from_graspys_origin() -> Result<(), LabError> {
    isolated!(180);
    ours_asks("pfxm4.py", "--tags")
}
