//! Base64 (RFC 4648): read in both forms, written in the one for addresses (tokens) or the standard one.

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const ADDRESS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Writes bytes with letters, digits, `-` and `_`, without padding (section 5).
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    digits(bytes, ADDRESS)
}

/// Writes bytes in the standard form, with padding (section 4).
#[must_use]
pub fn encode_standard(bytes: &[u8]) -> String {
    let mut text = digits(bytes, STANDARD);
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

fn digits(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = 0_u32;
        for index in 0..3 {
            group = group << 8 | u32::from(chunk.get(index).copied().unwrap_or(0));
        }
        for index in 0..=chunk.len() {
            let digit = group >> (18 - 6 * index) & 63;
            text.push(char::from(alphabet[digit as usize]));
        }
    }
    text
}

/// Reads either form, with or without padding. None when it is not base64, or when bits are set
/// behind the last byte (section 3.5), so that one value has one text.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if text.len() - digits.len() > 2 || digits.len() % 4 == 1 {
        return None;
    }
    let value = |digit: u8| {
        let place = |alphabet: &[u8; 64]| alphabet.iter().position(|letter| *letter == digit);
        place(STANDARD).or_else(|| place(ADDRESS)).map(|place| place as u32)
    };
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for chunk in digits.as_bytes().chunks(4) {
        let mut group = 0_u32;
        for index in 0..4 {
            group = group << 6 | chunk.get(index).map_or(Some(0), |digit| value(*digit))?;
        }
        let [_, first, second, third] = group.to_be_bytes();
        let whole = [first, second, third];
        let count = chunk.len() - 1;
        if whole[count..].iter().any(|byte| *byte != 0) {
            return None;
        }
        bytes.extend_from_slice(&whole[..count]);
    }
    Some(bytes)
}
