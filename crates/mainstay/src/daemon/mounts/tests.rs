//! What is read from programs; the way through the kernel is in `tests/mount.rs`.

use os::mount::Found;

use super::*;

#[test]
fn the_progress_of_a_check_is_read() {
    assert_eq!(start::step("1 50 200 /dev/sda1").as_deref(), Some("fsck: pass 1, 25 %"));
    assert_eq!(start::step("5 200 200"), Some("fsck: pass 5, 100 %".to_owned()));
    for other in ["", "/dev/sda1: clean, 11/16384 files", "1 2", "1 2 0"] {
        assert_eq!(start::step(other), None, "{other:?}");
    }
}

#[test]
fn what_is_printed_of_users_is_read() {
    let (name, how) = ("my".to_owned(), "has a\tb open".to_owned());
    let user = os::mount::User { pid: 13, started: 7, name, how };
    assert_eq!(question::user("13\t7\tmy\thas a\tb open"), Some(Found::User(user)));
    assert_eq!(question::user("77"), Some(Found::Silent(77)));
    for other in ["nonsense", "", "1\t2", "x\t7\tmy\tuse"] {
        assert_eq!(question::user(other), None, "{other:?}");
    }
}

#[test]
fn those_who_cannot_be_looked_at_are_named_up_to_a_number() {
    assert!(stop::perhaps(&[7, 9]).ends_with("(process 7, 9)"));
    let many: Vec<u32> = (1..=10).collect();
    assert!(stop::perhaps(&many).ends_with("8, and 2 more)"), "{}", stop::perhaps(&many));
}

#[test]
fn a_device_is_found_by_its_name() {
    let what = |device: &str| What {
        device: device.to_owned(),
        directory: "/srv".into(),
        filesystem: "ext4".to_owned(),
        options: "noatime,ro".to_owned(),
        check: Check::Auto,
    };
    assert_eq!(what("/dev/sda1").device(), Path::new("/dev/sda1"));
    assert_eq!(what("UUID=12-34").device(), Path::new("/dev/disk/by-uuid/12-34"));
    assert_eq!(what("LABEL=data").device(), Path::new("/dev/disk/by-label/data"));
    assert!(what("/dev/sda1").is_read_only());
}
