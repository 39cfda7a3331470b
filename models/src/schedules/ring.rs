//! Roll-over, retention and reuse against pins (`roll.rs`, `prepare.rs`, `pages.rs`, with their own words and the
//! engine's pages): producers fill small pages and make the next ones out of the dropped, a reader goes through them.

use std::collections::BTreeMap;
use std::sync::Arc;

use shuttle::thread::yield_now;

use super::files::{Directory, File, Name, Owner};
use super::Fates;
use crate::engine::page::{Look, PageView};
use crate::heap::{chance, Fault, Mem};
use crate::layout::control::{Window, NEWEST, WINDOW};
use crate::layout::page::{Geometry, BURIED_AT, ENDED_AT, NUMBER_AT, TAIL_AT};
use crate::layout::{page_of, position, slot_of, FIRST_PAGE};
use crate::page::{message, words};
use crate::run::{caught, caught_from, schedules};
use crate::sync::{AcqRel, Acquire, Memory, Relaxed, Release, SeqCst};

const GEOMETRY: Geometry = Geometry { capacity: 16, slots: 2 };
const MAX_PAGES: u64 = 2;
const PRODUCERS: usize = 3;
/// Messages of each.
const EACH: u32 = 3;
/// Files there can come to be, and bytes of words between them.
const FILES: usize = 24;
const STRIDE: usize = 1 << 20;
/// Where the group stands (its floor): a word of the model.
const GROUP: usize = 8;

/// How the protocol is broken.
#[derive(Clone, Copy, PartialEq)]
enum Wrong {
    Nothing,
    /// Pins take no lock.
    NoPin,
    /// A pin does not look at the name again once it has its lock.
    NoSecondLook,
    /// A dropped page's file is locked without the lock that goes first.
    NoTake,
    /// A new file is used although somebody else has locked it.
    Unlocked,
    /// The write lock stays until the name is there.
    LinksLocked,
    /// A dropped page's file is linked by the name that it had.
    ByOldName,
    /// Linking replaces.
    Replaces,
    /// What the file was before is not cleared.
    NotCleared,
    /// The group is not asked.
    Forgets,
}

/// One process.
struct Process<'a> {
    mem: &'a Mem,
    me: usize,
    dir: Directory,
    fates: &'a Fates,
    wrong: Wrong,
    lossless: bool,
    /// Descriptions opened so far.
    opened: usize,
}

struct Page {
    view: PageView<Mem>,
    file: File,
    owner: Owner,
}

