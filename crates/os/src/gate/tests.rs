//! What can be seen without the kernel.

use base::Instant;

use super::assembler::{Assembler, When, Width};
use super::{GateError, SlotState, TIME_NAMESPACE, is_time_shifted, reason};

#[test]
fn a_slot_is_open_between_its_grant_and_its_deadline() {
    let at = Instant::from_millis;
    let open = SlotState { deadline: at(9), grant: at(5), revoked: at(4), passed: 0, dropped: 0 };
    assert_eq!(open.open_until(at(8)), Some(at(9)));
    assert_eq!(open.open_until(at(9)), None, "the deadline itself is too late");
    let revoked = SlotState { revoked: at(5), ..open };
    assert_eq!(revoked.open_until(at(8)), None, "a grant of the same moment is the older one");
    let fresh = SlotState { grant: at(0), revoked: at(0), ..open };
    assert_eq!(fresh.open_until(at(8)), None, "nothing was granted");
}

#[test]
fn a_shifted_clock_is_noticed() {
    assert!(!is_time_shifted(""));
    assert!(!is_time_shifted("monotonic           0         0\nboottime            0         0\n"));
    assert!(!is_time_shifted("monotonic           7         0\nboottime            0         0\n"));
    assert!(is_time_shifted("monotonic           0         0\nboottime          100         0\n"));
    assert!(is_time_shifted("monotonic           0         0\nboottime            0         1\n"));
    assert_eq!(GateError::TimeNamespace.errno(), TIME_NAMESPACE);
    assert!(reason(TIME_NAMESPACE).contains("time namespace"));
    assert!(reason(libc::EPERM).contains("permitted"));
}

/// RFC 9669, figures of sections 3 and 4.
#[test]
#[cfg(target_endian = "little")]
fn instructions_are_encoded_as_the_kernel_reads_them() {
    let mut a = Assembler::default();
    a.jump_when(1, When::NotEqual, 7, "end");
    a.load(Width::Word, 2, 6, 16);
    a.store_number(Width::Double, 10, -8, -1);
    a.jump_when_register(0, When::AtLeast, 1, "end");
    a.map(1, 5);
    a.label("end");
    a.exit();
    let bytes: Vec<[u8; 8]> = a.finish().iter().map(|word| word.to_ne_bytes()).collect();
    assert_eq!(
        bytes,
        [
            [0x55, 0x01, 5, 0, 7, 0, 0, 0],
            [0x61, 0x62, 16, 0, 0, 0, 0, 0],
            [0x7a, 0x0a, 0xf8, 0xff, 0xff, 0xff, 0xff, 0xff],
            [0x3d, 0x10, 2, 0, 0, 0, 0, 0],
            [0x18, 0x11, 0, 0, 5, 0, 0, 0],
            [0; 8],
            [0x95, 0, 0, 0, 0, 0, 0, 0],
        ]
    );
}
