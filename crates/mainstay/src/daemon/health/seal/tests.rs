use super::{Key, MAGIC};

const NONCE: [u8; 12] = [7; 12];

#[test]
fn what_one_key_seals_no_other_opens() {
    let (key, other) = (Key::of_cluster(&[1; 32]), Key::of_cluster(&[2; 32]));
    let frame = key.seal(b"a body", NONCE);
    assert!(frame.starts_with(&MAGIC) && frame.len() == 4 + 12 + 6 + 16);
    assert_eq!(key.open(&frame), Ok(b"a body".to_vec()));
    assert!(other.open(&frame).is_err());
    for at in 0..frame.len() {
        let mut changed = frame.clone();
        changed[at] ^= 1;
        assert!(key.open(&changed).is_err(), "byte {at}");
        assert!(key.open(&frame[..at]).is_err(), "{at} bytes");
    }
    let long = key.seal(&[0; 500], NONCE);
    assert!(key.open(&long).is_err(), "longer than any body");
}