impl Process<'_> {
    fn open(&mut self) -> Owner {
        self.opened += 1;
        (self.me, self.opened)
    }

    fn window(&self) -> Window {
        Window::unpack(self.mem.load(WINDOW, Acquire))
    }

    fn newest(&self) -> u64 {
        self.mem.load(NEWEST, Acquire)
    }

    fn view(&self, file: File, number: u64) -> PageView<Mem> {
        PageView { mem: self.mem.at(STRIDE * (file + 1)), number, geometry: GEOMETRY }
    }

    /// `Shared::pin`.
    fn pin(&mut self, number: u64) -> Option<Page> {
        let mut locked_out = 0;
        loop {
            if self.window().oldest > number {
                return None;
            }
            let file = self.dir.find(self.mem, Name::Page(number))?;
            let owner = self.open();
            if self.wrong != Wrong::NoPin && !self.dir.try_shared(self.mem, file, owner) {
                locked_out += usize::from(self.fates.stopped());
                assert!(locked_out < 30, "locked out of a page in use by one who is stopped");
                yield_now();
                continue;
            }
            let page = Page { view: self.view(file, number), file, owner };
            if self.wrong != Wrong::NoSecondLook {
                if self.dir.find(self.mem, Name::Page(number)) != Some(file) {
                    self.unpin(page);
                    continue;
                }
                if self.window().oldest > number {
                    self.unpin(page);
                    return None;
                }
            }
            // `admit`.
            let carried = page.view.mem.load(NUMBER_AT, Acquire);
            assert_eq!(carried, number, "a pinned file carries another page");
            return Some(page);
        }
    }

    fn unpin(&self, page: Page) {
        self.dir.close(self.mem, page.file, page.owner);
    }

    /// `Shared::page_for_sending`; `None`: no room.
    fn page_for_sending(&mut self, mut sealed: u64) -> Option<Page> {
        loop {
            let newest = self.newest();
            if newest == sealed {
                if !self.make_room(newest + 1) {
                    return None;
                }
                self.ensure_page(newest + 1);
                let _ = self.mem.cas(NEWEST, newest, newest + 1, AcqRel);
                continue;
            }
            match self.pin(newest) {
                Some(page) if page.view.tail().sealed(&GEOMETRY) => {
                    sealed = newest;
                    self.unpin(page);
                }
                Some(page) => return Some(page),
                None if self.newest() != newest => {}
                None => {
                    if !self.make_room(newest) {
                        return None;
                    }
                    self.ensure_page(newest);
                }
            }
        }
    }

    /// `Shared::make_room` and `evict`.
    fn make_room(&mut self, number: u64) -> bool {
        loop {
            let w = self.window();
            if number.saturating_sub(w.oldest) < MAX_PAGES {
                return true;
            }
            if w.oldest + 1 >= number {
                return false;
            }
            if let Some(page) = self.pin(w.oldest) {
                let kept = self.lossless && self.wrong != Wrong::Forgets && !self.passed(&page);
                self.unpin(page);
                if kept {
                    return false;
                }
            }
            let to = Window { oldest: w.oldest + 1, ..w };
            let _ = self.mem.cas(WINDOW, w.pack(), to.pack(), SeqCst);
        }
    }

    /// `passed`.
    fn passed(&self, page: &Page) -> bool {
        let (floor, number) = (self.mem.load(GROUP, Acquire), page.view.number);
        if floor < position(number, 0) || floor >= position(number + 1, 0) {
            return floor >= position(number, 0);
        }
        let (messages, _, settled) = page.view.count(slot_of(floor), GEOMETRY.slots);
        settled && messages == 0
    }

    /// `Shared::ensure_page`, `prepare`, `make_page`. The turn saves work and proves nothing: left out.
    fn ensure_page(&mut self, number: u64) {
        while self.dir.find(self.mem, Name::Page(number)).is_none() {
            let owner = self.open();
            let spare = self.take_spare(owner);
            let Some(spare) = spare.or_else(|| self.new_locked(owner)) else {
                continue;
            };
            let done = self.dress(spare, owner, number);
            self.dir.close(self.mem, spare.1, owner);
            if done {
                return;
            }
        }
    }

    /// `Shared::new_locked`: both locks in one call (here, the one that decides comes first).
    fn new_locked(&mut self, owner: Owner) -> Option<(Name, File)> {
        let (name, file) = self.dir.create(self.mem);
        let locked = self.dir.try_take(self.mem, file, owner)
            && self.dir.try_exclusive(self.mem, file, owner);
        if !locked && self.wrong != Wrong::Unlocked {
            self.dir.unlink(self.mem, name);
            self.dir.close(self.mem, file, owner);
            return None;
        }
        Some((name, file))
    }

    /// `Shared::take_spare`.
    fn take_spare(&mut self, owner: Owner) -> Option<(Name, File)> {
        let oldest = self.window().oldest;
        let mut found = None;
        for name in self.dir.list(self.mem) {
            let dropped = matches!(name, Name::Page(number) if number < oldest);
            if !dropped && !matches!(name, Name::Temporary(_)) {
                continue;
            }
            let Some(file) = self.dir.find(self.mem, name) else {
                continue;
            };
            let its = if found.is_none() { owner } else { self.open() };
            let taken = self.wrong == Wrong::NoTake || self.dir.try_take(self.mem, file, its);
            let early = self.wrong == Wrong::NoTake && self.dir.try_exclusive(self.mem, file, its);
            if early {
                self.not_in_use(file);
            }
            if self.dir.find(self.mem, name) != Some(file) {
                self.dir.close(self.mem, file, its);
                continue;
            }
            let late = self.wrong != Wrong::NoTake && taken;
            let free = early || late && self.dir.try_exclusive(self.mem, file, its);
            if free {
                self.not_in_use(file);
            }
            if free && dropped && found.is_none() {
                found = Some((name, file));
                continue;
            }
            if free || dropped {
                self.dir.unlink(self.mem, name);
            }
            self.dir.close(self.mem, file, its);
        }
        found
    }

    /// Nobody has the write lock on a page in use, not even for a moment: it may be stopped then.
    fn not_in_use(&self, file: File) {
        let oldest = Window::unpack(self.mem.peek(WINDOW)).oldest;
        let page = self.dir.page_of(file);
        assert!(page.is_none_or(|number| number < oldest), "locked out of a page in use");
    }

    /// `Shared::dress_mapped`.
    fn dress(&mut self, spare: (Name, File), owner: Owner, number: u64) -> bool {
        let (name, file) = spare;
        let view = self.view(file, number);
        let fresh = |mem: &Mem| {
            for at in [ENDED_AT, BURIED_AT, TAIL_AT] {
                mem.store(at, 0, Relaxed);
            }
        };
        if self.wrong == Wrong::NotCleared {
            fresh(&view.mem);
            view.mem.store(NUMBER_AT, number, Release);
        } else {
            view.dress(true, fresh);
        }
        if self.wrong != Wrong::LinksLocked && !self.dir.try_shared(self.mem, file, owner) {
            return false;
        }
        let to = Name::Page(number);
        let Some(name) = self.own_name(name, file) else {
            return false;
        };
        match self.dir.rename(self.mem, name, to, self.wrong == Wrong::Replaces) {
            Ok(()) => {}
            Err(true) => {
                self.dir.unlink(self.mem, name);
                return true;
            }
            Err(false) => return false,
        }
        if number < self.window().oldest || number > self.newest() + 1 {
            self.dir.unlink(self.mem, to);
        }
        true
    }

    /// `Shared::own_name`.
    fn own_name(&mut self, name: Name, file: File) -> Option<Name> {
        if matches!(name, Name::Temporary(_)) || self.wrong == Wrong::ByOldName {
            return Some(name);
        }
        let own = Name::Temporary(FILES * (self.me + 1) + self.open().1);
        self.dir.rename(self.mem, name, own, false).ok()?;
        if self.dir.find(self.mem, own) == Some(file) {
            return Some(own);
        }
        self.dir.unlink(self.mem, own);
        None
    }

    /// `Producer::send` of some messages, with the page kept in between; those that were sent.
    fn send(&mut self, ids: Vec<u32>) -> Vec<u32> {
        let (mut sent, mut hand, mut sealed) = (Vec::new(), None::<Page>, 0);
        for id in ids {
            loop {
                let Some(page) = hand.take().or_else(|| self.page_for_sending(sealed)) else {
                    // No room: the reader makes some.
                    yield_now();
                    continue;
                };
                let Some(claim) = page.view.claim(1, 1) else {
                    sealed = page.view.number;
                    self.unpin(page);
                    continue;
                };
                let at = GEOMETRY.payload_at() + 8 * claim.unit as usize;
                page.view.mem.store(at, id.into(), Relaxed);
                let published = page.view.publish(claim.slot, 8, claim.unit, id);
                hand = Some(page);
                if published {
                    sent.push(id);
                    break;
                }
            }
        }
        hand.into_iter().for_each(|page| self.unpin(page));
        sent
    }

    /// Read on from `at`, as a member (acknowledging) or an observer, as long as somebody may send.
    fn read(&mut self, mut at: u64) -> (Vec<u32>, u64) {
        let (mut got, mut hand) = (Vec::new(), None::<Page>);
        loop {
            let over = self.fates.over(0..PRODUCERS);
            let page = match hand.take() {
                Some(page) if page.view.number == page_of(at) => page,
                old => {
                    old.into_iter().for_each(|page| self.unpin(page));
                    match self.pin(page_of(at)) {
                        Some(page) => page,
                        None => {
                            let oldest = self.window().oldest;
                            if page_of(at) < oldest {
                                // There was nothing more in it, or (`lossless`) it is missed at the end.
                                at = position(oldest, 0);
                            } else if over && page_of(at) >= self.newest() {
                                return (got, at);
                            }
                            yield_now();
                            continue;
                        }
                    }
                }
            };
            match page.view.look(slot_of(at)) {
                Look::Message { .. } => {
                    let found = message(&page.view, slot_of(at));
                    // The caller holds the pointer for a while.
                    yield_now();
                    assert_eq!(found, message(&page.view, slot_of(at)), "changed under a pin");
                    got.extend(found);
                    at += 1;
                }
                Look::Tombstone => at += 1,
                // The stall timeout.
                Look::Unpublished if chance(6) => {
                    page.view.bury(slot_of(at));
                }
                Look::Unpublished => yield_now(),
                Look::End if page.view.number < self.newest() => {
                    at = position(page.view.number + 1, 0)
                }
                Look::End | Look::Free if over => {
                    self.unpin(page);
                    return (got, at);
                }
                Look::End | Look::Free => yield_now(),
                Look::Damaged => panic!("a word of another page"),
            }
            if self.lossless {
                self.mem.store(GROUP, at, Release);
            }
            hand = Some(page);
        }
    }
}

