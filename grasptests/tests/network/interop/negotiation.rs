//! How negotiations end, and what goes on before.

use std::thread::sleep;
use std::time::{Duration, Instant};

use grasp::{Objective, Value};
use grasptests::lab::eventually;
use parking_lot::Mutex;

use crate::interop::pair::{Pair, negotiate};
use crate::interop::side::{How, Reply, Session, Side, negotiable};
use crate::interop::{SOON, TIMEOUT, needs_graspy};

const DECLINED: u8 = 1;
const NO_DISC_REPLY: u8 = 17;
const LOOP_EXHAUSTED: u8 = 21;
const NO_PEER: u8 = 23;
const NO_VALID_STEP: u8 = 28;

#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn requests_are_accepted_and_declined() {
    needs_graspy!(120);
    let pair = Pair::start();
    pair.both("accepted at once", |asker, answerer, name| {
        let asks = |reply: Reply| assert_eq!(reply.agreed().value, Value::from(100));
        let answers = |session, asked: Objective| {
            assert_eq!((asked.value, asked.loop_count, asked.dry), (Value::from(100), 6, false));
            answerer.end(session, true, None);
        };
        negotiate((asker, asks), (answerer, answers), &negotiable(name, 100), TIMEOUT);
    });
    for (what, reason) in [
        ("declined in Latin", Some("Insufficient funds")),
        ("declined in Cyrillic", Some("Недостаточно средств")),
        ("declined without a word", None),
    ] {
        pair.both(what, |asker, answerer, name| {
            let asks = |reply| assert_eq!(reply, Reply::Declined(reason.map(str::to_owned)));
            let answers = |session, _| answerer.end(session, false, reason);
            negotiate((asker, asks), (answerer, answers), &negotiable(name, 100), TIMEOUT);
        });
    }
    pair.both("the asker declines", |asker, answerer, name| {
        let asks = |reply: Reply| asker.end(reply.offer().0, false, Some("мало"));
        let answers = |session, asked: Objective| {
            let reply = answerer.step(session, &asked, TIMEOUT);
            assert_eq!(reply, Reply::Declined(Some("мало".to_owned())));
        };
        negotiate((asker, asks), (answerer, answers), &negotiable(name, 100), TIMEOUT);
    });
    pair.both("dry run", |asker, answerer, name| {
        let mut objective = negotiable(name, 1);
        objective.dry = true;
        let asks = |reply: Reply| {
            let (session, offer) = reply.offer();
            assert_eq!((offer.dry, offer.value), (true, Value::from(1)));
            asker.end(session, true, None);
        };
        let answers = |session, asked: Objective| {
            assert!(asked.neg && asked.dry);
            assert!(answerer.step(session, &asked, TIMEOUT).agreed().dry);
        };
        negotiate((asker, asks), (answerer, answers), &objective, TIMEOUT);
    });
}

/// One side of a negotiation without an end: always steps, and notes the loop counts that it gets. It ends when
/// a step fails on this side or on the other.
fn bargain(side: &dyn Side, mut session: Session, mut offer: Objective, counts: &Mutex<Vec<u8>>) -> u8 {
    loop {
        counts.lock().push(offer.loop_count);
        match side.step(session, &offer, TIMEOUT) {
            Reply::Offer(same, next) => (session, offer) = (same, next),
            Reply::Failed(code) => {
                side.end(session, false, Some("loop exhausted"));
                return code;
            }
            Reply::Declined(reason) => {
                assert_eq!(reason.as_deref(), Some("loop exhausted"));
                return DECLINED;
            }
            Reply::Agreed(_) => panic!("nobody agrees here"),
        }
    }
}

