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
        self.is_within(0.0)
    }

    /// Whether the aim is missed by more than the stated noise: another run would hardly meet it.
    pub(crate) fn is_missed(&self) -> bool {
        self.is_within(self.noise().unwrap_or_default()) == Some(false)
    }

    /// How far a run may be from the aim by chance, as a share of the aim; `None` if there is no aim.
    pub(crate) fn noise(&self) -> Option<f64> {
        let stated = NOISE.iter().find(|(name, _)| *name == self.name).map_or(0.0, |(_, noise)| *noise);
        (self.aim != Aim::Report).then_some(stated)
    }

    fn is_within(&self, noise: f64) -> Option<bool> {
        match (self.aim, self.ratio) {
            (Aim::RatioAtLeast(least), Some(ratio)) => Some(ratio >= least * (1.0 - noise)),
            (Aim::RatioAtMost(most), Some(ratio)) => Some(ratio <= most * (1.0 + noise)),
            (Aim::AtMost(most), _) => Some(self.value <= most * (1.0 + noise)),
            _ => None,
        }
    }

    /// Aims at another number, in the same direction.
    pub(crate) fn aim_at(&mut self, number: f64) -> Result<()> {
        match &mut self.aim {
            Aim::RatioAtLeast(aim) | Aim::RatioAtMost(aim) | Aim::AtMost(aim) => *aim = number,
            Aim::Report => return Err(format!("{} has no aim", self.name).into()),
        }
        Ok(())
    }
}

/// The noise of each figure with an aim: half of the spread of the runs in docs/performance.md, relative to their median.
pub(crate) const NOISE: [(&str, f64); 29] = [
    ("negotiate_connect", 0.10),
    ("negotiate_connect_16", 0.10),
    ("negotiate_step", 0.12),
    ("synchronize", 0.10),
    ("discover_first", 0.20),
    ("discover_5_hops", 0.10),
    ("flood_hop", 0.30),
    ("floods_handled", 0.10),
    ("cpu_per_negotiation", 0.10),
    ("open_sessions", 0.10),
    ("idle", 0.08),
    ("idle_wakeups", 0.20),
    ("idle_own", 0.20),
    ("graspd_idle", 0.05),
    ("graspd_idle_wakeups", 0.20),
    ("startup", 0.50),
    ("ipc_call_get_flood", 0.10),
    ("ipc_call_register_obj", 0.10),
    ("ipc_negotiate", 0.10),
    ("ipc_clients_memory", 0.10),
    ("ipc_clients_threads", 0.0),
    ("tls_connect", 0.10),
    ("tls_resumed", 0.10),
    ("tls_step", 0.12),
    ("domain_discover_first", 0.10),
    ("domain_discover_5_hops", 0.20),
    ("domain_neighbours_memory", 0.10),
    ("domain_neighbours_threads", 0.0),
    ("domain_neighbours_wakeups", 0.30),
];

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

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(name: &str, aim: Aim, value: f64, ratio: f64) -> Figure {
        Figure { ratio: Some(ratio), ..Figure::plain(name, "/s", aim, value) }
    }

    #[test]
    fn an_aim_counts_as_missed_only_beyond_the_noise_of_its_figure() {
        // Its noise is 12 percent, of 0.9.
        let step = |ratio| figure("negotiate_step", Aim::RatioAtLeast(0.9), 1.0, ratio);
        let judged = [0.9, 0.85, 0.78].map(|ratio| (step(ratio).is_met(), step(ratio).is_missed()));
        assert_eq!(judged, [(Some(true), false), (Some(false), false), (Some(false), true)]);
        // 20 percent.
        let first = |ratio| figure("discover_first", Aim::RatioAtMost(1.5), 1.0, ratio);
        let judged = [1.5, 1.7, 1.9].map(|ratio| (first(ratio).is_met(), first(ratio).is_missed()));
        assert_eq!(judged, [(Some(true), false), (Some(false), false), (Some(false), true)]);
        // The value itself, 8 percent.
        let idle = |value| Figure::plain("idle", "KiB", Aim::AtMost(4096.0), value);
        let judged = [4096.0, 4400.0, 4500.0].map(|value| (idle(value).is_met(), idle(value).is_missed()));
        assert_eq!(judged, [(Some(true), false), (Some(false), false), (Some(false), true)]);
    }

    #[test]
    fn without_stated_noise_none_is_granted_and_without_an_aim_nothing_is_missed() {
        let unknown = figure("unknown", Aim::RatioAtLeast(0.9), 1.0, 0.89);
        assert_eq!((unknown.noise(), unknown.is_missed()), (Some(0.0), true));
        let mut told = figure("idle", Aim::Report, 1e9, 1e9);
        assert_eq!((told.noise(), told.is_met(), told.is_missed()), (None, None, false));
        assert!(told.aim_at(1.0).is_err());
    }

    #[test]
    fn an_aim_can_be_set_to_another_number() {
        let mut idle = Figure::plain("idle", "KiB", Aim::AtMost(4096.0), 4000.0);
        idle.aim_at(1.0).unwrap();
        assert_eq!((idle.aim, idle.is_missed()), (Aim::AtMost(1.0), true));
    }

    #[test]
    fn what_is_not_a_number_is_missed() {
        for aim in [Aim::RatioAtLeast(0.9), Aim::RatioAtMost(0.9), Aim::AtMost(0.9)] {
            assert!(figure("startup", aim, f64::NAN, f64::NAN).is_missed(), "{aim:?}");
        }
    }

    #[test]
    fn the_noise_is_that_of_the_documentation() {
        let text = include_str!("../../../docs/performance.md");
        let (_, section) = text.split_once("## The noise of the figures").expect("the section");
        let (section, _) = section.split_once("\n## ").expect("its end");
        let documented: Vec<_> = section
            .lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix("| `")?.split('|');
                let name = cells.next()?.trim().trim_end_matches('`').to_owned();
                let percent: f64 = cells.nth(1)?.trim().trim_end_matches(" %").parse().ok()?;
                Some((name, percent / 100.0))
            })
            .collect();
        let stated: Vec<_> = NOISE.iter().map(|(name, noise)| ((*name).to_owned(), *noise)).collect();
        assert_eq!(documented, stated);
    }
}
