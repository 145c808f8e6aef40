//! Synchronization, with a request and rapid.

use grasp::Value;

use crate::interop::pair::Pair;
use crate::interop::side::{How, synchronizable};
use crate::interop::{TIMEOUT, needs_graspy};

const NOT_FLOOD_DISC: u8 = 33;
const NO_LISTENER: u8 = 35;

#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn each_gets_the_values_of_the_other() {
    needs_graspy!(120);
    let pair = Pair::start();
    pair.both("on request", |asker, answerer, name| {
        answerer.register(&synchronizable(name, ()), How::default());
        for value in [Value::from("первое"), Value::from(vec![Value::from(2.5), Value::Null])] {
            let served = synchronizable(name, value.clone());
            answerer.serve(&served);
            let peer = asker.find(&served);
            let got = asker.synchronize(&synchronizable(name, ()), Some(&peer), TIMEOUT).unwrap();
            assert_eq!((got.name.as_str(), got.value, got.synch), (name, value, true));
            // graspy's requester lowers the count, which nobody uses.
            assert_eq!(got.loop_count, if asker.is_graspy() { 5 } else { 6 });
        }
        // The other one is asked without a locator; graspy collects answers for that time.
        assert!(asker.synchronize(&synchronizable(name, ()), None, 2000).is_ok());
    });
    // Nobody listens: the value can have come with the response only.
    pair.both("rapid", |asker, answerer, name| {
        let value = Value::from(vec![Value::from("rapid"), Value::from(-1)]);
        let offered = synchronizable(name, value.clone());
        answerer.register(&offered, How { rapid: true, discoverable: true, ..How::default() });
        let got = asker.synchronize(&synchronizable(name, ()), None, 2000).unwrap();
        assert_eq!(got.value, value);
    });
    pair.both("nobody listens", |asker, answerer, name| {
        let offered = synchronizable(name, 1);
        answerer.register(&offered, How { discoverable: true, ..How::default() });
        let peer = asker.find(&offered);
        assert_eq!(asker.synchronize(&offered, Some(&peer), TIMEOUT), Err(NO_LISTENER));
        assert_eq!(asker.synchronize(&synchronizable("unheard of", ()), None, 700), Err(NOT_FLOOD_DISC));
    });
}