fn ring(wrong: Wrong, lossless: bool) {
    let page = words(GEOMETRY).into_iter().chain([(NUMBER_AT, 0)]).collect::<Vec<_>>();
    let start = Window { oldest: FIRST_PAGE, groups: 0 };
    let first = position(FIRST_PAGE, 0);
    let mut all = vec![(WINDOW, start.pack()), (NEWEST, FIRST_PAGE), (GROUP, first)];
    for file in 0..FILES {
        all.extend(page.iter().map(|&(at, value)| (STRIDE * (file + 1) + at, value)));
    }
    let mem = Mem::stepped(&all);
    let fates = Fates::draw(PRODUCERS + 1, 160).spare(PRODUCERS..PRODUCERS + 1);
    let dir = Directory::new(&fates);
    let mut actors = Vec::new();
    let known = Arc::new(fates.clone());
    for me in 0..=PRODUCERS {
        let (dir, fates) = (dir.clone(), known.clone());
        actors.push(known.spawn(me, &mem, Fault::None, move |mem| {
            let fates = &*fates;
            let mut p = Process { mem: &mem, me, dir, fates, wrong, lossless, opened: 0 };
            if me < PRODUCERS {
                let id = 10 * (me as u32 + 1);
                (p.send((id + 1..=id + EACH).collect()), Vec::new(), 0)
            } else {
                let (got, at) = p.read(first);
                (Vec::new(), got, at)
            }
        }));
    }
    let done = fates.join(actors);
    let mem = mem.actor(Fault::None);
    let me = PRODUCERS;
    let mut p = Process { mem: &mem, me, dir, fates: &fates, wrong, lossless, opened: 1 << 20 };
    let (_, mut got, at) = done[PRODUCERS].clone().unwrap();
    // What the one that had been stopped sent afterwards.
    got.extend(p.read(at).0);
    judge(&got, &done, lossless);
    assert!(p.dir.list(&mem).len() <= MAX_PAGES as usize + 4, "files are left behind");
}

