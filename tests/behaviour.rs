//! The behaviour suite through the Rust API; `tests/c` runs the same promises through the C ABI, under
//! the same numbers (`tests/c/CONTRACT.md`). This file has the main job; its neighbours
//! `behaviour_*.rs` have the sentences one by one.

mod common;
use common::*;

/// [S2 S76] Four producers and four consumers in one group, threads of one process: every message once.
#[test]
fn s076_the_main_job() {
    const EACH: u64 = 25_000;
    let t = Temp::new();
    let o = Options { page_size: 256 << 10, max_pages: 16, ..Options::default() };
    let channel = open(t.chan(), &Options { retention: RETAIN_UNREAD, ..o });
    let consumers: Vec<_> = (0..4).map(|_| subscribe(&channel, Some("g"), ACK_NEXT)).collect();
    let mut all = std::thread::scope(|s| {
        for id in 0..4 {
            let mut p = channel.producer().unwrap();
            s.spawn(move || (0..EACH).for_each(|n| send(&mut p, id * EACH + n)));
        }
        let take = |mut c: Consumer| {
            let (mut got, mut m) = (Vec::new(), Message::default());
            while receive(&mut c, &mut m, 1500) == DC_OK {
                got.push(number(&m));
            }
            got
        };
        let taking: Vec<_> = consumers.into_iter().map(|c| s.spawn(move || take(c))).collect();
        taking.into_iter().flat_map(|t| t.join().unwrap()).collect::<Vec<_>>()
    });
    all.sort();
    assert!(all == (0..4 * EACH).collect::<Vec<_>>());
}
