//! How many messages were sent, found out from outside: what each page has more than it had at the look before.

use std::collections::BTreeMap;

/// The count, since the first look.
#[derive(Default)]
pub struct Sent {
    looked: bool,
    sent: u64,
    /// The newest page that was seen.
    newest: Option<u64>,
    /// How many messages each page had at the last look.
    counted: BTreeMap<u64, u64>,
}

impl Sent {
    /// Messages sent since the first look. `pages` are those there are, or the newest of them: number and messages,
    /// by number. A fast ring drops pages between two looks: what they held is estimated by those that are there.
    pub fn look(&mut self, pages: &[(u64, u64)]) -> u64 {
        let first = !std::mem::replace(&mut self.looked, true);
        let Some((&(newest, newest_holds), complete)) = pages.split_last() else {
            return self.sent;
        };
        if !first {
            let usual = match complete.len() as u64 {
                0 => newest_holds,
                n => complete.iter().map(|p| p.1).sum::<u64>() / n,
            };
            self.count(pages);
            self.estimate(pages, newest, usual);
        }
        self.counted.retain(|&number, _| number >= pages[0].0);
        self.counted.extend(pages.iter().copied());
        self.newest = self.newest.max(Some(newest));
        self.sent
    }

    /// What the pages that are there have more.
    fn count(&mut self, pages: &[(u64, u64)]) {
        for &(number, holds) in pages {
            let before = match self.counted.get(&number) {
                Some(&before) => before,
                None if self.newest.is_none_or(|newest| number > newest) => 0,
                // It was there before, and could not be read.
                None => holds,
            };
            self.sent += holds.saturating_sub(before);
        }
    }

    /// What the pages that came and went have had, and the rest of the one that was the newest and went.
    fn estimate(&mut self, pages: &[(u64, u64)], newest: u64, usual: u64) {
        let Some(last) = self.newest.filter(|&last| last < newest) else {
            return;
        };
        let there = |number: u64| pages.binary_search_by_key(&number, |p| p.0).is_ok();
        if !there(last) {
            let counted = self.counted.entry(last).or_insert(usual);
            self.sent += usual.saturating_sub(*counted);
            *counted = usual.max(*counted);
        }
        let new = pages.iter().filter(|p| p.0 > last).count() as u64;
        self.sent += (newest - last - new) * usual;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each of these looks counts.
    fn looks(looks: &[&[(u64, u64)]]) -> Vec<u64> {
        let mut sent = Sent::default();
        looks.iter().map(|pages| sent.look(pages)).collect()
    }

    #[test]
    fn only_what_comes_after_the_first_look() {
        assert_eq!(
            looks(&[&[(1, 70), (2, 30)], &[(1, 70), (2, 30)], &[(1, 70), (2, 45)]]),
            [0, 0, 15]
        );
    }

    #[test]
    fn all_of_a_new_page_is_new() {
        assert_eq!(
            looks(&[&[(1, 70)], &[(1, 100), (2, 20)], &[(1, 100), (2, 100), (3, 1)]]),
            [0, 50, 131]
        );
    }

    /// Also where the first look found no page.
    #[test]
    fn a_first_look_at_nothing_is_one() {
        assert_eq!(looks(&[&[], &[], &[(1, 7)], &[(1, 9)]]), [0, 0, 7, 9]);
    }

    #[test]
    fn a_dropped_page_takes_nothing_back() {
        assert_eq!(looks(&[&[(1, 100), (2, 100), (3, 5)], &[(3, 6)], &[(3, 8)]]), [0, 1, 3]);
    }

    /// Pages 3 to 7 have come and gone, and what page 2 still had room for was sent, too.
    #[test]
    fn what_came_and_went_is_estimated() {
        assert_eq!(looks(&[&[(1, 100), (2, 60)], &[(8, 100), (9, 10)]]), [0, 40 + 5 * 100 + 110]);
        // With one page alone to go by, as many as it has so far.
        assert_eq!(looks(&[&[(1, 10)], &[(4, 30)]]), [0, 20 + 2 * 30 + 30]);
    }

    #[test]
    fn a_page_that_cannot_be_read_for_a_moment() {
        // The newest: counted when it is back.
        assert_eq!(looks(&[&[(1, 9), (2, 5)], &[(1, 9)], &[(1, 9), (2, 8)]]), [0, 0, 3]);
        // One that was the newest: estimated, and not counted a second time.
        assert_eq!(
            looks(&[&[(1, 9), (2, 5)], &[(1, 9), (3, 4)], &[(1, 9), (2, 9), (3, 4)]]),
            [0, 8, 8]
        );
        // One before: not estimated, and not taken for a new one.
        assert_eq!(looks(&[&[(2, 5)], &[(1, 9), (2, 6)]]), [0, 1]);
        // One that came in between.
        assert_eq!(looks(&[&[(1, 9)], &[(1, 9), (3, 1)], &[(1, 9), (2, 9), (3, 2)]]), [0, 10, 11]);
    }
}
