//! What members and observers share: the page in hand, what is found in it, what is wrong with it.

use crate::channel::handles::Handle;
use crate::channel::pages::{Page, Pinned};
use crate::channel::User;
use crate::engine::abandoned::Watch;
use crate::engine::page::Look;
use crate::error::{fail, Error, Result, DC_AGAIN, DC_E_CORRUPT};
use crate::layout::{page_of, position, slot_of};
use crate::options::{Message, MESSAGE_REDELIVERED};
use crate::sync::planted;
use crate::sys::clock;

/// What members and observers share.
pub(super) struct Core {
    pub(super) shared: User,
    pub(super) handle: Handle,
    /// The page whose messages the caller may hold pointers into.
    pub(super) page: Option<Page>,
    /// Whether any message of it was handed out.
    pub(super) handed: bool,
    pub(super) auto_next_page: bool,
    /// The unpublished claim in front, if any.
    pub(super) watch: Watch,
    pub(super) redelivered: u64,
    pub(super) corrupt: u64,
    /// A corrupt message met behind others of a batch, for the next receiving call to report; 0: none.
    pub(super) deferred: u64,
    /// Somebody spent a wake on this handle: it passes it on if there is more than it takes.
    pub(super) woken: bool,
}

/// What one step found.
pub(super) enum Step {
    Message,
    EndOfPage,
    Lagged,
    /// Nothing now; `pending`: a claim in front is not published yet.
    Nothing {
        pending: bool,
    },
}

/// Where to go from a page.
pub(super) enum Turn {
    /// The page is there.
    Here,
    /// The caller must say `next_page` first.
    EndOfPage,
    /// There is no such page yet.
    Unmade,
    /// There is no such page any more, or its number was skipped.
    Missing,
    /// Nothing in it can be trusted.
    Damaged,
}

impl Core {
    pub(super) fn drop_page(&mut self) {
        self.page = None;
        self.handed = false;
    }

    /// Have the page of a position pinned.
    #[inline(always)]
    pub(super) fn turn_to(&mut self, at: u64) -> Result<Turn> {
        match &self.page {
            Some(page) if page.number() == page_of(at) => Ok(Turn::Here),
            _ => self.turn_cold(at),
        }
    }

    #[cold]
    pub(super) fn turn_cold(&mut self, at: u64) -> Result<Turn> {
        if self.page.is_some() {
            // What this handle needed of the page is acknowledged by now, or soon.
            self.shared.room_made();
            if self.must_ask() {
                return Ok(Turn::EndOfPage);
            }
            self.drop_page();
        }
        // Before the page is looked for: what is not found may be made, filled and followed by another one at once.
        let newest = self.shared.newest();
        match self.shared.pin(page_of(at))? {
            Pinned::Page(page) => {
                self.page = Some(page);
                self.handed = false;
                Ok(Turn::Here)
            }
            Pinned::Missing if page_of(at) >= newest => Ok(Turn::Unmade),
            Pinned::Missing => Ok(Turn::Missing),
            Pinned::Damaged => Ok(Turn::Damaged),
        }
    }

    /// Whether the caller may hold pointers that it has not given up.
    pub(super) fn must_ask(&self) -> bool {
        self.handed && !self.auto_next_page
    }

    /// Fill in a message found at `at`, whose page is pinned. `Err`: it is corrupt.
    #[inline(always)]
    pub(super) fn take(
        &mut self,
        at: u64,
        found: Look,
        deliveries: u32,
        out: &mut Message,
    ) -> Result<()> {
        let Some(page) = &self.page else {
            return Err(Error::silent(DC_AGAIN));
        };
        if let Look::Message { len, unit, checksum } = found {
            let data = page.payload(unit);
            // SAFETY: `look` checked the range against the page, which is pinned; what is published
            // is not written again while it is.
            let payload = unsafe { std::slice::from_raw_parts(data, len) };
            let whole =
                self.shared.checksum_of(at, payload) == checksum || planted!("checksum_unchecked");
            if whole && !self.lost() {
                let flags = if deliveries > 1 { MESSAGE_REDELIVERED } else { 0 };
                *out = Message { data, len, position: at, flags, deliveries };
                self.handed = true;
                return Ok(());
            }
        }
        Err(self.corrupt(at, out))
    }

    pub(super) fn lost(&self) -> bool {
        self.shared.guard
            && (self.shared.lost() || self.page.as_ref().is_some_and(|p| p.file.lost()))
    }

    #[cold]
    pub(super) fn corrupt(&mut self, at: u64, out: &mut Message) -> Error {
        self.corrupt += 1;
        self.report_corrupt(at, out)
    }

    pub(super) fn report_corrupt(&self, at: u64, out: &mut Message) -> Error {
        *out = Message { position: at, ..Message::default() };
        fail!(
            DC_E_CORRUPT,
            "{}: the message at position {at} (page {}, slot {}) does not match its checksum; it is \
             skipped",
            self.shared.path.display(),
            page_of(at),
            slot_of(at)
        )
    }

    /// A claim in front is not published: true when it is decided by now.
    #[cold]
    pub(super) fn settle(&mut self, at: u64) -> bool {
        match &self.page {
            Some(page) if page.number() == page_of(at) => {
                self.shared.settle(page, slot_of(at), &mut self.watch)
            }
            _ => false,
        }
    }

    /// What lies at a position of the page in hand.
    pub(super) fn look(&self, at: u64) -> Look {
        self.page.as_ref().map_or(Look::Free, |page| page.view.look(slot_of(at)))
    }

    /// A page is damaged: report it once, at the position where it was met.
    #[cold]
    pub(super) fn damaged_page(&mut self, at: u64, out: &mut Message) -> Error {
        self.corrupt += 1;
        *out = Message { position: at, ..Message::default() };
        // The sentence is that of the failed look at the page.
        Error::silent(DC_E_CORRUPT)
    }

    pub(super) fn coarse_now() -> u64 {
        clock::coarse_ms()
    }

    pub(super) fn first_of(page: u64) -> u64 {
        position(page, 0)
    }
}
