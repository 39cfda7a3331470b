//! After a machine crash: what is whole stays, what is torn goes, no position is used twice.
//!
//! Runs in the first open under another boot id, alone (exclusive open lock). It bounds the work by
//! renaming nothing and reading no page: old pages are only marked suspect, and checked one by one when
//! somebody first uses them, by compare-exchange only, so that any number of processes may do it at
//! once and be killed at it. Writing goes on in a new page above the reserved numbers.

use crate::channel::pages::Page;
use crate::channel::Shared;
use crate::error::{Error, Result};
use crate::layout::control::{self, Window, BOOT_ID, DURABLE, DURABLE_THEN, RECOVERIES};
use crate::layout::group::{self, Cursor, CURSOR, ENTRIES, ENTRY_MAX, ENTRY_SIZE, FLOOR, NOBODY};
use crate::layout::page::{
    end_word, place, slot_at, state, tombstone_word, Header, State, Tail, BURIED_AT, ENDED_AT,
    NUMBER_AT, TAIL_AT, UNIT, VERIFIED_AT,
};
use crate::layout::{is_group_file, page_number, position, FIRST_PAGE, PAGE_LIMIT};
use crate::options::CHECKSUM_ON;
use crate::sync::{planted, AcqRel, Acquire, Memory, Region, Relaxed, Release, SeqCst};
use crate::sys::clock;
use crate::sys::errno::Os;
use crate::sys::map::Map;

/// Bring the channel of a crashed machine back to work.
pub(crate) fn recover(shared: &Shared) -> Result<()> {
    let ctl = &shared.ctl;
    let err = |e: i32| shared.os_dir(e, "recover");
    let boot = clock::boot_id().map_err(err)?;
    // The durable position stays: what is behind it was not flushed, and may be torn.
    let durable = ctl.load(DURABLE, SeqCst).max(ctl.load(control::MARK, SeqCst));
    ctl.store(DURABLE_THEN, durable, SeqCst);
    if planted!("boot_id_first") {
        ctl.write_bytes(BOOT_ID, &boot);
    }
    let names = shared.dir.list().map_err(err)?;
    let window = Window::unpack(ctl.load(control::WINDOW, SeqCst));
    let pages = || names.iter().filter_map(|n| page_number(n)).filter(|&n| n >= window.oldest);
    // Above everything that was ever used; a damaged mark cannot exhaust the numbers.
    let mark =
        if planted!("high_water_ignored") { 0 } else { ctl.load(control::HIGH_WATER, SeqCst) };
    let newest = mark
        .max(ctl.load(control::NEWEST, SeqCst).saturating_add(1))
        .max(pages().max().unwrap_or(0) + 1)
        .clamp(FIRST_PAGE + 1, PAGE_LIMIT / 2);
    for name in names.iter().filter(|n| is_group_file(n)) {
        recover_group(shared, name, newest).map_err(|e| {
            Error::os(e, format_args!("cannot recover {}/{name}", shared.path.display()))
        })?;
    }
    let mut oldest = newest;
    for name in &names {
        let Some(number) = page_number(name).filter(|&n| n >= window.oldest) else { continue };
        if position(number, 0) < durable || !forget_unwritten(shared, name).map_err(err)? {
            oldest = oldest.min(number);
        }
    }
    for at in (control::SLEEPERS..control::HANDLES_AT).step_by(8) {
        ctl.store(at, 0, Relaxed);
    }
    for index in 0..control::HANDLES {
        ctl.store(control::handle_at(index) + control::KIND, 0, Relaxed);
    }
    for at in [control::SLEEPING, control::WAITING, control::POISONED, control::FLUSHING] {
        ctl.store(at, 0, Relaxed);
    }
    ctl.store(control::NAMED, 0, Relaxed);
    ctl.store(control::WINDOW, Window { oldest, ..window.joined() }.pack(), SeqCst);
    ctl.store(control::NEWEST, newest, SeqCst);
    ctl.raise(control::HIGH_WATER, newest + crate::channel::RESERVE, SeqCst);
    ctl.store(control::SUSPECT_BELOW, newest, SeqCst);
    ctl.add(RECOVERIES, 1, SeqCst);
    shared.file.sync_data().map_err(err)?;
    ctl.write_bytes(BOOT_ID, &boot);
    shared.file.sync_data().map_err(err)
}

/// A page's name may reach the disk before its length does. Where nothing of the page was confirmed this is
/// no damage: it counts as never made, and goes. (Killed here, the next recovery has `HIGH_WATER` still.)
fn forget_unwritten(shared: &Shared, name: &str) -> Os<bool> {
    let stat = shared.dir.stat_of(name)?;
    let unwritten = stat.is_file && stat.size < shared.geometry.file_len();
    if unwritten {
        shared.dir.unlink(name)?;
    }
    Ok(unwritten)
}

