//! What a user writes for sizes, times and places, and how figures are shown.

use std::time::Duration;

use disk_chan::raw::options::{last, EARLIEST, LATEST, UNLIMITED};

/// Bytes: a number, and `K`, `M`, `G` or `T` (powers of 1,024; `KiB`, `MB` and the like mean the same).
pub fn size(text: &str) -> Result<u64, String> {
    let bad = || format!("\"{text}\" is no size: write 65536, 64K, 16M or 4G");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(bad()),
    };
    number.checked_mul(1 << shift).ok_or_else(bad)
}

/// A number of pages, or `unlimited`.
pub fn pages(text: &str) -> Result<u64, String> {
    match text {
        "unlimited" => Ok(UNLIMITED),
        _ => text.parse().map_err(|_| format!("\"{text}\" is no number, nor \"unlimited\"")),
    }
}

/// Permission bits in octal.
pub fn mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8).map_err(|_| format!("\"{text}\" is not octal: write 640, say"))
}

/// A time: seconds, or a number with `ms`, `s`, `m` or `h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("\"{text}\" is no time: write 2 or 2s, 0.5, 500ms, 5m or 1h");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| bad())?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(bad()),
    };
    match Duration::try_from_secs_f64(seconds) {
        // The library's timeouts are milliseconds in 31 bits; 20 days are enough.
        Ok(d) if d.as_secs() <= 20 * 86_400 => Ok(d),
        _ => Err(bad()),
    }
}

/// A place in a channel: `earliest`, `latest`, `last:N`, or a position.
pub fn place(text: &str) -> Result<u64, String> {
    let bad = || format!("\"{text}\" is no place: write earliest, latest, last:N or a position");
    match text {
        "earliest" => Ok(EARLIEST),
        "latest" => Ok(LATEST),
        _ => match text.strip_prefix("last:") {
            Some(n) => n.parse().map(last).map_err(|_| bad()),
            None => match text.parse() {
                // Above lie the marks of the library, which are said by word here.
                Ok(at) if (1..1 << 54).contains(&at) => Ok(at),
                _ => Err(bad()),
            },
        },
    }
}

/// A count with a comma every three digits.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(c);
    }
    text
}

/// "1 message", "2 messages".
pub fn messages(n: u64) -> String {
    format!("{} message{}", count(n), if n == 1 { "" } else { "s" })
}

/// Bytes, short.
pub fn bytes(n: u64) -> String {
    let mut value = n as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{n} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// A rate or a large count, in four figures.
pub fn short(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{:.2}G", v / 1e9),
        v if v >= 1e6 => format!("{:.2}M", v / 1e6),
        v if v >= 1e4 => format!("{:.1}k", v / 1e3),
        v => format!("{v:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("65536"), Ok(65_536));
        assert_eq!(size("64K"), Ok(65_536));
        assert_eq!(size("4GiB"), Ok(4 << 30));
        for bad in ["", "K", "1X", "-1", "99999999999999999999", "99999999999T"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(duration("2"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        for bad in ["", "s", "-1", "1d", "1.2.3", "21600h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn places() {
        assert_eq!(place("earliest"), Ok(EARLIEST));
        assert_eq!(place("latest"), Ok(LATEST));
        assert_eq!(place("last:3"), Ok(last(3)));
        assert_eq!(place("65536"), Ok(65_536));
        for bad in ["", "0", "last:", "last:x", "18446744073709551615", "newest"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn figures() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(12), "12");
        assert_eq!(messages(1), "1 message");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(16 << 20), "16.0 MiB");
        assert_eq!(short(12_345.0), "12.3k");
    }
}
