//! Whose flush may be believed (`engine/durable.rs`): a disk that fails once, a kernel that says so once to
//! each descriptor, flushers that die of it, and one that was suspended meanwhile.

use std::sync::Arc;

use loom::sync::Mutex;
use loom::thread;

use crate::engine::durable;
use crate::heap::{until_death, Fault, Mem, IMMORTAL};
use crate::layout::control::{DURABLE, FLUSHING, POISONED};
use crate::run::check;
use crate::sync::{Acquire, Memory, Release, SeqCst};

/// What was sent ends here.
const END: u64 = 9;

/// One page file of the kernel's.
#[derive(Default)]
pub(crate) struct File {
    /// Written since it was last on the disk.
    pub(crate) dirty: bool,
    /// The disk fails once more.
    pub(crate) fails: bool,
    /// What the disk has is not what the file has.
    pub(crate) differs: bool,
    /// Errors so far, and whether anybody was told of the last one (`errseq_t`).
    errors: u32,
    told: bool,
}

impl File {
    /// Written once, and not on the disk.
    pub(crate) fn written(fails: bool) -> File {
        File { dirty: true, fails, differs: true, ..File::default() }
    }

    /// Open it: what a flush through this descriptor will compare with.
    pub(crate) fn open(&self) -> u32 {
        // An error that nobody was told of is told to one who comes later.
        if self.told {
            self.errors
        } else {
            0
        }
    }

    pub(crate) fn write(&mut self) {
        self.dirty = true;
    }

    /// `fdatasync`: the pages are clean afterwards whether they were written or not.
    pub(crate) fn sync(&mut self, opened: &mut u32) -> bool {
        if std::mem::take(&mut self.dirty) {
            if std::mem::take(&mut self.fails) {
                self.errors += 1;
                self.told = false;
            } else {
                self.differs = false;
            }
        }
        let good = *opened == self.errors;
        (*opened, self.told) = (self.errors, true);
        good
    }
}

/// Who gets it wrong, and how.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Wrong {
    Nothing,
    /// The flush lock's holder takes `FLUSHING` back whoever came since, and believes itself.
    Blunt,
    /// Nobody says that a flush begins.
    Silent,
    /// Nothing is made dirty anew.
    Trusting,
}

/// `Shared::flush`, of one page file that is opened on the way.
pub(crate) fn flush(
    mem: &Mem,
    wrong: Wrong,
    last: impl FnOnce() -> bool,
    file: impl Fn(&dyn Fn(&mut File) -> bool) -> bool,
) {
    if mem.load(POISONED, Acquire) != 0 {
        return;
    }
    let from = mem.load(DURABLE, Acquire);
    // `flush_pages`: pin (which opens the file if need be), `redirty`, `fdatasync`.
    let write = |unsure: bool| {
        let opened = std::cell::Cell::new(0);
        file(&|file| {
            opened.set(file.open());
            true
        });
        if unsure && wrong != Wrong::Trusting {
            file(&|file| {
                file.write();
                true
            });
        }
        let good = file(&|file| {
            let mut at = opened.get();
            file.sync(&mut at)
        });
        if !good {
            mem.store(POISONED, 1, SeqCst);
        }
        good.then_some(()).ok_or(())
    };
    match wrong {
        Wrong::Nothing | Wrong::Trusting => {
            let _ = durable::flush(mem, from, END, write, last);
        }
        Wrong::Blunt | Wrong::Silent => {
            let unsure = wrong == Wrong::Blunt && mem.swap(FLUSHING, 1, SeqCst) != 0;
            if (END > from || unsure) && write(unsure).is_ok() {
                mem.raise(DURABLE, END, SeqCst);
                if last() {
                    mem.store(FLUSHING, 0, Release);
                }
            }
        }
    }
}

pub(crate) const WORDS: [(usize, u64); 3] = [(DURABLE, 0), (FLUSHING, 0), (POISONED, 0)];

/// One flusher with the lock, suspended at will; one beside it who may die anywhere; and one after both.
fn beside(wrong: Wrong, fuse: usize) {
    let mem = Mem::new(&WORDS);
    let disk = Arc::new(Mutex::new(File::written(true)));
    let run = move |mem: Mem, locked: bool, disk: Arc<Mutex<File>>| {
        let file = |act: &dyn Fn(&mut File) -> bool| {
            mem.burn();
            act(&mut disk.lock().unwrap())
        };
        flush(&mem, wrong, || locked, file)
    };
    let (second, its) = (mem.mortal(Fault::None, fuse), disk.clone());
    let second = thread::spawn(move || until_death(|| run(second, false, its)).is_none());
    run(mem.actor(Fault::None), true, disk.clone());
    second.join().unwrap();
    run(mem.actor(Fault::None), true, disk.clone());
    let believed = mem.load(DURABLE, Acquire) == END;
    assert!(!believed || !disk.lock().unwrap().differs, "confirmed, and not on the disk");
}

fn beside_at_every_fuse(wrong: Wrong) {
    for fuse in (0..12).chain([IMMORTAL]) {
        check(4, move || beside(wrong, fuse));
    }
}

#[test]
fn an_error_is_never_forgotten() {
    beside_at_every_fuse(Wrong::Nothing);
}

#[test]
#[should_panic(expected = "not on the disk")]
fn a_flusher_that_does_not_look_who_came_forgets_one() {
    beside_at_every_fuse(Wrong::Blunt);
}

#[test]
#[should_panic(expected = "not on the disk")]
fn a_flush_that_nobody_sees_forgets_one() {
    beside_at_every_fuse(Wrong::Silent);
}

#[test]
#[should_panic(expected = "not on the disk")]
fn a_range_that_is_not_dirtied_anew_forgets_one() {
    beside_at_every_fuse(Wrong::Trusting);
}