type Done = Option<(Vec<u32>, Vec<u32>, u64)>;

fn judge(got: &[u32], done: &[Done], lossless: bool) {
    let mut last = BTreeMap::new();
    for &id in got {
        let before = last.insert(id / 10, id).unwrap_or(0);
        assert!(before < id, "out of order or twice");
    }
    for (sent, ..) in done.iter().flatten().filter(|_| lossless) {
        assert!(sent.iter().all(|id| got.contains(id)), "lost");
    }
}

#[test]
fn a_lossless_channel_rolls_over_and_loses_nothing() {
    schedules(1500, || ring(Wrong::Nothing, true));
}

#[test]
fn a_ring_shows_nothing_of_a_pages_other_lives() {
    schedules(1500, || ring(Wrong::Nothing, false));
}

#[test]
#[should_panic]
fn without_pins_a_page_changes_under_its_users() {
    caught(|| ring(Wrong::NoPin, false));
}

#[test]
#[should_panic(expected = "carries another page")]
fn a_pin_that_does_not_look_again_is_on_another_page() {
    caught(|| ring(Wrong::NoSecondLook, false));
}

#[test]
#[should_panic(expected = "locked out")]
fn a_lock_on_what_became_a_page_in_use_locks_out() {
    caught(|| ring(Wrong::NoTake, false));
}

#[test]
#[should_panic(expected = "locked out")]
fn a_new_file_that_a_cleaner_has_locked_locks_out() {
    caught(|| ring(Wrong::Unlocked, false));
}

#[test]
#[should_panic(expected = "locked out")]
fn a_name_for_a_file_still_locked_locks_out() {
    caught(|| ring(Wrong::LinksLocked, false));
}

#[test]
#[should_panic(expected = "carries another page")]
fn a_file_linked_by_its_old_name_may_be_another() {
    caught_from(200_150, || ring(Wrong::ByOldName, false));
}

#[test]
#[should_panic(expected = "lost")]
fn a_link_that_replaces_loses_messages() {
    caught(|| ring(Wrong::Replaces, true));
}

#[test]
#[should_panic]
fn slots_that_are_not_cleared_are_seen() {
    caught(|| ring(Wrong::NotCleared, false));
}

#[test]
#[should_panic(expected = "lost")]
fn a_group_that_is_not_asked_loses_messages() {
    caught(|| ring(Wrong::Forgets, true));
}
