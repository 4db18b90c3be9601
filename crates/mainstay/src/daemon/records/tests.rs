//! Records across lives.

use super::*;

fn mount(name: &str, directory: &str) -> Resource {
    let kind = ResourceKind::Mount {
        device: "/dev/disk/by-id/one".to_owned(),
        directory: directory.to_owned(),
        filesystem: "ext4".to_owned(),
        options: String::new(),
        check: engine::Check::Auto,
    };
    Resource { name: name.to_owned(), kind }
}

#[test]
fn what_was_started_is_on_record_until_it_is_gone() {
    let root = tempfile::tempdir().expect("a directory");
    let records = Records::new(&Root::new(root.path()));
    assert_eq!(records.read().expect("none yet"), (Vec::new(), Vec::new()));
    records.remove("db", "data").expect("there is none");
    let disk = Resource {
        name: "disk".to_owned(),
        kind: ResourceKind::Reservation { disks: vec!["/dev/disk/by-id/one".to_owned()] },
    };
    records.enter("db", &mount("data", "/srv/old")).expect("room");
    records.enter("db", &mount("data", "/srv/db")).expect("room");
    records.enter("db", &disk).expect("room");
    let expected =
        vec![("db".to_owned(), mount("data", "/srv/db")), ("db".to_owned(), disk.clone())];
    assert_eq!(records.read().expect("they are there").0, expected);
    records.remove("db", "data").expect("it is there");
    assert_eq!(records.read().expect("one is left").0, [("db".to_owned(), disk)]);
}

#[test]
fn a_record_that_makes_no_sense_is_said_and_one_that_was_begun_is_none() {
    let root = tempfile::tempdir().expect("a directory");
    let records = Records::new(&Root::new(root.path()));
    records.enter("db", &mount("data", "/srv/db")).expect("room");
    let directory = root.path().join("run/mainstay/writing");
    std::fs::write(directory.join("db:log:new"), b"half").expect("room");
    std::fs::write(directory.join("db:other"), b"nonsense").expect("room");
    std::fs::copy(directory.join("db:data"), directory.join("db:copy")).expect("room");
    let (all, wrong) = records.read().expect("they can be read");
    assert_eq!(all.len(), 1);
    assert_eq!(wrong.len(), 2, "{wrong:?}");
}
