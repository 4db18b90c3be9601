use super::{FRAME_MAX, frames, stations};

#[test]
fn frames_are_cut_at_their_lengths() {
    let mut come = Vec::new();
    for frame in [&b"first"[..], b"", b"third"] {
        come.extend((frame.len() as u32).to_be_bytes());
        come.extend(frame);
    }
    let whole = come.clone();
    let mut found = Vec::new();
    let mut held = Vec::new();
    // Byte by byte, as a stream may come.
    for byte in &whole {
        held.push(*byte);
        found.extend(frames(&mut held).expect("lengths are right"));
    }
    assert_eq!(found, [&b"first"[..], b"", b"third"]);
    assert_eq!(frames(&mut come).expect("lengths are right"), found);
    assert!(come.is_empty() && held.is_empty());
}

#[test]
fn nonsense_is_no_frame() {
    let mut come = (FRAME_MAX as u32 + 1).to_be_bytes().to_vec();
    assert!(frames(&mut come).is_err());
    assert_eq!(stations(&[0; 11]), None);
    assert_eq!(stations(b"\x01\x02\x03\x04\x05\x06abcdef"), Some(([1, 2, 3, 4, 5, 6], *b"abcdef")));
}
