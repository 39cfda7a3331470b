//! What the tests share: a cluster of real servers, a channel, the bridge as a process, and the verifier.

pub mod bridge;
pub mod channel;
pub mod nats;
pub mod scene;
pub mod verify;

use std::time::{Duration, Instant};

/// Wait until it is so, or fail.
pub fn until(what: &str, seconds: u64, so: impl FnMut() -> bool) {
    until_or(seconds, || what.to_string(), so);
}

/// The same; `what` is said as it is in the end.
pub fn until_or(seconds: u64, what: impl Fn() -> String, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(seconds), "not in {seconds} s: {}", what());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Run a command of the system; whether it worked.
pub fn ran(command: &str, arguments: &[&str]) -> bool {
    std::process::Command::new(command).args(arguments).status().is_ok_and(|s| s.success())
}

/// What is not shown here is not passed over in silence: not through the test's own output, which is kept from those who
/// do not ask for it.
pub fn skipped(what: &str) {
    let text = format!("SKIPPED: {what}\n");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
}

/// A number below `n`, another one each time.
pub fn below(n: u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(Instant::now()) % n
}

pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}
