//! The verbs of the prompt, and carrying out a line.

use grasp::tools::{policy::POLICIES, words};

use super::{Bench, asks, command, failure::Failure, listen, wires};

type Run = fn(&mut Bench, usize, &[&str]) -> Result<(), Failure>;

/// A verb: its name, what follows it, what it does, and the function.
struct Verb(&'static str, &'static str, &'static str, Run);

/// The verbs from this one on are about the network, whichever node they are said at.
const FIRST_OF_NETWORK: &str = "nodes";

const VERBS: &[Verb] = &[
    Verb(
        "discover",
        "NAME [MS] [fresh]",
        "find who has NAME; fresh: forget what is known first",
        asks::discover,
    ),
    Verb("listen", "NAME [POLICY]", "answer requests to negotiate NAME", listen::listen),
    Verb("negotiate", "NAME VALUE [POLICY]", "ask a peer for VALUE, and answer its offers", asks::negotiate),
    Verb("listen-synch", "NAME VALUE", "serve VALUE to whoever synchronizes NAME", listen::listen_synch),
    Verb("sync", "NAME [MS]", "get the value of NAME, flooded or from a peer", asks::sync),
    Verb("flood", "NAME VALUE [MS]", "tell everyone VALUE, valid for MS or for ever", asks::flood),
    Verb("floods", "[NAME [MS]]", "what was flooded; waits up to MS for it", asks::floods),
    Verb("grasp", "VERB ...", "any verb of the command grasp, at this node", command::run),
    Verb("unregister", "NAME", "end listening, serving and flooding NAME", listen::unregister),
    Verb("stats", "[NODE]", "the engine's counters that are not 0", asks::stats),
    Verb("dump", "", "the engine's registries and caches", asks::dump),
    Verb("nodes", "", "the nodes with interfaces, addresses and objectives", wires::nodes),
    Verb("links", "", "the links with what was done to them", wires::links),
    Verb("cut", "LINK", "let nothing through, which the nodes cannot see", wires::cut),
    Verb("unplug", "LINK", "pull the plugs, which the nodes see", wires::unplug),
    Verb("heal", "LINK", "undo cut and unplug", wires::heal),
    Verb("impair", "LINK MS PERCENT", "delay frames and lose some; 0 0 ends it", wires::impair),
    Verb("link", "NODE NODE", "add a link", wires::link),
    Verb("unlink", "LINK", "remove a link", wires::unlink),
    Verb("address", "NODE add|remove ADDR/LEN [IF]", "change a node's addresses", wires::address),
    Verb("loop-count", "[N]", "how far what is sent goes, and how often it is answered", asks::loop_count),
    Verb("sleep", "MS", "wait", sleep),
];

/// The prompt: a network, and the node that commands are for.
pub(crate) struct Session {
    bench: Bench,
    at: usize,
    over: bool,
}

impl Session {
    pub(crate) fn new(bench: Bench) -> Self {
        Self { bench, at: 0, over: false }
    }

    /// Whether the user has asked for the end.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// The prompt.
    pub(crate) fn prompt(&self) -> String {
        format!("{}> ", self.bench.places[self.at].node.name())
    }

    /// An interrupt that came when nothing was to be interrupted is not for the next command.
    pub(crate) fn forget_interrupts(&self) {
        while self.bench.interrupts.try_recv().is_ok() {}
    }

    /// Carries out a line. What goes wrong is printed; returns whether all went well.
    pub(crate) fn execute(&mut self, line: &str) -> bool {
        match words::split(line).map_err(Failure::Said).and_then(|words| self.carry_out(&words)) {
            Ok(()) => true,
            Err(failure) => {
                let sentence = match failure {
                    Failure::Said(sentence) => sentence,
                    // `carry_out` has said which.
                    Failure::Usage => "not understood".to_owned(),
                    Failure::Interrupted => "interrupted".to_owned(),
                };
                self.bench.printer.say(format_args!("error: {sentence}"));
                false
            }
        }
    }

    fn carry_out(&mut self, words: &[&str]) -> Result<(), Failure> {
        let (places, words) = match words {
            [] => return Ok(()),
            [first, rest @ ..] => match first.strip_prefix('@') {
                Some("all") => ((0..self.bench.places.len()).collect(), rest),
                Some(node) => (vec![self.bench.place(node)?], rest),
                None => (vec![self.at], words),
            },
        };
        let [verb, args @ ..] = words else {
            return Err(Failure::Said("a verb must follow, as in @n1 discover EX1".to_owned()));
        };
        match (*verb, args) {
            ("quit" | "exit", []) => self.over = true,
            ("help", []) => self.help(),
            ("node", [node]) => {
                self.at = self.bench.place(node)?;
                self.bench.printer.say(format_args!("commands are for {node} now"));
            }
            ("quit" | "exit", _) => return Err(usage("quit", "")),
            ("help", _) => return Err(usage("help", "")),
            ("node", _) => return Err(usage("node", "NODE")),
            _ => return self.at_places(verb, args, &places),
        }
        Ok(())
    }

    /// One failure does not keep the other nodes from their turn; the first is what counts.
    fn at_places(&mut self, verb: &str, args: &[&str], places: &[usize]) -> Result<(), Failure> {
        let place_of = |name: &str| VERBS.iter().position(|known| known.0 == name);
        let own: Vec<_> = VERBS.iter().map(|verb| verb.0).chain(["node", "help", "quit"]).collect();
        let shared = command::verbs(&own);
        let words = [&[verb], args].concat();
        let (number, args) = match (place_of(verb), place_of("grasp")) {
            (Some(number), _) => (number, args),
            (None, Some(number)) if shared.iter().any(|known| known == verb) => (number, words.as_slice()),
            _ => {
                let all = [own.join(", "), shared.join(", ")].join(", ");
                return Err(Failure::Said(format!("there is no verb {verb}; there are: {all}")));
            }
        };
        let Verb(name, follows, _, run) = &VERBS[number];
        let of_network = place_of(FIRST_OF_NETWORK).is_some_and(|first| number >= first);
        let places = if of_network { &places[..1] } else { places };
        let mut outcome = Ok(());
        for &at in places {
            let done = run(&mut self.bench, at, args).map_err(|failure| match failure {
                Failure::Usage => usage(name, follows),
                Failure::Interrupted => Failure::Interrupted,
                Failure::Said(sentence) if of_network => Failure::Said(format!("{verb}: {sentence}")),
                Failure::Said(sentence) => {
                    let here = self.bench.places[at].node.name();
                    Failure::Said(format!("{here}: {verb}: {sentence}"))
                }
            });
            if matches!(done, Err(Failure::Interrupted)) {
                return done;
            }
            if let (Err(Failure::Said(earlier)), true) = (&outcome, done.is_err()) {
                self.bench.printer.say(format_args!("error: {earlier}"));
                outcome = done;
            } else if outcome.is_ok() {
                outcome = done;
            }
        }
        outcome
    }

    fn help(&self) {
        let printer = &self.bench.printer;
        for Verb(name, follows, does, _) in VERBS {
            printer.say(format_args!("{:<37} {does}", format!("{name} {follows}")));
        }
        for (form, does) in [
            ("node NODE", "commands are for that node from now on"),
            ("@NODE VERB ...", "one command for another node; @all for all, one after the other"),
            ("quit", "the end, as is the end of the input"),
        ] {
            printer.say(format_args!("{form:<37} {does}"));
        }
        let own: Vec<_> = VERBS.iter().map(|verb| verb.0).collect();
        let shared = command::verbs(&own).join(", ");
        printer.say(format_args!("Verbs of grasp (docs/grasp.md) that need no grasp in front: {shared}."));
        printer.say("VALUE is JSON (47, \"text\", [\"NZD\", 47]) or a word. MS are milliseconds.");
        printer.say("LINK is a number, two nodes as n1-n2, or all.");
        printer.say(format_args!("POLICY is one of {POLICIES}."));
    }

    /// Ends everything that runs.
    pub(crate) fn shut_down(self) {
        self.bench.shut_down();
    }
}

fn usage(verb: &str, follows: &str) -> Failure {
    Failure::Said(format!("usage: {verb} {follows}").trim_end().to_owned())
}

fn sleep(bench: &mut Bench, _: usize, args: &[&str]) -> Result<(), Failure> {
    let [time] = args else { return Err(Failure::Usage) };
    bench.pause(std::time::Duration::from_millis(words::milliseconds(time)?.into()))
}
