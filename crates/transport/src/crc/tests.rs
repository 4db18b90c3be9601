use super::crc32;

#[test]
fn the_check_value_of_the_catalogue_comes_out() {
    assert_eq!(crc32(b""), 0);
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn eight_bytes_at_once_are_eight_times_one() {
    let slow = |bytes: &[u8]| {
        let mut value = u32::MAX;
        for byte in bytes {
            value ^= u32::from(*byte);
            for _ in 0..8 {
                value = if value & 1 == 0 { value >> 1 } else { (value >> 1) ^ 0xedb8_8320 };
            }
        }
        !value
    };
    let bytes: Vec<u8> = (0..100_u32).map(|number| (number * number * 7 + 3) as u8).collect();
    for start in 0..9 {
        for end in start..bytes.len() {
            assert_eq!(crc32(&bytes[start..end]), slow(&bytes[start..end]), "{start}..{end}");
        }
    }
}
