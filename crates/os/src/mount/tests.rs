//! The table is text, so it is tested as such; devices and users are tested with the agent.

use super::*;

#[test]
fn a_line_of_the_table_is_read_whole() {
    let text = br"36 35 98:0 /a /mnt/two\040words rw,noatime shared:1 - ext4 /dev/sd\134a rw,errors=remount-ro";
    let mount = line(text).expect("a line");
    assert_eq!(mount.device, (98, 0));
    assert_eq!(mount.directory, Path::new("/mnt/two words"));
    assert_eq!((mount.filesystem.as_str(), mount.source.as_str()), ("ext4", r"/dev/sd\a"));
    assert!(!mount.is_read_only());
    assert_eq!(line(b"36 35 98:0 /a"), None);
    assert_eq!(line(b""), None);
}

#[test]
fn read_only_is_seen_wherever_it_stands() {
    let of = |options: &str, super_options: &str| {
        let text = format!("1 1 7:0 / /mnt {options} shared:1 - ext4 /dev/loop0 {super_options}");
        line(text.as_bytes()).expect("a line").is_read_only()
    };
    assert!(!of("rw,relatime", "rw"));
    assert!(of("ro,relatime", "rw"));
    assert!(of("rw,relatime", "ro,errors=continue"));
    assert!(of("rw,relatime", "rw,emergency_ro"));
    assert!(!of("rw,relatime", "rw,errors=remount-ro"));
}

#[test]
fn the_last_mount_on_a_directory_is_the_one_that_is_seen() {
    let table = table().expect("there is one");
    let root = on(&table, Path::new("/")).expect("there is a root");
    assert!(!root.filesystem.is_empty());
    assert_eq!(on(&table, Path::new("/no/such/directory")), None);
}

#[test]
fn what_is_no_block_device_is_said_so() {
    let error = number(Path::new("/dev/null")).expect_err("it is none");
    assert!(error.to_string().contains("/dev/null is no block device"), "{error}");
    let error = number(Path::new("/dev/no-such-device")).expect_err("there is none");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_user_of_a_file_system_is_found_with_its_use() {
    let child = std::process::Command::new("sleep").arg("60").current_dir("/dev/shm").spawn();
    let mut child = child.expect("sleep is there");
    let mut user = None;
    users(Path::new("/dev/shm"), |found| match found {
        Found::User(found) if found.pid == child.id() => user = Some(found),
        _ => {}
    })
    .expect("it is readable");
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
    let user = user.expect("it works there");
    assert_eq!((user.name.as_str(), user.how.as_str()), ("sleep", "works in it"));
}

#[test]
fn a_device_is_found_by_its_number_alone() {
    assert_eq!(node((4_095, 1_048_575)).expect("it is asked"), None);
    let all = fs::read_dir("/sys/class/block").expect("the kernel lists its devices");
    let names = all.map(|entry| entry.expect("readable").file_name());
    let nodes = names.map(|name| Path::new("/dev").join(name));
    for device in nodes.take(8) {
        // Not every machine has a node of each.
        if let Ok(number) = number(&device) {
            assert_eq!(node(number).expect("it is there"), Some(device));
        }
    }
}
