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
const END: u64 = 1;

/// One page file of the kernel's, in blocks of one message each.
#[derive(Default)]
pub(crate) struct File {
    blocks: Vec<Block>,
    /// So many flushes fail yet.
    failures: usize,
    /// Errors so far, and whether anybody was told of the last one (`errseq_t`).
    errors: u32,
    told: bool,
}

#[derive(Clone, Copy)]
struct Block {
    dirty: bool,
    /// What the disk has is not what the file has.
    differs: bool,
}

impl File {
    /// A new one, on a disk that fails so often.
    pub(crate) fn failing(failures: usize) -> File {
        File { failures, ..File::default() }
    }

    /// One more message.
    pub(crate) fn append(&mut self) {
        self.blocks.push(Block { dirty: true, differs: true });
    }

    /// Messages that are not on the disk among the first ones.
    pub(crate) fn missing(&self, count: usize) -> usize {
        self.blocks[..count].iter().filter(|block| block.differs).count()
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

    /// Make everything dirty (`redirty`).
    pub(crate) fn touch(&mut self) {
        self.blocks.iter_mut().for_each(|block| block.dirty = true);
    }

    /// `fdatasync`: the pages are clean afterwards whether they were written or not.
    pub(crate) fn sync(&mut self, opened: u32) -> bool {
        if self.blocks.iter().any(|block| block.dirty) {
            let fails = self.failures > 0;
            for block in self.blocks.iter_mut().filter(|block| block.dirty) {
                *block = Block { dirty: false, differs: block.differs && fails };
            }
            if fails {
                self.failures -= 1;
                self.errors += 1;
                self.told = false;
            }
        }
        self.told = true;
        opened == self.errors
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
    to: u64,
    wrong: Wrong,
    last: impl FnOnce() -> bool,
    file: impl Fn(&mut dyn FnMut(&mut File)),
) {
    if mem.load(POISONED, Acquire) != 0 {
        return;
    }
    let from = mem.load(DURABLE, Acquire);
    // `flush_pages`: pin (which opens the file if need be), `redirty`, `fdatasync`.
    let write = |unsure: bool| {
        let (mut opened, mut good) = (0, false);
        file(&mut |file| opened = file.open());
        if unsure && wrong != Wrong::Trusting {
            file(&mut |file| file.touch());
        }
        file(&mut |file| good = file.sync(opened));
        if !good {
            mem.store(POISONED, 1, SeqCst);
        }
        good.then_some(()).ok_or(())
    };
    match wrong {
        Wrong::Nothing | Wrong::Trusting => {
            let _ = durable::flush(mem, from, to, write, last);
        }
        Wrong::Blunt | Wrong::Silent => {
            let unsure = wrong == Wrong::Blunt && mem.swap(FLUSHING, 1, SeqCst) != 0;
            if (to > from || unsure) && write(unsure).is_ok() {
                mem.raise(DURABLE, to, SeqCst);
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
    let disk = Arc::new(Mutex::new(File::failing(1)));
    disk.lock().unwrap().append();
    let run = move |mem: Mem, locked: bool, disk: Arc<Mutex<File>>| {
        let file = |act: &mut dyn FnMut(&mut File)| {
            mem.burn();
            act(&mut disk.lock().unwrap());
        };
        flush(&mem, END, wrong, || locked, file)
    };
    let (second, its) = (mem.mortal(Fault::None, fuse), disk.clone());
    let second = thread::spawn(move || until_death(|| run(second, false, its)).is_none());
    run(mem.actor(Fault::None), true, disk.clone());
    second.join().unwrap();
    run(mem.actor(Fault::None), true, disk.clone());
    let believed = mem.load(DURABLE, Acquire) == END;
    assert!(!believed || disk.lock().unwrap().missing(1) == 0, "confirmed, and not on the disk");
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
