//! How the cost of a request, of a discovery and of a flood grows with what an engine has registered and cached.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use grasp::{Config, Discover, TaggedObjective};
use grasptests::lab::eventually;
use grasptests::lab::process::resident_kib;
use grasptests::nodes::{Host, discoverable, negotiable, synchronizable};

use super::figure::{Result, as_f64, median_time};
use super::floods;
use super::negotiation::Setting;
use super::process::raise_descriptors;
use super::report::number;

/// How many objectives are registered, and then discovered, and how many floods are cached; fewer where the system does not
/// allow the descriptors that they take.
const SIZES: [usize; 4] = [10, 100, 1000, 10_000];
/// How many descriptors a registered objective takes: its socket, and the one that Linux sets aside as long as a thread
/// waits in `accept`.
const DESCRIPTORS: usize = 2;
/// How many descriptors all else takes.
const OTHERS: usize = 1000;
/// How often is discovered what is not cached yet.
const ASKED: usize = 40;

/// Prints a row for each size.
pub(crate) fn print(rounds: usize) -> Result<()> {
    let most = usize::try_from(raise_descriptors()?)?;
    println!(
        "| registered, floods | negotiate_connect | its ratio | discover_first | floods_handled | its ratio | to register one | \
         memory of one |\n|--:|--:|--:|--:|--:|--:|--:|--:|"
    );
    let largest = most.saturating_sub(OTHERS) / DESCRIPTORS;
    for size in SIZES.map(|size| size.min(largest)) {
        let row = row(size, rounds);
        println!("{}", row.map_err(|error| format!("with {size} objectives: {error}"))?);
    }
    Ok(())
}

/// One neighbour may flood so many names.
fn roomy(floods: usize) -> Config {
    Config::new().flood_cache_limit(floods).neighbour_flood_cache_limit(floods)
}

fn row(size: usize, rounds: usize) -> Result<String> {
    let room = size + rounds * ASKED + 100;
    let config = || roomy(room).objective_limit(room).discovery_cache_limit(room);
    let setting = Setting::with(config(), 1)?;
    let (asker, answerer) = (&setting.pair.asker, &setting.pair.answerer);
    let (started, before) = (Instant::now(), resident_kib());
    let name = |number| format!("N{number}");
    (0..size).for_each(|number| answerer.register_with(&negotiable(&name(number), 0), discoverable()));
    let register = started.elapsed().as_secs_f64() * 1e6 / as_f64(size)?;
    let memory = as_f64(usize::try_from(resident_kib().saturating_sub(before))?)? / as_f64(size)?;
    let once = Discover { enough: Some(1), ..Discover::default() };
    // The asker's cache has all of them; the flood caches of both have as many more.
    for number in 0..size {
        let known =
            asker.run(|engine, asa| engine.discover(asa, &negotiable(&name(number), 0), Some(3000), once))?;
        if known.is_empty() {
            return Err(format!("{} was not discovered", name(number)).into());
        }
    }
    flood(asker, answerer, size)?;
    let figure = setting.connect("negotiate_connect", 1, rounds)?;
    let fresh = AtomicUsize::new(size);
    for number in size..size + ASKED {
        answerer.register_with(&negotiable(&name(number), 0), discoverable());
    }
    let discovered = asker.run(|engine, asa| {
        median_time(ASKED, Duration::from_millis(2), || {
            let objective = negotiable(&name(fresh.fetch_add(1, Ordering::Relaxed)), 0);
            match engine.discover(asa, &objective, Some(3000), once)?.len() {
                1 => Ok(()),
                _ => Err("nothing was discovered".into()),
            }
        })
    })?;
    drop(setting);
    let floods = floods::handled_by("floods_handled", roomy(size), rounds)?;
    let ratio = |ratio: Option<f64>| ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
    Ok(format!(
        "| {size} | {} | {} | {} | {} | {} | {} | {} |",
        number(figure.value, figure.unit),
        ratio(figure.ratio),
        number(discovered, "µs"),
        number(floods.value, floods.unit),
        ratio(floods.ratio),
        number(register, "µs"),
        number(memory, "KiB")
    ))
}

/// Floods so many names; both engines have them in the end.
fn flood(sender: &Host, receiver: &Host, count: usize) -> Result<()> {
    let threads = sender.engine.thread_count();
    let name = |number| synchronizable(&format!("F{number}"), 47);
    for number in 0..count {
        // Registered for the flood only: what is to grow here is the cache.
        let objective = name(number);
        sender.register(&objective);
        sender.engine.flood(sender.asa, 600_000, &[TaggedObjective::new(objective.clone(), None)])?;
        sender.engine.deregister_obj(sender.asa, &objective)?;
        if number % 100 == 99 {
            let sent = u64::try_from(number + 1)?;
            eventually(
                Duration::from_secs(10),
                "the floods are cached and what was registered is gone",
                || {
                    receiver.engine.stats().flood_entries_cached >= sent
                        && sender.engine.thread_count() <= threads
                },
            );
        }
    }
    Ok(())
}