/// graspy sends the count as it holds it and lowers it on receipt, ours lowers it on sending: together they
/// spend two each time ours sends, none when graspy does.
#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn loop_counts_go_down_until_a_side_is_exhausted() {
    needs_graspy!(120);
    let pair = Pair::start();
    // The first count; the counts that the asker and the answerer get, and how their last steps end.
    type Counts = (&'static [u8], &'static [u8], u8, u8);
    let cases: [(u8, Counts, Counts); 3] = [
        (
            6,
            (&[6, 4, 2], &[6, 4, 2, 0], DECLINED, LOOP_EXHAUSTED),
            (&[4, 2, 0], &[6, 4, 2], LOOP_EXHAUSTED, DECLINED),
        ),
        (5, (&[5, 3], &[5, 3, 1], DECLINED, LOOP_EXHAUSTED), (&[3, 1], &[5, 3], LOOP_EXHAUSTED, DECLINED)),
        (1, (&[], &[1], DECLINED, LOOP_EXHAUSTED), (&[], &[1], DECLINED, LOOP_EXHAUSTED)),
    ];
    for (first, ours_asks, graspy_asks) in cases {
        pair.both(&format!("loop count {first}"), |asker, answerer, name| {
            let expected = if asker.is_graspy() { graspy_asks } else { ours_asks };
            let (asker_got, answerer_got) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
            let mut objective = negotiable(name, "no");
            objective.loop_count = first;
            let asks = |reply: Reply| match reply {
                Reply::Offer(session, offer) => {
                    assert_eq!(bargain(asker, session, offer, &asker_got), expected.2);
                }
                other => {
                    assert_eq!(other, Reply::Declined(Some("loop exhausted".to_owned())));
                    assert_eq!(expected.2, DECLINED);
                }
            };
            let answers =
                |session, asked| assert_eq!(bargain(answerer, session, asked, &answerer_got), expected.3);
            negotiate((asker, asks), (answerer, answers), &objective, TIMEOUT);
            assert_eq!((&asker_got.lock()[..], &answerer_got.lock()[..]), (expected.0, expected.1));
        });
    }
}

/// Longer than `SHORT`, the timeout of whoever is asked to wait.
const PAUSE: Duration = Duration::from_millis(4500);
const SHORT: u32 = 4000;

#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn either_side_can_ask_for_time_and_gets_it() {
    needs_graspy!(120);
    let pair = Pair::start();
    pair.both("the answerer asks for time", |asker, answerer, name| {
        let started = Instant::now();
        let asks = |reply: Reply| {
            assert_eq!(reply.clone().offer().1.value, Value::from("counter"));
            assert!(started.elapsed() > PAUSE);
            asker.end(reply.offer().0, true, None);
        };
        let answers = |session, mut offer: Objective| {
            answerer.wait(session, TIMEOUT);
            // The time passes that the asker would not have waited.
            sleep(PAUSE);
            offer.value = Value::from("counter");
            answerer.step(session, &offer, TIMEOUT).agreed();
        };
        negotiate((asker, asks), (answerer, answers), &negotiable(name, 1), SHORT);
    });
    pair.both("the asker asks for time, twice", |asker, answerer, name| {
        let asks = |reply: Reply| {
            let (session, mut offer) = reply.offer();
            asker.wait(session, TIMEOUT);
            sleep(PAUSE);
            asker.wait(session, TIMEOUT);
            // graspy loses what arrives together with an M_WAIT; ours pauses by itself.
            if asker.is_graspy() {
                sleep(Duration::from_millis(50));
            }
            offer.value = Value::from("counter");
            assert_eq!(asker.step(session, &offer, TIMEOUT), Reply::Declined(Some("enough".to_owned())));
        };
        let answers = |session, asked: Objective| {
            let (session, offer) = answerer.step(session, &asked, SHORT).offer();
            assert_eq!(offer.value, Value::from("counter"));
            answerer.end(session, false, Some("enough"));
        };
        negotiate((asker, asks), (answerer, answers), &negotiable(name, 1), TIMEOUT);
    });
}

