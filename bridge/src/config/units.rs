//! Times and sizes as they are written in the configuration.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::Deserialize;

/// A time: `"250ms"`, `"5s"`, `"2m"`, `"12h"`, `"7d"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd)]
pub struct Span(pub Duration);

pub(super) fn seconds<const N: u64>() -> Span {
    Span(Duration::from_secs(N))
}
pub(super) fn millis<const N: u64>() -> Span {
    Span(Duration::from_millis(N))
}

/// Bytes: a number, or `"64KiB"`, `"8MiB"`, `"2GiB"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd)]
pub struct Size(pub u64);

/// A number and a unit, each of which is worth so much.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let worth = units.iter().find(|u| u.0 == unit.trim())?.1;
    number.parse::<u64>().ok()?.checked_mul(worth)
}

struct Text<T>(&'static str, fn(&str) -> Option<T>, fn(u64) -> Option<T>);

impl<T> Visitor<'_> for Text<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<T, E> {
        self.1(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
    fn visit_i64<E: de::Error>(self, n: i64) -> std::result::Result<T, E> {
        let made = u64::try_from(n).ok().and_then(self.2);
        made.ok_or_else(|| E::invalid_value(de::Unexpected::Signed(n), &self))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Span, D::Error> {
        const UNITS: &[(&str, u64)] =
            &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
        from.deserialize_any(Text(
            "a time such as \"250ms\", \"5s\", \"2m\", \"12h\", \"7d\", or 0",
            |text| with_unit(text, UNITS).map(|ms| Span(Duration::from_millis(ms))),
            |n| (n == 0).then_some(Span(Duration::ZERO)),
        ))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Size, D::Error> {
        const UNITS: &[(&str, u64)] =
            &[("", 1), ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
        from.deserialize_any(Text(
            "bytes, such as 1000, \"64KiB\", \"8MiB\"",
            |text| with_unit(text, UNITS).map(Size),
            |n| Some(Size(n)),
        ))
    }
}
