//! LMDB: a queue by increasing key, each message a value under the next number.
//!
//! Settings, after `lmdb.h`: `MDB_INTEGERKEY` and `MDB_APPEND` (keys that increase: pages are filled one after the other,
//! without a search), `MDB_RESERVE` (the value is written in the page, without a copy before), a transaction for every
//! 1,000 messages written or for every message where each is to be durable, one read transaction as long as messages
//! come, a cursor that steps. What need not be durable: `MDB_NOSYNC | MDB_WRITEMAP`, the fastest. What has to be: no
//! flags, since `MDB_NOMETASYNC` may lose the last commit. Nothing is deleted. Nothing wakes a reader, so it looks again.

use std::ffi::{c_int, CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;

use anyhow::{bail, ensure, Result};
use lmdb_master_sys::*;

use super::{Peer, Work};
use crate::maker::Maker;
use crate::payload::Checker;
use crate::spec::Spec;

/// Messages a transaction where nothing is flushed.
const TOGETHER: usize = 1000;

pub struct Lmdb {
    env: *mut MDB_env,
    dbi: MDB_dbi,
    dir: PathBuf,
    size: usize,
    together: usize,
}

// SAFETY: an environment is for any number of threads, a transaction for one; those are made by the roles.
unsafe impl Sync for Lmdb {}

fn ok(code: c_int, call: &str) -> Result<()> {
    if code == 0 {
        return Ok(());
    }
    // SAFETY: a text that ends with NUL and is not changed before it is copied.
    let why = unsafe { CStr::from_ptr(mdb_strerror(code)) }.to_string_lossy();
    bail!("{call}: {why}")
}

/// A key or a value, as the library has it.
fn val(bytes: &[u8]) -> MDB_val {
    MDB_val { mv_size: bytes.len(), mv_data: bytes.as_ptr().cast_mut().cast() }
}

const NOTHING: MDB_val = MDB_val { mv_size: 0, mv_data: null_mut() };

impl Lmdb {
    pub fn create(spec: &Spec, dir: &Path) -> Result<Lmdb> {
        std::fs::create_dir(dir.join("lmdb"))?;
        Lmdb::join(spec, dir)
    }

    pub fn join(spec: &Spec, dir: &Path) -> Result<Lmdb> {
        let dir = dir.join("lmdb");
        let path = CString::new(dir.as_os_str().as_bytes())?;
        let flags = if spec.flush { 0 } else { MDB_NOSYNC | MDB_WRITEMAP };
        // A page of 4 KiB holds fewer messages than it has bytes for; copies of pages come with every commit.
        let room = spec.messages as usize * (spec.size + 64).next_multiple_of(32) * 2 + (256 << 20);
        let (mut env, mut txn, mut dbi) = (null_mut(), null_mut(), 0);
        // SAFETY: valid pointers; the environment is configured before it is opened.
        unsafe {
            ok(mdb_env_create(&mut env), "mdb_env_create")?;
            ok(mdb_env_set_mapsize(env, room as _), "mdb_env_set_mapsize")?;
            ok(mdb_env_open(env, path.as_ptr(), flags | MDB_NOTLS, 0o600), "mdb_env_open")?;
            ok(mdb_txn_begin(env, null_mut(), 0, &mut txn), "mdb_txn_begin")?;
            ok(mdb_dbi_open(txn, std::ptr::null(), MDB_INTEGERKEY, &mut dbi), "mdb_dbi_open")?;
            ok(mdb_txn_commit(txn), "mdb_txn_commit")?;
        }
        let together = if spec.flush { spec.batch } else { TOGETHER };
        Ok(Lmdb { env, dbi, dir, size: spec.size, together })
    }

    /// Write messages in one transaction; false: there were none.
    fn write(&self, maker: &mut Maker) -> Result<bool> {
        let (mut txn, mut cursor, mut key) = (null_mut(), null_mut(), 0u64);
        // SAFETY: valid pointers, used by this thread alone; a cursor ends before its transaction. A reserved value has
        // the length asked for and is written before anything else is done in the transaction.
        unsafe {
            ok(mdb_txn_begin(self.env, null_mut(), 0, &mut txn), "mdb_txn_begin")?;
            ok(mdb_cursor_open(txn, self.dbi, &mut cursor), "mdb_cursor_open")?;
            let (mut last, mut value) = (NOTHING, NOTHING);
            let code = mdb_cursor_get(cursor, &mut last, &mut value, MDB_LAST);
            if code != MDB_NOTFOUND {
                ok(code, "mdb_cursor_get")?;
                key = last.mv_data.cast::<u64>().read_unaligned();
            }
            let first = key;
            for _ in 0..self.together {
                let Some(message) = maker.next() else { break };
                key += 1;
                let bytes = key.to_ne_bytes();
                let (mut name, mut value) = (val(&bytes), val(message));
                let flags = MDB_APPEND | MDB_RESERVE;
                ok(mdb_cursor_put(cursor, &mut name, &mut value, flags), "mdb_cursor_put")?;
                let place = value.mv_data.cast::<u8>();
                std::ptr::copy_nonoverlapping(message.as_ptr(), place, message.len());
            }
            mdb_cursor_close(cursor);
            if key == first {
                mdb_txn_abort(txn);
                return Ok(false);
            }
            ok(mdb_txn_commit(txn), "mdb_txn_commit")?;
        }
        Ok(true)
    }

    /// Hand on what is there after `key`, up to the end of one read transaction; the last key.
    fn read(&self, txn: *mut MDB_txn, mut key: u64, checker: &mut Checker) -> Result<u64> {
        let mut cursor = null_mut();
        // SAFETY: as above; values are looked at within the transaction.
        unsafe {
            ok(mdb_cursor_open(txn, self.dbi, &mut cursor), "mdb_cursor_open")?;
            let next = (key + 1).to_ne_bytes();
            let (mut name, mut value) = (val(&next), NOTHING);
            let mut code = mdb_cursor_get(cursor, &mut name, &mut value, MDB_SET_RANGE);
            while code == 0 {
                key = name.mv_data.cast::<u64>().read_unaligned();
                let bytes = std::slice::from_raw_parts(value.mv_data.cast::<u8>(), value.mv_size);
                checker.check(bytes)?;
                code = mdb_cursor_get(cursor, &mut name, &mut value, MDB_NEXT);
            }
            mdb_cursor_close(cursor);
            if code != MDB_NOTFOUND {
                ok(code, "mdb_cursor_get")?;
            }
        }
        Ok(key)
    }
}

impl Drop for Lmdb {
    fn drop(&mut self) {
        // SAFETY: all transactions have ended.
        unsafe { mdb_env_close(self.env) };
    }
}

impl Peer for Lmdb {
    fn producer<'a>(&'a self, mut maker: Maker<'a>) -> Result<Work<'a>> {
        ensure!(self.size <= 65_536, "values of up to 64 KiB");
        Ok(Box::new(move || {
            while self.write(&mut maker)? {}
            Ok(())
        }))
    }

    fn consumer<'a>(&'a self, _group: usize, mut checker: Checker<'a>) -> Result<Work<'a>> {
        let mut txn = null_mut();
        // SAFETY: valid pointers, used by this thread alone.
        ok(unsafe { mdb_txn_begin(self.env, null_mut(), MDB_RDONLY, &mut txn) }, "mdb_txn_begin")?;
        Ok(Box::new(move || {
            let mut key = 0;
            while !checker.alone_and_done() {
                let before = key;
                key = self.read(txn, key, &mut checker)?;
                if key == before && checker.all()? {
                    break;
                }
                // SAFETY: of this thread; renewed, it sees what was written meanwhile.
                unsafe {
                    mdb_txn_reset(txn);
                    ok(mdb_txn_renew(txn), "mdb_txn_renew")?;
                }
            }
            // SAFETY: not used again.
            unsafe { mdb_txn_abort(txn) };
            Ok(())
        }))
    }

    fn disk_bytes(&self) -> u64 {
        super::disk_of(&self.dir)
    }
}
