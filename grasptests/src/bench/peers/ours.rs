//! Our engine, and plain TCP, as peers like the others.

use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::thread;

use grasp::trace::{Cache, Event};
use grasp::wire::{self, Limits};
use grasp::{
    AsaLocator, AsaNonce, Config, Discover, Engine, Negotiation, Objective, RegisterObj, TaggedObjective,
};
use grasptests::nodes::{discoverable, negotiable, synchronizable};

use super::super::figure::Result;
use super::super::pair::{request_and_value, steps};
use super::super::{bare, process::READY};
use common::{Heard, bytes, now, number, rate, timed};

#[expect(
    clippy::disallowed_types,
    dead_code,
    unreachable_pub,
    reason = "what the peers of other workspaces use; it has no other dependencies"
)]
#[path = "../../../peers/common/src/lib.rs"]
mod common;

/// Where plain TCP listens.
const PORT: u16 = 7779;
/// How many values may be served.
const OBJECTIVES: usize = 1000;

/// An engine and what it is told to do.
struct Ours {
    engine: Engine,
    asa: AsaNonce,
    rapid: bool,
    heard: Heard,
    /// Who has the value, and who takes steps.
    known: Option<(AsaLocator, AsaLocator)>,
}

/// Plays an engine; `rapid` if values come with the answers to discoveries.
pub(crate) fn play_engine(rapid: bool) {
    let mut ours = None;
    common::serve(|command, arguments| {
        if ours.is_none() {
            ours = Some(Ours::start(rapid)?);
        }
        ours.as_mut().ok_or("not started")?.carry_out(command, arguments)
    });
}

impl Ours {
    fn start(rapid: bool) -> Result<Self> {
        let config = Config::new().objective_limit(OBJECTIVES).rapid_synch_message(rapid);
        let engine = Engine::start(config)?;
        let asa = engine.register_asa("bench")?;
        Ok(Self { engine, asa, rapid, heard: Heard::default(), known: None })
    }

    fn carry_out(&mut self, command: &str, arguments: &[&str]) -> Result<String> {
        match command {
            "start" | "listen" => {}
            "serve" => self.serve(number(arguments, 0)?)?,
            "find" => {
                let wanted = value(number(arguments, 0)?);
                return timed(|| self.synchronize(&wanted, None));
            }
            "connect" => {
                self.engine.register_obj(self.asa, &step(), RegisterObj::default())?;
                self.known = Some((self.discover(&value(0))?, self.discover(&step())?));
            }
            "ask" => {
                let (times, wanted) = (number(arguments, 0)?, value(0));
                let peer = self.known.as_ref().map(|(peer, _)| peer);
                return timed(|| (0..times).try_for_each(|_| self.synchronize(&wanted, peer)));
            }
            "step" => return self.step(number(arguments, 0)?),
            "join" => self.listen_to_floods()?,
            "whole" => {}
            "spread" => {
                let flooded =
                    Objective { loop_count: u8::MAX, ..synchronizable(&spread(number(arguments, 0)?), 47) };
                self.engine.register_obj(self.asa, &flooded, RegisterObj::default())?;
                let began = now();
                self.engine.flood(self.asa, 60_000, &[TaggedObjective::new(flooded, None)])?;
                return Ok(began.to_string());
            }
            "heard" => return self.heard.wait(number(arguments, 0)?),
            other => return Err(format!("unknown: {other}").into()),
        }
        Ok(READY.to_owned())
    }

    fn serve(&self, count: usize) -> Result<()> {
        let options = RegisterObj { rapid: self.rapid, ..discoverable() };
        for place in 0..count {
            self.engine.register_obj(self.asa, &value(place), options.clone())?;
            self.engine.listen_synchronize(self.asa, &value(place))?;
        }
        self.engine.register_obj(self.asa, &step(), discoverable())?;
        let (engine, asa) = (self.engine.clone(), self.asa);
        // It ends with the process.
        let answer = move || {
            while let Ok((session, asked)) = engine.listen_negotiate(asa, &step()) {
                let mut offer = Ok(Negotiation::Offer(session, asked));
                while let Ok(Negotiation::Offer(session, asked)) = offer {
                    offer = engine.negotiate_step(asa, session, &Objective { loop_count: 6, ..asked }, None);
                }
            }
        };
        thread::Builder::new().name("answer".to_owned()).spawn(answer)?;
        Ok(())
    }

