//! What a figure is, and how it is measured: next to its floor, in turns, as medians.

use std::time::{Duration, Instant};

/// Why a figure could not be measured. An error during a measurement ends it: it would be a smaller number
/// otherwise.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The result of a measurement.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// What is aimed at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Aim {
    /// The ratio to the floor is at least this: more is better.
    RatioAtLeast(f64),
    /// The ratio to the floor is at most this: less is better.
    RatioAtMost(f64),
    /// The value itself is at most this.
    AtMost(f64),
    /// Nothing: it is only told.
    Report,
}

/// A row of the table.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
    /// What bare sockets do, in the same unit.
    pub(crate) floor: Option<f64>,
    /// The median of the ratios of the rounds, which need not be the ratio of the medians.
    pub(crate) ratio: Option<f64>,
    pub(crate) aim: Aim,
    /// What graspy does, in the same unit.
    pub(crate) graspy: Option<f64>,
}

impl Figure {
    /// A figure without a floor.
    pub(crate) fn plain(name: impl Into<String>, unit: &'static str, aim: Aim, value: f64) -> Self {
        Self { name: name.into(), unit, value, floor: None, ratio: None, aim, graspy: None }
    }

    /// Whether the aim is met; `None` where there is none.
    pub(crate) fn is_met(&self) -> Option<bool> {
        match (self.aim, self.ratio) {
            (Aim::RatioAtLeast(least), Some(ratio)) => Some(ratio >= least),
            (Aim::RatioAtMost(most), Some(ratio)) => Some(ratio <= most),
            (Aim::AtMost(most), _) => Some(self.value <= most),
            _ => None,
        }
    }
}

/// Measures a figure and its floor in turns, so that what disturbs the machine disturbs both. The order changes
/// from round to round. A first round of each, which warms everything up, is not counted.
pub(crate) fn alternate(
    (name, unit, aim): (&str, &'static str, Aim),
    rounds: usize,
    mut value: impl FnMut() -> Result<f64>,
    mut floor: impl FnMut() -> Result<f64>,
) -> Result<Figure> {
    value()?;
    floor()?;
    let (mut values, mut floors, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let (measured, bare) = if round % 2 == 0 {
            let measured = value()?;
            (measured, floor()?)
        } else {
            let bare = floor()?;
            (value()?, bare)
        };
        values.push(measured);
        floors.push(bare);
        ratios.push(measured / bare);
    }
    let plain = Figure::plain(name, unit, aim, median(&mut values));
    Ok(Figure { floor: Some(median(&mut floors)), ratio: Some(median(&mut ratios)), ..plain })
}

/// The middle one, or the mean of the two in the middle.
///
/// # Panics
///
/// When there are none: then nothing was measured.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    assert!(!values.is_empty(), "nothing was measured");
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.len() % 2, values.get(middle.saturating_sub(1)), values.get(middle)) {
        (0, Some(low), Some(high)) => low.midpoint(*high),
        (_, _, Some(one)) => *one,
        _ => f64::NAN,
    }
}

/// How often `clients` threads at once do something in a second, each again and again until the time is over.
/// Threads inherit the network namespace of the caller.
pub(crate) fn per_second(
    clients: usize,
    time: Duration,
    work: impl Fn(usize) -> Result<()> + Sync,
) -> Result<f64> {
    let started = Instant::now();
    let counts = std::thread::scope(|scope| {
        let client = |number| {
            let work = &work;
            scope.spawn(move || -> Result<u32> {
                let mut count = 0;
                while started.elapsed() < time {
                    work(number)?;
                    count += 1;
                }
                Ok(count)
            })
        };
        let threads: Vec<_> = (0..clients).map(client).collect();
        threads.into_iter().map(joined).collect::<Result<Vec<_>>>()
    })?;
    let count: u32 = counts.iter().sum();
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}

/// What a thread returned.
pub(crate) fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err("a thread of the bench panicked".into()))
}

/// A count as a number to calculate with.
pub(crate) fn as_f64(count: usize) -> Result<f64> {
    Ok(f64::from(u32::try_from(count)?))
}

/// The median time of doing something so many times, in microseconds, with pauses between.
pub(crate) fn median_time(
    count: usize,
    pause: Duration,
    mut work: impl FnMut() -> Result<()>,
) -> Result<f64> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        std::thread::sleep(pause);
        let started = Instant::now();
        work()?;
        times.push(started.elapsed().as_secs_f64() * 1e6);
    }
    Ok(median(&mut times))
}
