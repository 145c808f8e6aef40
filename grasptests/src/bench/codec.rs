//! How many messages are encoded and decoded in a second, for each vector of `grasptests/vectors`; the floor is
//! copying the bytes. One thread, no network.

use std::hint::black_box;
use std::time::{Duration, Instant};

use grasp::wire::{self, Limits};
use serde::Deserialize;

use super::figure::{Aim, Figure, Result, alternate, median};

/// What the tests of the codec use too.
const FILES: [&str; 2] =
    [include_str!("../../vectors/rfc8990-examples.json"), include_str!("../../vectors/graspy-captured.json")];
/// How long one round takes.
const ROUND: Duration = Duration::from_millis(8);
/// How many messages there are between two looks at the clock.
const BATCH: u32 = 200;

#[derive(Deserialize)]
struct Vector {
    name: String,
    hex: String,
}

/// Every vector with its bytes.
pub(crate) fn vectors() -> Result<Vec<(String, Vec<u8>)>> {
    let mut all = Vec::new();
    for file in FILES {
        for Vector { name, hex } in serde_json::from_str::<Vec<Vector>>(file)? {
            let digits: Vec<_> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
            let byte = |pair: &[u32]| u8::try_from(pair.iter().fold(0, |sum, digit| sum * 16 + digit));
            all.push((name, digits.chunks(2).map(byte).collect::<std::result::Result<_, _>>()?));
        }
    }
    Ok(all)
}

/// One figure for each vector, and before them their median.
pub(crate) fn measure(name: &str, rounds: usize) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (vector, bytes) in vectors()? {
        let message = wire::decode(&bytes, &Limits::default())?;
        let work: &dyn Fn() = match name {
            "codec_encode" => &|| drop(black_box(wire::encode(black_box(&message)))),
            _ => &|| drop(black_box(wire::decode(black_box(&bytes), &Limits::default()))),
        };
        let copy = || drop(black_box(black_box(&bytes).clone()));
        let measured = alternate(
            (&format!("{name}: {vector}"), "/s", Aim::Report),
            rounds,
            || Ok(rate(work)),
            || Ok(rate(&copy)),
        );
        figures.push(measured?);
    }
    let middle =
        |of: &dyn Fn(&Figure) -> Option<f64>| median(&mut figures.iter().filter_map(of).collect::<Vec<_>>());
    let plain = Figure::plain(name, "/s", Aim::Report, middle(&|figure| Some(figure.value)));
    let whole = Figure {
        floor: Some(middle(&|figure| figure.floor)),
        ratio: Some(middle(&|figure| figure.ratio)),
        ..plain
    };
    figures.insert(0, whole);
    Ok(figures)
}

fn rate(work: &dyn Fn()) -> f64 {
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < ROUND {
        (0..BATCH).for_each(|_| work());
        count += BATCH;
    }
    f64::from(count) / started.elapsed().as_secs_f64()
}