    fn synchronize(&self, wanted: &Objective, peer: Option<&AsaLocator>) -> Result<()> {
        let got = self.engine.synchronize(self.asa, wanted, peer, None)?;
        if got.value == wanted.value { Ok(()) } else { Err("another value".into()) }
    }

    fn discover(&self, wanted: &Objective) -> Result<AsaLocator> {
        let options = Discover { enough: Some(1), ..Discover::default() };
        let found = self.engine.discover(self.asa, wanted, Some(5000), options)?.pop();
        found.ok_or_else(|| "nothing was found".into())
    }

    /// Steps in a session of their own.
    fn step(&self, times: usize) -> Result<String> {
        let peer = self.known.as_ref().map(|(_, peer)| peer);
        let asked = self.engine.req_negotiate(self.asa, &step(), peer, None)?;
        let Negotiation::Offer(session, _) = asked else { return Err("no offer".into()) };
        let took = timed(|| {
            (0..times).try_for_each(|_| {
                match self.engine.negotiate_step(self.asa, session, &step(), None)? {
                    Negotiation::Offer(..) => Ok(()),
                    Negotiation::Agreed(_) => Err("acceptance where an offer was due".into()),
                }
            })
        });
        self.engine.end_negotiate(self.asa, session, true, None)?;
        took
    }

    /// Notes when values come.
    fn listen_to_floods(&self) -> Result<()> {
        let (trace, heard) = (self.engine.trace(), self.heard.clone());
        let note = move || {
            while let Ok(event) = trace.recv() {
                if let Event::CacheAdded(added) = &event.event
                    && added.cache == Cache::Flood
                    && let Some(Ok(value)) = added.objective.strip_prefix("spread").map(str::parse)
                {
                    heard.came(value);
                }
            }
        };
        thread::Builder::new().name("note".to_owned()).spawn(note)?;
        Ok(())
    }
}

fn value(place: usize) -> Objective {
    synchronizable(&format!("ex{place}"), 47)
}

fn step() -> Objective {
    Objective { loop_count: 6, ..negotiable("step", 47) }
}

fn spread(value: usize) -> String {
    format!("spread{value}")
}

/// Plays our decoder, with its limits.
pub(crate) fn play_decoder() {
    let decode = |bytes: &[u8]| wire::decode(bytes, &Limits::default());
    common::serve(|command, arguments| match command {
        "show" => Ok(format!("{:?}", decode(&bytes(arguments)?)?)),
        "decode" => Ok(rate(&bytes(arguments)?, decode)),
        other => Err(format!("unknown: {other}").into()),
    });
}

/// Plays a bare server or client with the bytes of our messages.
pub(crate) fn play_tcp() {
    let mut target = None;
    let (request, reply) = request_and_value();
    let (offer, _) = steps();
    common::serve(|command, arguments| {
        match command {
            "listen" => {
                let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT))?;
                let reply = reply.clone();
                thread::Builder::new().spawn(move || accept(&listener, &reply))?;
            }
            "serve" => {}
            "connect" => target = Some(arguments.first().ok_or("no address")?.parse::<Ipv6Addr>()?),
            "ask" => {
                let (times, target) = (number(arguments, 0)?, target.ok_or("no target")?);
                return timed(|| {
                    (0..times)
                        .try_for_each(|_| bare::exchange(&mut TcpStream::connect((target, PORT))?, &request))
                });
            }
            "step" => {
                let mut stream = TcpStream::connect((target.ok_or("no target")?, PORT))?;
                stream.set_nodelay(true)?;
                let times = number(arguments, 0)?;
                return timed(|| (0..times).try_for_each(|_| bare::exchange(&mut stream, &offer)));
            }
            other => return Err(format!("unknown: {other}").into()),
        }
        Ok(READY.to_owned())
    });
}

/// A thread for each connection.
fn accept(listener: &TcpListener, reply: &[u8]) {
    for mut stream in listener.incoming().flatten() {
        let reply = reply.to_owned();
        // Without one the asker fails.
        let _ = thread::Builder::new().spawn(move || {
            let _ = stream.set_nodelay(true);
            bare::serve(&mut stream, &reply);
        });
    }
}
