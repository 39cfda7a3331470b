//! Whose flush may be believed.
//!
//! The kernel tells of a failed write once for each descriptor that was open when it failed. Who opens the file
//! afterwards is told that all is well, though the data is gone. So whoever flushes says so first
//! (`FLUSHING`), and takes it back when it knows how it ended: who finds somebody there, at work or dead,
//! makes everything dirty anew through a descriptor of its own, and believes that flush only.

use crate::layout::control::{DURABLE, FLUSHING};
use crate::sync::{AcqRel, Memory, SeqCst};

/// Flush by `write` (which is told whether to make the range dirty anew, and poisons the channel if the
/// disk fails) and raise the durable position to `to`. `last`: whether everybody who came before is gone; it
/// is asked at the end, when somebody was there.
pub(crate) fn flush<M: Memory, E>(
    ctl: &M,
    from: u64,
    to: u64,
    write: impl FnOnce(bool) -> Result<(), E>,
    last: impl FnOnce() -> bool,
) -> Result<(), E> {
    let others = ctl.add(FLUSHING, 1, SeqCst);
    if to > from || others != 0 {
        write(others != 0)?;
        // One who flushed beside may have been told of the error before this one opened a file, and may
        // have died of it. Nothing is known; the next try finds it written there.
        if others == 0 && ctl.load(FLUSHING, SeqCst) != 1 {
            return Ok(());
        }
        ctl.raise(DURABLE, to, AcqRel);
    }
    if others == 0 || last() {
        // Unless somebody came since: how that ends is for the next one to find out.
        let _ = ctl.cas(FLUSHING, others + 1, 0, SeqCst);
    }
    Ok(())
}
