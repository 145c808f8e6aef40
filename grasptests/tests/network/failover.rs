//! Providers that restart and move, links and relays that come and go: whoever asks is served again within one discovery.

use std::time::{Duration, Instant};

use grasp::{Config, Discover, Locator, Objective, Port, RegisterObj, Value};
use grasptests::isolated;
use grasptests::lab::{Lab, LabError, Topology, eventually};
use grasptests::nodes::{Host, discoverable, first_answer, negotiable, synchronizable};
use grasptests::simulator::random::Random;

const SOON: Duration = Duration::from_secs(10);
/// How often the provider restarts or moves in each network.
const CHANGES: usize = 100;
/// What a client gives one call, in milliseconds.
const PATIENCE: u32 = 5000;

/// What becomes of the provider.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// It registers its objective again, on another port.
    OtherPort,
    /// On the same port, if that is free.
    SamePort,
    /// Its whole engine starts again.
    Engine,
    /// Another node offers the objective.
    Move,
}

/// Nodes of which one serves a value.
struct Served {
    hosts: Vec<Host>,
    provider: usize,
    random: Random,
    _lab: Lab,
}

impl Served {
    fn new(topology: Topology, seed: u64) -> Result<Self, LabError> {
        let lab = Lab::new()?;
        let network = lab.build(topology)?;
        let hosts = network.nodes.iter().map(|node| Host::start(node, Config::new())).collect();
        let served = Self { hosts, provider: 0, random: Random::new(seed), _lab: lab };
        served.serve(0, Port::Any);
        Ok(served)
    }

    fn serve(&self, number: usize, port: Port) {
        let objective = synchronizable("EX1", i64::try_from(number).expect("a small number"));
        let host = &self.hosts[self.provider];
        host.register_with(&objective, RegisterObj { port, ..RegisterObj::default() });
        host.run(|engine, asa| engine.listen_synchronize(asa, &objective)).expect("it is served");
    }

    fn stop(&self) {
        let host = &self.hosts[self.provider];
        host.run(|engine, asa| engine.deregister_obj(asa, &Objective::new("EX1"))).expect("deregistered");
    }

    fn change(&mut self, number: usize) -> Change {
        let change =
            [Change::OtherPort, Change::SamePort, Change::Engine, Change::Move][self.random.below(4)];
        self.stop();
        match change {
            Change::OtherPort => self.serve(number, Port::Any),
            Change::SamePort => self.serve(number, Port::Last),
            Change::Engine => {
                let host = &mut self.hosts[self.provider];
                host.engine.shutdown();
                *host = Host::start(&host.node, Config::new());
                self.serve(number, Port::Any);
            }
            Change::Move => {
                self.provider =
                    (self.provider + 1 + self.random.below(self.hosts.len() - 1)) % self.hosts.len();
                self.serve(number, Port::Any);
            }
        }
        change
    }

    /// Some of the others ask for the value at the same time, each in one call. Returns how long each took.
    fn ask(&mut self, number: usize) -> Vec<Duration> {
        let expected = Value::from(i64::try_from(number).expect("a small number"));
        let mut asking: Vec<_> = (0..self.hosts.len()).filter(|client| *client != self.provider).collect();
        let sure = asking.swap_remove(self.random.below(asking.len()));
        asking.retain(|_| self.random.chance(0.6));
        asking.push(sure);
        std::thread::scope(|scope| {
            let ask = |client: usize| {
                let (host, expected) = (&self.hosts[client], &expected);
                scope.spawn(move || {
                    let begun = Instant::now();
                    let wanted = synchronizable("EX1", ());
                    let got = host.run(|engine, asa| engine.synchronize(asa, &wanted, None, Some(PATIENCE)));
                    let got = got.unwrap_or_else(|error| panic!("change {number}, client {client}: {error}"));
                    assert_eq!(got.value, *expected, "change {number}, client {client}");
                    begun.elapsed()
                })
            };
            let threads: Vec<_> = asking.into_iter().map(ask).collect();
            threads.into_iter().map(|thread| thread.join().expect("it is served")).collect()
        })
    }
}

