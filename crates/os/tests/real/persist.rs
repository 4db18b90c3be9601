//! Files that are damaged in every way that a disk knows.

use std::fs;
use std::path::{Path, PathBuf};

use os::persist::{PersistError, Store};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::UnshareFlags;

use crate::scene::isolate;

fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("state")).unwrap();
    (directory, store)
}

fn file(store: &Store, name: &str) -> PathBuf {
    store.directory().join(name)
}

#[test]
fn the_newest_comes_back_and_numbers_grow() {
    let (_directory, store) = store();
    assert_eq!(store.read("promise").unwrap(), None);
    for number in 1..=5_u64 {
        let content = vec![number as u8; 1_000 * number as usize];
        store.write("promise", &content).unwrap();
        let loaded = store.read("promise").unwrap().unwrap();
        assert_eq!((loaded.number, loaded.fallback, loaded.bytes), (number, None, content));
    }
    let mut names: Vec<_> =
        fs::read_dir(store.directory()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["promise", "promise.old"], "nothing else is left behind");
    store.write("empty", b"").unwrap();
    assert_eq!(store.read("empty").unwrap().unwrap().bytes, b"");
    store.remove("promise").unwrap();
    assert_eq!(store.read("promise").unwrap(), None);
}

#[test]
fn any_flipped_bit_and_any_length_is_noticed() {
    let (_directory, store) = store();
    store.write("promise", b"the older one").unwrap();
    store.write("promise", b"the newest one").unwrap();
    let path = file(&store, "promise");
    let whole = fs::read(&path).unwrap();
    let expect_fallback = |what: &str| {
        let loaded = store.read("promise").unwrap().unwrap();
        assert_eq!(loaded.bytes, b"the older one", "{what}");
        let reason = loaded.fallback.expect("a reason");
        assert!(reason.contains("promise"), "{reason}");
    };
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &damaged).unwrap();
        expect_fallback(&format!("bit {bit}"));
    }
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        expect_fallback(&format!("{length} bytes"));
    }
    fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
    expect_fallback("one byte more");
    fs::remove_file(&path).unwrap();
    expect_fallback("missing");

    // A write repairs, and keeps the good older one.
    fs::write(&path, b"rubbish").unwrap();
    store.write("promise", b"after the damage").unwrap();
    assert_eq!(store.read("promise").unwrap().unwrap().bytes, b"after the damage");
    fs::remove_file(&path).unwrap();
    expect_fallback("missing again");
}

#[test]
fn one_file_is_not_taken_for_another() {
    let (_directory, store) = store();
    store.write("left", b"left").unwrap();
    store.write("right", b"right").unwrap();
    fs::rename(file(&store, "left"), file(&store, "right")).unwrap();
    let error = store.read("right").unwrap_err();
    assert!(matches!(error, PersistError::Damaged { .. }), "{error}");
}

#[test]
fn two_damaged_generations_are_an_error_that_names_both() {
    let (_directory, store) = store();
    store.write("promise", b"one").unwrap();
    store.write("promise", b"two").unwrap();
    fs::write(file(&store, "promise"), b"short").unwrap();
    fs::write(file(&store, "promise.old"), [0; 100]).unwrap();
    let text = store.read("promise").unwrap_err().to_string();
    assert!(text.contains("cut short") && text.contains("not a file of ours"), "{text}");
    store.write("promise", b"three").unwrap();
    assert_eq!(store.read("promise").unwrap().unwrap().bytes, b"three");
}

#[test]
fn what_a_crash_left_half_written_is_ignored() {
    let (_directory, store) = store();
    store.write("promise", b"one").unwrap();
    fs::write(file(&store, "promise.new"), b"half of som").unwrap();
    assert_eq!(store.read("promise").unwrap().unwrap().fallback, None);
    store.write("promise", b"two").unwrap();
    assert_eq!(store.read("promise").unwrap().unwrap().bytes, b"two");
}

#[test]
fn a_full_disk_is_an_error_and_the_former_content_stays() {
    if !isolate(UnshareFlags::NEWNS) {
        return;
    }
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let options = Some(c"size=64k");
    mount("none", directory.path(), "tmpfs", MountFlags::empty(), options).unwrap();
    let store = Store::open(directory.path()).unwrap();
    store.write("promise", b"what was promised").unwrap();
    let error = store.write("promise", &vec![7; 100_000]).unwrap_err();
    let PersistError::Io { operation, path, source } = &error else { panic!("{error}") };
    assert_eq!(*operation, "write");
    assert_eq!(path.file_name().unwrap(), "promise.new");
    assert_eq!(source.raw_os_error(), Some(libc_enospc()));
    let loaded = store.read("promise").unwrap().unwrap();
    assert_eq!((&loaded.bytes[..], loaded.fallback), (&b"what was promised"[..], None));
    // Room again: the half file is no obstacle.
    store.write("promise", b"the next promise").unwrap();
    assert_eq!(store.read("promise").unwrap().unwrap().bytes, b"the next promise");
    rustix::mount::unmount(directory.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
}

fn libc_enospc() -> i32 {
    rustix::io::Errno::NOSPC.raw_os_error()
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let error = Store::open(Path::new("/proc/self/nothing/here")).unwrap_err();
    assert!(error.to_string().contains("/proc/self/nothing/here"), "{error}");
}