#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn invalid_and_refused_sessions_end_for_both() {
    needs_graspy!(120);
    let pair = Pair::start();
    pair.both("the answerer says M_INVALID", |asker, answerer, name| {
        let asks = |reply| assert_eq!(reply, Reply::Failed(NO_VALID_STEP));
        let answers = |session, _| answerer.invalid(session, "what?");
        negotiate((asker, asks), (answerer, answers), &negotiable(name, 1), TIMEOUT);
    });
    pair.both("the asker says M_INVALID", |asker, answerer, name| {
        let asks = |reply: Reply| asker.invalid(reply.offer().0, "что?");
        let answers = |session, asked: Objective| {
            assert_eq!(answerer.step(session, &asked, TIMEOUT), Reply::Failed(NO_VALID_STEP));
        };
        negotiate((asker, asks), (answerer, answers), &negotiable(name, 1), TIMEOUT);
    });
    pair.both("nobody listens", |asker, answerer, name| {
        let objective = negotiable(name, 1);
        asker.register(&objective, How::default());
        answerer.register(&objective, How { discoverable: true, ..How::default() });
        let peer = asker.find(&objective);
        // Twice: a refusal does no harm to the answerer.
        for _ in 0..2 {
            let started = Instant::now();
            assert_eq!(asker.request(&objective, Some(&peer), TIMEOUT), Reply::Failed(NO_PEER));
            assert!(started.elapsed() < SOON);
        }
        std::thread::scope(|scope| {
            scope.spawn(|| answerer.end(answerer.listen(&objective).0, true, None));
            let mut reply = Reply::Failed(NO_PEER);
            eventually(SOON, "somebody listens at last", || {
                reply = asker.request(&objective, Some(&peer), TIMEOUT);
                reply != Reply::Failed(NO_PEER)
            });
            assert_eq!(reply.agreed().value, Value::from(1));
        });
    });
}

/// The API's shortest way: no locator, the peer is discovered.
#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn the_peer_is_discovered_if_none_is_given() {
    needs_graspy!(60);
    let pair = Pair::start();
    pair.both("no peer given", |asker, answerer, name| {
        let objective = negotiable(name, "please");
        asker.register(&objective, How::default());
        answerer.register(&objective, How::default());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (session, asked) = answerer.listen(&objective);
                assert_eq!(asked.value, Value::from("please"));
                answerer.end(session, true, None);
            });
            // Until the answerer listens it cannot be discovered, and graspy asks only once.
            let mut reply = Reply::Failed(NO_DISC_REPLY);
            eventually(SOON, "the answerer is found", || {
                reply = asker.request(&objective, None, 1500);
                reply != Reply::Failed(NO_DISC_REPLY)
            });
            assert_eq!(reply.agreed().value, Value::from("please"));
        });
    });
}

#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn messages_go_both_ways_through_an_open_session() {
    needs_graspy!(60);
    let pair = Pair::start();
    pair.both("gsend and grecv", |asker, answerer, name| {
        let objective = negotiable(name, ());
        asker.register(&objective, How::default());
        answerer.register(&objective, How::default());
        let messages =
            [Value::from("Привет"), Value::from(vec![7; 1900]), Value::Map(vec![(1.into(), Value::Null)])];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (session, _) = answerer.listen(&objective);
                for message in &messages {
                    assert_eq!(answerer.receive(session, TIMEOUT).as_ref(), Ok(message));
                    answerer.send(session, message);
                }
                // The end is a message like any other here, and then the peer is gone.
                let end = answerer.receive(session, TIMEOUT);
                let Ok(Value::Array(end)) = end else { panic!("not M_END: {end:?}") };
                assert_eq!(end[0], Value::from(6));
                assert_eq!(answerer.receive(session, TIMEOUT), Err(NO_PEER));
            });
            let session = asker.open(&objective, &asker.find(&objective));
            for message in &messages {
                asker.send(session, message);
                assert_eq!(asker.receive(session, TIMEOUT).as_ref(), Ok(message));
            }
            asker.end(session, true, None);
        });
    });
}
