//! A read-only check of everything a channel has on disk.

use std::path::Path;

use super::pages::Pinned;
use super::{open, Shared};
use crate::engine::page::Look;
use crate::error::Result;
use crate::layout::{is_group_file, page_number, page_of, position};
use crate::options::{Options, VerifyInfo, CHECKSUM_ON, READ_ONLY, SIGBUS_GUARD};
use crate::sys::sigbus;

/// Check the channel at `path`.
pub(super) fn verify(path: &Path) -> Result<VerifyInfo> {
    // Its own open has no options; what the process asked for holds here too.
    let guard = if sigbus::installed() { SIGBUS_GUARD } else { 0 };
    let shared = open::open(path, &Options { flags: READ_ONLY | guard, ..Options::default() })?;
    let mut info = VerifyInfo::default();
    let names = shared.dir.list().map_err(|e| shared.os_dir(e, "list"))?;
    let mut pages: Vec<u64> = names.iter().filter_map(|n| page_number(n)).collect();
    pages.sort_unstable();
    for number in pages.into_iter().filter(|&n| n <= shared.newest()) {
        match shared.pin(number) {
            Ok(Pinned::Page(page)) => {
                verify_page(&shared, &page, &mut info);
                info.corrupt += u64::from(page.file.lost());
            }
            Ok(Pinned::Missing) => {}
            Ok(Pinned::Damaged) => info.corrupt += 1,
            Err(e) => return Err(e),
        }
    }
    for name in names.iter().filter(|n| is_group_file(n)) {
        verify_group(&shared, name, &mut info)?;
    }
    shared.intact(info)
}

fn verify_page(shared: &Shared, page: &super::pages::Page, info: &mut VerifyInfo) {
    info.pages += 1;
    for slot in 0..shared.geometry.slots {
        match page.view.look(slot) {
            Look::Message { len, unit, checksum } => {
                // SAFETY: `look` checked the range against the page; a writer of this process or
                // another does not touch published payload.
                let payload = unsafe { std::slice::from_raw_parts(page.payload(unit), len) };
                let at = position(page.number(), slot);
                if shared.checksum == CHECKSUM_ON && shared.checksum_of(at, payload) != checksum {
                    info.corrupt += 1;
                } else {
                    info.messages += 1;
                    info.bytes += len as u64;
                }
            }
            Look::Tombstone => {}
            Look::Unpublished => info.torn += 1,
            Look::Damaged => info.corrupt += 1,
            Look::End | Look::Free => break,
        }
    }
}

fn verify_group(shared: &Shared, name: &str, info: &mut VerifyInfo) -> Result<()> {
    use crate::layout::group::{self, Cursor, CURSOR};
    let Ok(fd) = shared.dir.open_file(name, false) else {
        return Ok(());
    };
    let mut header = [0; group::HEADER];
    let n = fd.read_at(&mut header, 0).map_err(|e| shared.os_dir(e, "read a group of"))?;
    info.groups += 1;
    let word = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap_or_default());
    let len = (word(group::NAME_LEN_AT) as usize).min(255);
    let sound = n == header.len()
        && word(group::MAGIC_AT) == group::MAGIC
        && header[group::UUID_AT..group::UUID_AT + 16] == shared.uuid
        && crate::layout::group_file_name(&header[group::NAME_AT..group::NAME_AT + len]) == name
        && page_of(Cursor::unpack(word(CURSOR)).position) >= crate::layout::FIRST_PAGE;
    if !sound {
        info.corrupt += 1;
    }
    Ok(())
}
