//! 30 percent loss and 200 ms delay, on the way there and on the way back.

use std::time::{Duration, Instant};

use grasp::{Config, Error, Negotiation, Objective};
use grasptests::isolated;
use grasptests::nodes::{Host, discoverable, first_answer, joined, linked, negotiable};

/// How many ask at the same time.
const ASKERS: usize = 40;
/// How many of them must succeed at least. Measured: all but one or two.
const RATE: usize = 32;
/// How often each tries.
const ATTEMPTS: usize = 3;
/// The timeout of discovery and answer, in milliseconds: TCP sends again after 1, 3, 7 and 15 seconds.
const PATIENCE: u32 = 20_000;

#[test]
fn with_patience_most_negotiations_succeed_and_all_calls_end_in_time() {
    isolated!(200);
    let (_lab, link, a, b) = linked();
    let patient = Duration::from_secs(15);
    let config = Config::new().connect_timeout(patient).response_timeout(patient).request_deadline(patient);
    let config = config.responders_per_asker(64);
    let (near, far) = (Host::start(&a, config.clone()), Host::start(&b, config));
    let name = |number: usize| format!("EX{number}");
    for number in 0..ASKERS {
        near.register(&negotiable(&name(number), 0));
        far.register_with(&negotiable(&name(number), 0), discoverable());
    }
    link.set_impairment(Duration::from_millis(200), 30.0).unwrap();
    let answerers: Vec<_> = (0..ASKERS)
        .map(|number| {
            far.thread(move |engine, asa| {
                let (session, _) = engine.listen_negotiate(asa, &negotiable(&name(number), 0))?;
                engine.end_negotiate(asa, session, true, None)
            })
        })
        .collect();
    let askers: Vec<_> = (0..ASKERS)
        .map(|number| {
            near.thread(move |engine, asa| {
                let wish = Objective { loop_count: 2, ..negotiable(&name(number), 7) };
                let attempt = || {
                    let began = Instant::now();
                    let found =
                        engine.discover(asa, &wish, Some(PATIENCE), first_answer()).expect("it ends well");
                    let searched = began.elapsed();
                    let began = Instant::now();
                    let ask = |peer| engine.req_negotiate(asa, &wish, Some(peer), Some(PATIENCE));
                    (searched, found.first().map(ask), began.elapsed())
                };
                // The system gives a neighbour up that has not answered three times in three seconds: then a retry
                // helps, as the error says.
                let mut attempts = vec![attempt()];
                while attempts.len() < ATTEMPTS
                    && attempts.last().is_some_and(|(_, answer, _)| {
                        answer
                            .as_ref()
                            .is_none_or(|it| it.as_ref().is_err_and(|error| *error == Error::SockErrNegRq))
                    })
                {
                    attempts.push(attempt());
                }
                attempts
            })
        })
        .collect();
    let (mut found, mut agreed, mut retries) = (0, 0, 0);
    for asker in askers {
        while !asker.is_finished() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let attempts = joined(asker);
        let (margin, limit) = (Duration::from_secs(8), Duration::from_millis(PATIENCE.into()));
        for (searched, _, asked) in &attempts {
            assert!(*searched < limit + margin, "a discovery took {searched:?}");
            assert!(*asked < patient * 2 + limit + margin, "a negotiation took {asked:?}");
        }
        retries += attempts.len() - 1;
        found += usize::from(attempts.iter().any(|(_, answer, _)| answer.is_some()));
        match attempts.into_iter().next_back().and_then(|(_, answer, _)| answer) {
            Some(Ok(Negotiation::Agreed(_))) => agreed += 1,
            None => {}
            Some(Err(error)) if [Error::SockErrNegRq, Error::NoNegReply, Error::NoPeer].contains(&error) => {}
            other => panic!("{other:?}"),
        }
    }
    println!("of {ASKERS}: {found} found a peer, {agreed} agreed, {retries} retries");
    assert!(found >= RATE && agreed >= RATE, "only {found} found a peer and {agreed} agreed");
    link.clear_impairment().unwrap();
    for host in [&near, &far] {
        host.engine.shutdown();
        assert_eq!((host.engine.stats().panics, host.engine.open_sessions()), (0, 0));
    }
    for answerer in answerers {
        if let Err(error) = joined(answerer) {
            assert!([Error::Stopped, Error::SockErrEnd].contains(&error), "{error:?}");
        }
    }
}
