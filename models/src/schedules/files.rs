//! The kernel's side of page files: names, and locks that end with their owners.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Fates;
use crate::heap::Mem;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    Page(u64),
    Temporary(usize),
}

/// Which file.
pub(super) type File = usize;
/// An open file description: of an actor, and which one of its.
pub(super) type Owner = (usize, usize);

#[derive(Default)]
struct Inode {
    shared: Vec<Owner>,
    exclusive: Option<Owner>,
    /// The lock on `LOCK_TAKE`.
    take: Option<Owner>,
}

#[derive(Default)]
struct Disk {
    files: Vec<Inode>,
    names: BTreeMap<Name, File>,
}

/// A directory.
#[derive(Clone)]
pub(super) struct Directory {
    disk: Arc<Mutex<Disk>>,
    fates: Fates,
}

impl Directory {
    pub(super) fn new(fates: &Fates) -> Directory {
        Directory { disk: Arc::default(), fates: fates.clone() }
    }

    /// One system call.
    fn call<T>(&self, mem: &Mem, act: impl FnOnce(&mut Disk) -> T) -> T {
        mem.call();
        act(&mut self.disk.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn free(&self, lock: Option<Owner>, me: Owner) -> bool {
        lock.is_none_or(|owner| owner == me || self.fates.dead(owner.0))
    }

    pub(super) fn create(&self, mem: &Mem) -> (Name, File) {
        self.call(mem, |d| {
            let file = d.files.len();
            d.files.push(Inode::default());
            d.names.insert(Name::Temporary(file), file);
            (Name::Temporary(file), file)
        })
    }

    /// Open, or `stat`.
    pub(super) fn find(&self, mem: &Mem, name: Name) -> Option<File> {
        self.call(mem, |d| d.names.get(&name).copied())
    }

    pub(super) fn list(&self, mem: &Mem) -> Vec<Name> {
        self.call(mem, |d| d.names.keys().copied().collect())
    }

    pub(super) fn unlink(&self, mem: &Mem, name: Name) {
        self.call(mem, |d| d.names.remove(&name));
    }

    /// Rename without replacing; `Err(true)`: the new name is there; `Err(false)`: the old one is not.
    pub(super) fn rename(
        &self,
        mem: &Mem,
        from: Name,
        to: Name,
        replace: bool,
    ) -> Result<(), bool> {
        self.call(mem, |d| {
            if !d.names.contains_key(&from) {
                return Err(false);
            }
            if d.names.contains_key(&to) && !replace {
                return Err(true);
            }
            let file = d.names.remove(&from).ok_or(false)?;
            d.names.insert(to, file);
            Ok(())
        })
    }

    /// What page a file is by its name, which no actor asks.
    pub(super) fn page_of(&self, file: File) -> Option<u64> {
        let disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        disk.names.iter().find_map(|(name, &its)| match name {
            Name::Page(number) if its == file => Some(*number),
            _ => None,
        })
    }

    pub(super) fn try_shared(&self, mem: &Mem, file: File, me: Owner) -> bool {
        self.call(mem, |d| {
            let inode = &mut d.files[file];
            let free = self.free(inode.exclusive, me);
            if free {
                inode.exclusive = None;
                inode.shared.push(me);
            }
            free
        })
    }

    pub(super) fn try_exclusive(&self, mem: &Mem, file: File, me: Owner) -> bool {
        self.call(mem, |d| {
            let inode = &mut d.files[file];
            let free = self.free(inode.exclusive, me)
                && inode.shared.iter().all(|&owner| self.free(Some(owner), me));
            if free {
                inode.shared.retain(|&owner| owner != me);
                inode.exclusive = Some(me);
            }
            free
        })
    }

    pub(super) fn try_take(&self, mem: &Mem, file: File, me: Owner) -> bool {
        self.call(mem, |d| {
            let free = self.free(d.files[file].take, me);
            if free {
                d.files[file].take = Some(me);
            }
            free
        })
    }

    /// Close a description: its locks end.
    pub(super) fn close(&self, mem: &Mem, file: File, me: Owner) {
        self.call(mem, |d| {
            let inode = &mut d.files[file];
            inode.shared.retain(|&owner| owner != me);
            inode.exclusive = inode.exclusive.filter(|&owner| owner != me);
            inode.take = inode.take.filter(|&owner| owner != me);
        });
    }
}
