//! The figures of one look, and the rates since the one before.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Instant;

use disk_chan::raw::{Channel, ChannelInfo, GroupInfo};

use crate::cmd::groups;
use crate::disk::{page_of, Disk, Page, Participants};
use crate::fail::Result;

use super::sent::Sent;

/// Looks kept for the sparklines.
const KEPT: usize = 120;
/// Pages looked at one by one; of more, the newest ones.
const PAGES: u64 = 512;

/// A channel under observation.
pub struct Sampler {
    channel: Channel,
    disk: Disk,
    pub path: PathBuf,
    pub info: ChannelInfo,
    pub participants: Option<Participants>,
    pub pages: Vec<Page>,
    pub groups: Vec<Group>,
    /// Messages a second that were sent, a look each.
    pub rates: VecDeque<u64>,
    /// Messages a second that groups received.
    pub rate_out: f64,
    counter: Sent,
    /// Messages sent since the first look, and when that was seen.
    sent: Option<(Instant, u64)>,
}

/// A group, and what became of it of late.
pub struct Group {
    pub name: String,
    pub info: GroupInfo,
    /// Messages a second that it received.
    pub rate: f64,
    pub lags: VecDeque<u64>,
}

impl Sampler {
    pub fn new(channel: Channel, path: &Path) -> Result<Sampler> {
        let info = channel.stats()?;
        Ok(Sampler {
            disk: Disk::new(path, &info),
            channel,
            path: path.to_path_buf(),
            info,
            participants: None,
            pages: Vec::new(),
            groups: Vec::new(),
            rates: VecDeque::new(),
            rate_out: 0.0,
            counter: Sent::default(),
            sent: None,
        })
    }

    /// Take all figures.
    pub fn look(&mut self) -> Result<()> {
        self.info = self.channel.stats()?;
        self.participants = self.disk.participants();
        let newest = page_of(self.info.end);
        let oldest = page_of(self.info.oldest).max((newest + 1).saturating_sub(PAGES));
        self.pages = (oldest..=newest).filter_map(|n| self.disk.page(n)).collect();
        let now = Instant::now();
        let groups = groups::all(&self.channel)?;
        let counts: Vec<_> = self.pages.iter().map(|p| (p.number, p.sent())).collect();
        let sent = self.counter.look(&counts);
        let passed = self.sent.map(|(then, before)| {
            let seconds = now.duration_since(then).as_secs_f64().max(1e-3);
            (sent.saturating_sub(before), seconds)
        });
        if let Some((more, seconds)) = passed {
            keep(&mut self.rates, (more as f64 / seconds) as u64);
        }
        let groups = groups.into_iter().map(|(name, info)| self.group(&name, info, passed));
        self.groups = groups.collect();
        self.rate_out = self.groups.iter().map(|g| g.rate).sum::<f64>() + 0.0; // of none it is -0
        self.sent = Some((now, sent));
        Ok(())
    }

    fn group(&mut self, name: &[u8], info: GroupInfo, passed: Option<(u64, f64)>) -> Group {
        let name = groups::shown(name);
        let Some(before) = self.groups.iter_mut().find(|g| g.name == name) else {
            return Group { name, info, rate: 0.0, lags: VecDeque::from([info.lag]) };
        };
        let rate = match passed {
            // What was sent, and neither waits nor was dropped, was received. A seek looks as if messages had
            // been received, or sent: it cannot be told from here.
            Some((sent, seconds)) => {
                let unread = |i: &GroupInfo| i128::from(i.lag) + i128::from(i.lost);
                let received = i128::from(sent) + unread(&before.info) - unread(&info);
                received.max(0) as f64 / seconds
            }
            None => before.rate,
        };
        let mut lags = std::mem::take(&mut before.lags);
        keep(&mut lags, info.lag);
        Group { name, info, rate, lags }
    }

    /// Messages a second at the last look.
    pub fn rate_in(&self) -> f64 {
        self.rates.back().copied().unwrap_or(0) as f64
    }
}

fn keep(values: &mut VecDeque<u64>, value: u64) {
    if values.len() == KEPT {
        values.pop_front();
    }
    values.push_back(value);
}
