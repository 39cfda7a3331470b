//! How a consumer that has caught up looks for what comes next.
//!
//! Close behind a producer it takes from it the cache lines that it is about to write, and both go at half their speed. So
//! where messages come as fast as they are taken, it lets some gather; anywhere else it takes the next one at once.

use crate::sys::clock;

/// Looks at the next slot, a pause apart, before an empty one is looked into: to tell a claim from none takes the tail,
/// which producers write to.
const LOOKS: u32 = 8;
/// So many claims in a row that found something at the first or second look are a flow.
const FLOW: u32 = 4;
/// Messages to gather, and for how long at most, in nanoseconds.
const GATHERED: usize = 64;
const PATIENCE: u64 = 3_000;

/// What was found of late.
#[derive(Default)]
pub(super) struct Pace {
    /// Claims in a row that had not to wait.
    quick: u32,
}

impl Pace {
    /// How many messages, of `most`, follow from `slot` on, by `decided(slot, most)`; 0: none for the moment.
    #[inline(always)]
    pub(super) fn look(
        &mut self,
        slot: usize,
        most: usize,
        decided: impl Fn(usize, usize) -> usize,
    ) -> usize {
        let mut n = decided(slot, most);
        if n < most && self.quick >= FLOW && most > 1 {
            gather(|| decided(slot + GATHERED, 1) == 1);
            n = decided(slot, most);
            if n < most {
                self.quick = 0;
            }
        }
        for look in 0..LOOKS {
            if n > 0 {
                break;
            }
            if look == 1 {
                self.quick = 0;
            }
            std::hint::spin_loop();
            n = decided(slot, most);
        }
        self.quick = if n > 0 { self.quick.saturating_add(1) } else { 0 };
        n
    }
}

/// Wait until there is `enough`, or for [`PATIENCE`]. Behind a page's last slot there is never enough.
#[inline(never)]
fn gather(enough: impl Fn() -> bool) {
    let begin = clock::now_ns();
    while !enough() && clock::now_ns() - begin < PATIENCE {
        (0..LOOKS).for_each(|_| std::hint::spin_loop());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// A page in which so many messages appear with each look.
    struct Page {
        there: Cell<usize>,
        looks: Cell<usize>,
        each: usize,
    }

    impl Page {
        fn new(each: usize) -> Page {
            Page { there: Cell::new(0), looks: Cell::new(0), each }
        }
        fn decided(&self, slot: usize, most: usize) -> usize {
            self.there.set(self.there.get() + self.each);
            self.looks.set(self.looks.get() + 1);
            self.there.get().saturating_sub(slot).min(most)
        }
    }

    fn claims(page: &Page, count: usize, most: usize) -> Vec<usize> {
        let (mut pace, mut at) = (Pace::default(), 0);
        let mut claim = || {
            let n = pace.look(at, most, |slot, most| page.decided(slot, most));
            at += n;
            n
        };
        (0..count).map(|_| claim()).collect()
    }

    #[test]
    fn a_flow_gathers() {
        let claimed = claims(&Page::new(3), 40, 32);
        assert_eq!(claimed[..4], [3; 4]);
        // Gathered once, taken in whole claims from then on.
        assert!(claimed[5..].iter().filter(|n| **n == 32).count() > 25, "{claimed:?}");
    }

    #[test]
    fn who_shares_a_group_takes_one_at_once() {
        let page = Page::new(1);
        assert_eq!(claims(&page, 40, 1), [1; 40]);
        assert_eq!(page.looks.get(), 40);
    }

    /// A message now and then is taken when it comes.
    #[test]
    fn what_trickles_is_not_kept_waiting() {
        let (mut pace, mut looks) = (Pace::default(), 0);
        for at in 0..50 {
            let page = Page { there: Cell::new(at), looks: Cell::new(0), each: 0 };
            let found = pace.look(at, 32, |slot, most| {
                if page.looks.get() == 5 {
                    page.there.set(at + 1);
                }
                page.decided(slot, most)
            });
            assert_eq!(found, 1);
            looks += page.looks.get();
        }
        assert_eq!(looks, 50 * 6);
    }

    /// A flow that ends is waited for once, and not for long.
    #[test]
    fn a_flow_that_ends_is_waited_for_once() {
        let mut pace = Pace { quick: 100 };
        let begin = std::time::Instant::now();
        assert_eq!(pace.look(10, 32, |slot, most| if slot > 10 { 0 } else { most.min(2) }), 2);
        assert!(begin.elapsed().as_nanos() >= u128::from(PATIENCE));
        assert_eq!(pace.quick, 1);
        let looks = Cell::new(0);
        pace.look(12, 32, |_, _| {
            looks.set(looks.get() + 1);
            0
        });
        assert_eq!((looks.get(), pace.quick), (1 + LOOKS, 0));
    }
}