/// Set a group back to what was acknowledged for certain; leases mean nothing any more.
fn recover_group(shared: &Shared, name: &str, newest: u64) -> Os<()> {
    let fd = match shared.dir.open_file(name, true) {
        // Not a file: reported to whoever names the group.
        Err(libc::EINVAL | libc::ELOOP) => return Ok(()),
        opened => opened?,
    };
    if fd.stat()?.size < group::file_len(ENTRY_MAX) as u64 {
        return Ok(());
    }
    let header = {
        let map = Map::new(&fd, group::HEADER, true, shared.guard)?;
        // SAFETY: page-aligned, of this length, used only while `map` lives.
        let mem = unsafe { Region::new(map.base(), map.len()) };
        let ours = group::read_name(&mem, &shared.uuid).is_some();
        if ours {
            // A damaged floor must not skip what is yet to come.
            let (floor, seeks) = group::floor_of(mem.load(FLOOR, Acquire));
            let floor = floor.min(position(newest, 0));
            mem.store(FLOOR, group::floor_word(floor, seeks), Relaxed);
            mem.store(CURSOR, Cursor { position: floor, last: NOBODY }.pack(), Relaxed);
            for at in [ENTRIES, group::CONSUMERS, group::SEEKING, group::GAP, group::RETURNED] {
                mem.store(at, 0, Relaxed);
            }
        }
        ours
    };
    if header {
        // A hole reads as zeros, and no mapping of a read-only process is cut.
        let entries = (group::file_len(ENTRY_MAX) - group::HEADER) as u64;
        fd.punch_hole(group::HEADER as u64, entries)?;
        fd.allocate(0, (group::HEADER + ENTRY_SIZE) as u64)?;
        fd.sync_data()?;
    }
    Ok(())
}

/// Check a page that was written before the last machine crash, and seal it.
pub(crate) fn check_page(shared: &Shared, page: &Page) -> Result<()> {
    let (view, mem) = (&page.view, &page.view.mem);
    let verified = mem.load(VERIFIED_AT, Acquire);
    let recoveries = shared.ctl.load(RECOVERIES, Acquire);
    if mem.load(NUMBER_AT, Acquire) != view.number
        || !Header::fits(mem, &shared.uuid, &shared.geometry)
    {
        // The name reached the disk and the header did not; the slots are judged by themselves.
        let (uuid, geometry) = (shared.uuid, shared.geometry);
        Header { uuid, geometry, verified, base: 0 }.write(mem);
        mem.store(NUMBER_AT, view.number, Release);
    }
    let durable = shared.ctl.load(DURABLE_THEN, Acquire);
    let (mut end, mut torn) = (0, 0);
    for slot in 0..shared.geometry.slots {
        match judge(shared, page, slot, durable) {
            Verdict::End => {
                end = slot;
                break;
            }
            Verdict::Whole => end = slot + 1,
            Verdict::Torn => torn += 1,
            Verdict::Nothing => {}
        }
    }
    let mut buried = 0;
    for slot in 0..end {
        if !matches!(judge(shared, page, slot, durable), Verdict::Whole) {
            let word = mem.load(slot_at(slot), Acquire);
            let _ = mem.cas(slot_at(slot), word, tombstone_word(view.number), AcqRel);
        }
        let word = mem.load(slot_at(slot), Acquire);
        buried += u64::from(state(word, view.number) == State::Tombstone);
    }
    let word = mem.load(slot_at(end), Acquire);
    let _ = mem.cas(slot_at(end), word, end_word(view.number), AcqRel);
    // Torn words behind the end would be met by whoever starts there.
    for slot in end + 1..=shared.geometry.slots {
        let word = mem.load(slot_at(slot), Acquire);
        if word != 0 {
            let _ = mem.cas(slot_at(slot), word, 0, AcqRel);
        }
    }
    mem.store(ENDED_AT, end as u64 + 1, Release);
    mem.store(BURIED_AT, buried, Release);
    let sealed = Tail { count: shared.geometry.slots as u64 + 1, units: 0 };
    mem.store(TAIL_AT, sealed.pack(), Release);
    if mem.cas(VERIFIED_AT, verified, recoveries, AcqRel).is_ok() && torn > 0 {
        shared.ctl.add(control::DISCARDED, torn, AcqRel);
    }
    Ok(())
}

enum Verdict {
    /// Deliver it (a damaged message below the durable position is for the receiver to report).
    Whole,
    /// A message that did not reach the disk in one piece.
    Torn,
    /// Never written, or left from another page of a reused file.
    Nothing,
    End,
}

fn judge(shared: &Shared, page: &Page, slot: usize, durable: u64) -> Verdict {
    let (view, mem) = (&page.view, &page.view.mem);
    match state(mem.load(slot_at(slot), Acquire), view.number) {
        State::Empty | State::Foreign => Verdict::Nothing,
        State::Tombstone => Verdict::Whole,
        State::End => Verdict::End,
        State::Message(len) => {
            let (unit, sum) = place(mem.load(slot_at(slot) + 8, Relaxed));
            let at = position(view.number, slot);
            if at < durable {
                return Verdict::Whole;
            }
            if unit + (len as u64).div_ceil(UNIT as u64) > view.geometry.units()
                || shared.checksum != CHECKSUM_ON
            {
                return Verdict::Torn;
            }
            // SAFETY: inside the payload, as just checked; nobody writes a page from before the crash.
            let payload = unsafe { std::slice::from_raw_parts(page.payload(unit), len) };
            if shared.checksum_of(at, payload) == sum || planted!("torn_believed") {
                Verdict::Whole
            } else {
                Verdict::Torn
            }
        }
    }
}
