//! Running a scenario: under loom in every execution up to a bound, under shuttle in so many schedules.
//!
//! | variable | |
//! |---|---|
//! | `LOOM_MAX_PREEMPTIONS` | overrides loom's bounds |
//! | `DC_SCHEDULES` | schedules of each of shuttle's checks |
//! | `DC_SEED` | where they begin; a failure names the one to repeat |
//! | `DC_SCHEDULER` | `random` or `pct` alone |

use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::atomic::AtomicUsize;
use std::sync::Arc;
use std::time::Instant;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use crate::sync::Relaxed;

/// Check a scenario in every execution with so many preemptions. `LOOM_MAX_PREEMPTIONS` overrides.
pub(crate) fn check(preemptions: usize, scenario: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = model.preemption_bound.or(Some(preemptions));
    let runs = Arc::new(AtomicUsize::new(0));
    let count = runs.clone();
    model.check(move || {
        count.fetch_add(1, Relaxed);
        scenario();
    });
    println!("{} executions", runs.load(Relaxed));
}

/// The same for every length of a fuse below `most`, which is past the actor's end.
pub(crate) fn check_deaths<S>(preemptions: usize, most: usize, scenario: S)
where
    S: Fn(usize) + Send + Sync + Clone + 'static,
{
    for fuse in 0..most {
        let scenario = scenario.clone();
        check(preemptions, move || scenario(fuse));
    }
}

/// Schedules of a seed: as many as must run to repeat one.
const CHUNK: usize = 500;
/// Steps of one schedule; more: nobody gets on.
const STEPS: usize = 50_000;
/// Schedules in which a protocol broken on purpose must be caught.
const CATCH: usize = 200_000;

fn number(name: &str) -> Option<usize> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}

fn some(scheduler: &str, seed: usize, count: usize, scenario: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = 0x40000;
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::FailAfter(STEPS);
    config.silence_warnings = true;
    let seed = seed as u64;
    match scheduler {
        "pct" => Runner::new(PctScheduler::new_from_seed(seed, 5, count), config).run(scenario),
        _ => Runner::new(RandomScheduler::new_from_seed(seed, count), config).run(scenario),
    };
}

/// Check a scenario in at least so many schedules, half of them by chance and half by priorities that change a
/// few times (PCT, Burckhardt et al. 2010). `DC_SCHEDULES` overrides.
pub(crate) fn schedules(least: usize, scenario: impl Fn() + Send + Sync + 'static) {
    let count = number("DC_SCHEDULES").unwrap_or(least);
    let first = number("DC_SEED").unwrap_or(1);
    let only = std::env::var("DC_SCHEDULER").ok();
    let scenario = Arc::new(scenario);
    let (begun, mut done) = (Instant::now(), 0);
    for (i, from) in (0..count).step_by(CHUNK).enumerate() {
        let scheduler = match &only {
            Some(only) => only.as_str(),
            None if i % 2 == 0 => "random",
            None => "pct",
        };
        let (seed, chunk) = (first + i, CHUNK.min(count - from));
        let run = scenario.clone();
        let failed = catch_unwind(AssertUnwindSafe(|| some(scheduler, seed, chunk, move || run())));
        if let Err(why) = failed {
            let test = std::thread::current().name().unwrap_or("").to_owned();
            eprintln!(
                "replay: DC_SCHEDULER={scheduler} DC_SEED={seed} DC_SCHEDULES={chunk} \
                 cargo test -p disk_chan_models -- --exact {test}"
            );
            resume_unwind(why);
        }
        done += chunk;
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{done} schedules in {seconds:.1} s, seeds from {first}");
}

/// Look for the counterexample to a protocol that was broken on purpose. The caller's test should panic.
pub(crate) fn caught(scenario: impl Fn() + Send + Sync + 'static) {
    caught_from(1, scenario);
}

/// The same for one that is rare, from a seed where it is near.
pub(crate) fn caught_from(first: usize, scenario: impl Fn() + Send + Sync + 'static) {
    let scenario = Arc::new(scenario);
    let first = number("DC_SEED").unwrap_or(first);
    for i in 0..CATCH / CHUNK {
        let run = scenario.clone();
        some(["random", "pct"][i % 2], first + i, CHUNK, move || run());
    }
    println!("nothing in {CATCH} schedules");
}
