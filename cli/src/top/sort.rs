//! The order of the groups.

use super::sample::Group;

/// What the groups are ordered by: a column of the table each, from the left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sort {
    Name,
    Consumers,
    Rate,
    Lag,
    Unacked,
    Redelivered,
    Lost,
}

impl Sort {
    pub const ALL: [Sort; 7] = [
        Sort::Name,
        Sort::Consumers,
        Sort::Rate,
        Sort::Lag,
        Sort::Unacked,
        Sort::Redelivered,
        Sort::Lost,
    ];

    /// The column's title.
    pub fn title(self) -> &'static str {
        match self {
            Sort::Name => "group",
            Sort::Consumers => "consumers",
            Sort::Rate => "out/s",
            Sort::Lag => "lag",
            Sort::Unacked => "unacked",
            Sort::Redelivered => "redelivered",
            Sort::Lost => "lost",
        }
    }

    /// The column so many to the right, around the end.
    pub fn step(self, by: usize) -> Sort {
        let at = Sort::ALL.iter().position(|&s| s == self).unwrap_or(0);
        Sort::ALL[(at + by) % Sort::ALL.len()]
    }

    /// By name from A, by figures from the largest; or the other way round.
    pub fn apply(self, groups: &mut [&Group], reversed: bool) {
        groups.sort_by(|a, b| match self {
            Sort::Name => a.name.cmp(&b.name),
            Sort::Consumers => b.info.consumers.cmp(&a.info.consumers),
            Sort::Rate => b.rate.total_cmp(&a.rate),
            Sort::Lag => b.info.lag.cmp(&a.info.lag),
            Sort::Unacked => b.info.unacked.cmp(&a.info.unacked),
            Sort::Redelivered => b.info.redelivered.cmp(&a.info.redelivered),
            Sort::Lost => b.info.lost.cmp(&a.info.lost),
        });
        if reversed {
            groups.reverse();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use disk_chan::raw::GroupInfo;

    fn group(name: &str, lag: u64) -> Group {
        let info = GroupInfo { lag, ..GroupInfo::default() };
        Group { name: name.into(), info, rate: 0.0, lags: Default::default() }
    }

    #[test]
    fn sorting() {
        let all = [group("b", 1), group("a", 3), group("c", 2)];
        let sorted = |sort: Sort, reversed| {
            let mut groups: Vec<&Group> = all.iter().collect();
            sort.apply(&mut groups, reversed);
            groups.iter().map(|g| g.name.as_str()).collect::<String>()
        };
        assert_eq!(sorted(Sort::Name, false), "abc");
        assert_eq!(sorted(Sort::Name, true), "cba");
        assert_eq!(sorted(Sort::Lag, false), "acb");
        assert_eq!(Sort::Name.step(Sort::ALL.len() - 1), Sort::Lost);
        assert_eq!(Sort::Lost.step(1), Sort::Name);
    }
}
