//! Durations as people write them: `200ms`, `2.4s`, `1m`.

use std::time::Duration;

/// Units with their length in nanoseconds, longest name first so that `ms` is not taken for `s`.
const UNITS: [(&str, u64); 6] = [
    ("ms", 1_000_000),
    ("us", 1_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Reads a number with a unit. Up to three decimal places, no sign, no exponent.
///
/// # Errors
/// A sentence that says what is wrong and shows how it is written.
pub fn parse(text: &str) -> Result<Duration, String> {
    let example = "write a number and a unit, such as \"200ms\", \"2.4s\", \"1m\"";
    let split = text.find(|character: char| !character.is_ascii_digit() && character != '.');
    let Some(split) = split else {
        return Err(format!("the duration has no unit: {example}"));
    };
    let (number, unit) = text.split_at(split);
    let unit = unit.trim_start();
    let Some((_, nanos)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("there is no unit `{unit}` (ms, s, m, h, d): {example}"));
    };
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > 3 {
        return Err(format!("`{number}` is not a number with at most three decimals: {example}"));
    }
    let too_long = || "the duration is too long".to_owned();
    let whole: u64 = whole.parse().map_err(|_| too_long())?;
    let thousandths: u64 = format!("{decimals:0<3}").parse().map_err(|_| too_long())?;
    let whole = whole.checked_mul(*nanos).ok_or_else(too_long)?;
    let part = thousandths * (nanos / 1000);
    whole.checked_add(part).map(Duration::from_nanos).ok_or_else(too_long)
}

/// Writes a duration the way it is read: in the largest unit that needs at most three decimals.
#[must_use]
pub fn format(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let (unit, size) = match nanos {
        0 => return "0s".into(),
        1..1_000_000 => ("us", 1_000),
        1_000_000..1_000_000_000 => ("ms", 1_000_000),
        _ if nanos.is_multiple_of(3_600_000_000_000) => ("h", 3_600_000_000_000),
        _ if nanos.is_multiple_of(60_000_000_000) => ("m", 60_000_000_000),
        _ => ("s", 1_000_000_000),
    };
    let (whole, part) = (nanos / size, nanos % size * 1000 / size);
    if part == 0 {
        return format!("{whole}{unit}");
    }
    let part = format!("{part:03}");
    format!("{whole}.{}{unit}", part.trim_end_matches('0'))
}
