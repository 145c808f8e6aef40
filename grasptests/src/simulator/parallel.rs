//! Runs on several threads. Each run has a network, a seed and a result of its own, so the threads do not change the
//! figures.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Does every job, `threads` at a time. Returns the results in the order of the jobs.
///
/// # Errors
/// The first error in the order of the jobs.
pub fn in_parallel<J: Sync, T: Send, E: Send>(
    threads: NonZeroUsize,
    jobs: &[J],
    work: impl Fn(&J) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    if threads.get() == 1 {
        return jobs.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.get().min(jobs.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(index) else { break };
                    let result = work(job);
                    results.lock().push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner();
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        let jobs: Vec<u32> = (0..100).collect();
        let threads = NonZeroUsize::new(3).unwrap();
        let squares = in_parallel(threads, &jobs, |job| Ok::<_, ()>(job * job)).unwrap();
        assert_eq!(squares, jobs.iter().map(|job| job * job).collect::<Vec<_>>());
        let failed = in_parallel(threads, &jobs, |job| if *job < 7 { Ok(()) } else { Err(*job) });
        assert_eq!(failed, Err(7));
    }
}
