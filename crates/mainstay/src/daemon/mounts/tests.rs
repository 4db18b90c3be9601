//! What is read from programs; the way through the kernel is in `tests/mount.rs`.

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
    let said = "12\t99\tsh\tworks in it\nnonsense\n13\t7\tmy\tsqld\n77\n";
    let users = question::users(said);
    let first = &users.known[0];
    assert_eq!((first.pid, first.started, first.how.as_str()), (12, 99, "works in it"));
    assert_eq!((users.known.len(), &users.silent[..]), (2, &[77][..]));
    let used = stop::used_by(&users);
    assert!(
        used.starts_with(
            "used by 12 (sh), which works in it; 13 (my), which sqld; perhaps used by"
        )
    );
    assert!(used.ends_with("(process 77)"), "{used}");
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
