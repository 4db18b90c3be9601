//! What can be seen without such a disk: keys, words, and what other devices answer.

use super::*;

#[test]
fn a_node_has_one_key_that_tells_whose_it_is() {
    let key = Key::of_node(10, 0);
    assert_eq!(key, Key::of_node(10, 0));
    assert_eq!(key.to_string(), "0x6d730000000a0001");
    assert_eq!(key.node(), Some((10, 0)));
    assert_eq!(Key::of_node(u32::MAX, 255).node(), Some((u32::MAX, 255)));
    let all: std::collections::BTreeSet<Key> =
        (0..=255).flat_map(|node| [Key::of_node(1, node), Key::of_node(2, node)]).collect();
    assert_eq!(all.len(), 512);
    let parked = key.parked();
    assert_eq!((parked.node(), parked.is_parked(), key.is_parked()), (key.node(), true, false));
    assert_eq!(parked.parked(), parked);
    assert_eq!(Key::new(0), None);
    assert_eq!(Key::new(42).and_then(Key::node), None, "somebody else's");
}

#[test]
fn a_status_of_the_disk_is_told_from_an_error_of_the_kernel() {
    let file = tempfile::tempfile().expect("a file");
    let disk = Disk { file, path: "/dev/shared".into() };
    for status in [0x18, 280, 0x83] {
        let error = disk.judge("reserve", status).expect_err("a conflict");
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy, "{error}");
        assert!(error.to_string().contains("/dev/shared: cannot reserve: reservation conflict"));
    }
    let error = disk.judge("reserve", 2).expect_err("a check condition");
    assert!(error.to_string().contains("status 0x2"), "{error}");
    disk.judge("reserve", 0).expect("done");
}

#[test]
fn what_has_no_reservations_says_so() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    file.as_file().set_len(1 << 20).expect("room");
    let error = Disk::open(file.path()).expect_err("a plain file");
    assert!(error.to_string().contains("is no block device"), "{error}");
    let attached =
        std::process::Command::new("losetup").args(["--find", "--show"]).arg(file.path()).output();
    let Some(output) = attached.ok().filter(|output| output.status.success()) else {
        println!("not tested: no loop device here");
        return;
    };
    let device = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let disk = Disk::open(&device).expect("it is a block device");
    let key = Key::of_node(10, 1);
    let answers = [
        disk.register(key),
        disk.reserve(key, Kind::WriteExclusive),
        disk.preempt(key, Key::of_node(10, 2), Kind::WriteExclusive),
        disk.release(key, Kind::WriteExclusive),
        disk.clear(key),
        disk.state().map(drop),
    ];
    drop(disk);
    let detached = std::process::Command::new("losetup").arg("--detach").arg(&device).status();
    assert!(detached.is_ok_and(|status| status.success()), "{} stays", device.display());
    for answer in answers {
        let error = answer.expect_err("a loop device has none");
        assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains("it has no persistent reservations"), "{error}");
    }
}

#[test]
fn answers_of_a_scsi_disk_are_read() {
    let (one, two) = (0x6d73_0000_000a_0002_u64, 0x2a_u64);
    let mut keys = vec![0, 0, 0, 7, 0, 0, 0, 16];
    keys.extend(one.to_be_bytes());
    keys.extend(two.to_be_bytes());
    // What the disk did not say is not read.
    keys.extend([0xff; 8]);
    let expected: Vec<Key> = [two, one].into_iter().filter_map(Key::new).collect();
    assert_eq!(scsi_keys(&keys), expected);
    assert_eq!(scsi_keys(&keys[..20]), expected[1..]);
    let mut held = vec![0, 0, 0, 7, 0, 0, 0, 16];
    held.extend(one.to_be_bytes());
    held.extend([0, 0, 0, 0, 0, 5, 0, 0]);
    assert_eq!(scsi_held(&held), Key::new(one).map(|key| (key, Kind::WriteExclusive)));
    held[21] = 6;
    assert_eq!(scsi_held(&held), Key::new(one).map(|key| (key, Kind::ExclusiveAccess)));
    for length in 0..22 {
        assert_eq!(scsi_held(&held[..length]), None, "{length}");
    }
    assert_eq!(scsi_held(&[0, 0, 0, 7, 0, 0, 0, 0]), None);
}