fn every_client_is_served_again(topology: Topology) -> Result<(), LabError> {
    let mut served = Served::new(topology, 18)?;
    served.ask(0);
    let (mut times, mut counts) = (Vec::new(), [0; 4]);
    for number in 1..=CHANGES {
        let change = served.change(number);
        counts[change as usize] += 1;
        times.extend(served.ask(number));
    }
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    println!(
        "{topology}: {counts:?} changes to another port, on the same, of the engine, of the node; {} calls, median {:?}, \
         95 % within {:?}, all within {:?}",
        times.len(),
        at(50),
        at(95),
        at(100)
    );
    Ok(())
}

#[test]
fn in_a_line_a_provider_that_restarts_or_moves_is_found_again_in_one_call() -> Result<(), LabError> {
    isolated!();
    every_client_is_served_again(Topology::Line(5))
}

#[test]
fn in_a_ring_a_provider_that_restarts_or_moves_is_found_again_in_one_call() -> Result<(), LabError> {
    isolated!();
    every_client_is_served_again(Topology::Ring(5))
}

#[test]
fn in_a_grid_a_provider_that_restarts_or_moves_is_found_again_in_one_call() -> Result<(), LabError> {
    isolated!();
    every_client_is_served_again(Topology::Grid(3, 2))
}

#[test]
fn a_negotiation_goes_to_another_peer_where_the_known_one_has_gone() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let network = lab.build(Topology::Lan(3))?;
    let hosts: Vec<_> = network.nodes.iter().map(|node| Host::start(node, Config::new())).collect();
    let ex3 = negotiable("EX3", 1);
    hosts[0].register(&ex3);
    hosts[1].register_with(&ex3, discoverable());
    let known =
        hosts[0].run(|engine, asa| engine.discover(asa, &ex3, None, first_answer())).expect("discover");
    assert!(!known.is_empty());
    hosts[1].run(|engine, asa| engine.deregister_obj(asa, &ex3)).expect("deregister");
    hosts[2].register_with(&ex3, discoverable());
    let listening = hosts[2].listen(&ex3);
    hosts[0].run(|engine, asa| engine.req_negotiate_noloop(asa, &ex3, None, None)).expect("another peer");
    grasptests::nodes::joined(listening).expect("a request");
    // Nobody is left: the error says that the last could not be reached, or nobody answers.
    hosts[2].run(|engine, asa| engine.deregister_obj(asa, &ex3)).expect("deregister");
    let begun = Instant::now();
    let failed = hosts[0].run(|engine, asa| engine.req_negotiate_noloop(asa, &ex3, None, Some(1000)));
    assert_eq!(failed.expect_err("nobody is left"), grasp::Error::SockErrNegRq);
    assert!(begun.elapsed() >= Duration::from_millis(900), "it looks for others within the timeout");
    assert!(begun.elapsed() < Duration::from_millis(1000) + SOON);
    Ok(())
}

#[test]
fn a_relay_that_has_learnt_of_a_responder_by_another_way_is_not_deaf_to_it() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let names = ["asker", "relay", "other", "responder"];
    let nodes = names.map(|name| lab.node(name).expect("a node"));
    let [asker, relay, other, responder] = &nodes;
    lab.lan(&[asker, relay, other])?;
    let direct = lab.lan(&[relay, responder])?;
    lab.lan(&[other, responder])?;
    lab.route_all()?;
    let hosts = nodes.each_ref().map(|node| Host::start(node, Config::new()));
    let [a, r, p, b] = &hosts;
    let ex3 = negotiable("EX3", 1);
    b.register_with(&ex3, discoverable());
    let links = |host: &Host| host.engine.links().len();
    relay.set_up("eth1", false)?;
    eventually(SOON, "the relay has lost its link to the responder", || links(r) == 1);
    let find = |host: &Host, timeout| {
        let options = Discover { flush: true, enough: Some(1), ..Discover::default() };
        host.run(|engine, asa| engine.discover(asa, &ex3, Some(timeout), options)).expect("discover")
    };
    eventually(SOON, "the relay learns by way of the other", || !find(r, 1000).is_empty());
    relay.set_up("eth1", true)?;
    eventually(SOON, "the link is back", || {
        links(r) == 2 && relay.addresses("eth1").is_ok_and(|it| !it.is_empty())
    });
    p.engine.shutdown();
    for attempt in 0..3 {
        let found = find(a, 4000);
        assert!(!found.is_empty(), "attempt {attempt}");
        let expected = direct.ula(responder).map(Locator::Ipv6);
        assert!(found.iter().any(|found| found.locator == expected), "{found:?}");
    }
    Ok(())
}
