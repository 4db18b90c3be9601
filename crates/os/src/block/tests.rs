use std::fs;
use std::io::ErrorKind;
use std::process::Command;

use super::*;

/// A file of so many blocks on a file system with direct I/O: beside this program, since the folder
/// for temporary files is often in memory.
fn file(blocks: u64) -> (tempfile::TempDir, PathBuf) {
    let program = std::env::current_exe().unwrap();
    let directory = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
    let path = directory.path().join("disk");
    fs::File::create(&path).unwrap().set_len(blocks * BLOCK_SIZE as u64).unwrap();
    (directory, path)
}

/// Writes and reads through `path`, whatever it is.
fn exercise(path: &Path, blocks: u64) {
    let device = Device::open(path).unwrap();
    assert_eq!(device.size_blocks(), blocks);
    let mut one = Aligned::new(1);
    for (number, byte) in one.iter_mut().enumerate() {
        *byte = number as u8;
    }
    device.write(2, &one).unwrap();
    device.sync().unwrap();
    let other = Device::open_to_read(path).unwrap();
    assert_eq!(other.identity(), device.identity());
    let mut three = Aligned::new(3);
    other.read(1, &mut three).unwrap();
    let (before, rest) = three.split_at(BLOCK_SIZE);
    let (written, after) = rest.split_at(BLOCK_SIZE);
    assert_eq!(written, &one[..], "another descriptor sees it");
    assert!(before.iter().chain(after).all(|byte| *byte == 0), "and nothing else was touched");

    let mut buffer = Aligned::new(2);
    let error = device.read(blocks - 1, &mut buffer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    let error = other.write(0, &one).unwrap_err();
    assert_eq!(error_number(&error), Some(libc::EBADF), "it was opened to look: {error}");
}

#[test]
fn a_plain_file_is_read_and_written() {
    let (_directory, path) = file(8);
    exercise(&path, 8);
    let (_other_directory, other) = file(8);
    let link = path.with_file_name("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let identity = |path: &Path| Device::open(path).unwrap().identity();
    assert_eq!(identity(&path), identity(&link), "two names of one file");
    assert_ne!(identity(&path), identity(&other));
    assert_eq!(identity(&path).to_string(), "plain file");
    // Exclusive means nothing here, and refuses nothing.
    Device::open_exclusive(&path).unwrap();
}

#[test]
fn half_a_block_at_the_end_is_not_used() {
    let (_directory, path) = file(3);
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(2 * BLOCK_SIZE as u64 + 512)
        .unwrap();
    let device = Device::open(&path).unwrap();
    assert_eq!(device.size_blocks(), 2);
    let error = device.read(2, &mut Aligned::new(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}");
}

/// A loop device, until it is dropped.
struct Loop(PathBuf);

impl Loop {
    fn new(file: &Path) -> Result<Loop, String> {
        let output = Command::new("losetup")
            .args(["--find", "--show"])
            .arg(file)
            .output()
            .map_err(|error| format!("losetup: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let device = Loop(String::from_utf8_lossy(&output.stdout).trim().into());
        // The protection of a device outlives the file that was attached to it.
        device.protect(false);
        Ok(device)
    }

    /// Whether the device could be made read-only, or writable again.
    fn protect(&self, on: bool) -> bool {
        let way = if on { "--setro" } else { "--setrw" };
        let set = Command::new("blockdev").arg(way).arg(&self.0).status();
        set.is_ok_and(|status| status.success())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.protect(false);
        let status = Command::new("losetup").arg("--detach").arg(&self.0).status();
        assert!(status.is_ok_and(|status| status.success()), "{} stays", self.0.display());
    }
}

#[test]
fn a_block_device_is_read_and_written() {
    let (_directory, path) = file(16);
    let device = match Loop::new(&path) {
        Ok(device) => device,
        Err(reason) => {
            eprintln!("not tested: no loop device: {reason}");
            return;
        }
    };
    exercise(&device.0, 16);
    let first = Device::open(&device.0).unwrap();
    assert!(matches!(first.identity(), Identity::Device { major: 7, .. }), "{}", first.identity());
    let claimed = Device::open_exclusive(&device.0).unwrap();
    let error = Device::open_exclusive(&device.0).unwrap_err();
    assert_eq!(error_number(&error), Some(libc::EBUSY));
    assert!(error.to_string().contains("used by this machine"), "{error}");
    Device::open(&device.0).expect("ordinary use goes on beside it");
    drop(claimed);
    // A child that another test has forked holds it until its own execve(2).
    let start = crate::clock::boottime();
    while let Err(error) = Device::open_exclusive(&device.0) {
        let waited = crate::clock::boottime().since(start);
        assert_eq!(error_number(&error), Some(libc::EBUSY), "{error}");
        assert!(waited < Duration::from_secs(30), "after {waited:?}: {error}");
        std::thread::yield_now();
    }

    // Write-protected while it is open.
    if !device.protect(true) {
        eprintln!("not tested: blockdev can not protect {}", device.0.display());
        return;
    }
    let outcome = first.write(1, &Aligned::new(1));
    let mut health = Health::new(LIMIT);
    health.ended(Operation::Write, QUICK, &outcome);
    assert_eq!(health.state(None), State::ReadOnly, "{outcome:?}");
    let error = Device::open(&device.0).map(|device| device.write(1, &Aligned::new(1)));
    assert!(!matches!(error, Ok(Ok(()))), "it is protected");
}

#[test]
fn what_is_no_disk_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let said = |path: &Path| Device::open(path).unwrap_err().to_string();
    let absent = said(&directory.path().join("absent"));
    assert!(absent.contains("/absent") && absent.contains("no such device"), "{absent}");
    for path in [directory.path(), Path::new("/dev/null")] {
        let text = said(path);
        assert!(text.contains("neither a block device nor a plain file"), "{text}");
    }
    // A plain file on a file system without direct I/O.
    let text = said(Path::new("/proc/self/comm"));
    assert!(text.contains("no direct I/O") && text.contains("use a block device"), "{text}");
}

#[test]
fn buffers_are_aligned_and_stay_so() {
    for blocks in 1..20 {
        let buffers: Vec<Aligned> = (0..5).map(|_| Aligned::new(blocks)).collect();
        for buffer in &buffers {
            assert_eq!(buffer.as_ptr().addr() % BLOCK_SIZE, 0);
            assert_eq!(buffer.len(), blocks * BLOCK_SIZE);
        }
    }
}

const LIMIT: Duration = Duration::from_millis(100);
const QUICK: Duration = Duration::from_millis(1);

fn failed(number: i32) -> io::Result<()> {
    let source = io::Error::from_raw_os_error(number);
    Err(explain(Path::new("/dev/sdx"), "write", &source))
}

#[test]
fn it_gets_worse_at_once_and_better_in_three() {
    use Operation::{Read, Write};
    let mut health = Health::new(LIMIT);
    assert_eq!(health.state(None), State::Good);
    health.ended(Write, LIMIT, &Ok(()));
    assert_eq!(health.state(None), State::Good, "the limit itself is not over it");
    health.ended(Write, LIMIT * 2, &Ok(()));
    assert_eq!(health.state(None), State::Slow);
    health.ended(Write, QUICK, &Ok(()));
    health.ended(Write, QUICK, &Ok(()));
    health.ended(Write, LIMIT * 2, &Ok(()));
    for _ in 0..2 {
        health.ended(Write, QUICK, &Ok(()));
        assert_eq!(health.state(None), State::Slow, "it begins again");
    }
    health.ended(Write, QUICK, &Ok(()));
    assert_eq!(health.state(None), State::Good);

    health.ended(Read, QUICK, &failed(libc::EIO));
    assert_eq!(health.state(None), State::Failing);
    assert!(health.error().is_some_and(|said| said.contains("/dev/sdx")), "{:?}", health.error());
    health.ended(Read, QUICK, &Ok(()));
    health.ended(Read, LIMIT * 2, &Ok(()));
    health.ended(Read, QUICK, &Ok(()));
    assert_eq!(health.state(None), State::Slow, "the worst of the three");
    assert_eq!(health.error(), None);
    for _ in 0..3 {
        health.ended(Read, QUICK, &Ok(()));
    }
    assert_eq!(health.state(None), State::Good);
}

#[test]
fn a_device_that_reads_well_may_refuse_writes() {
    let mut health = Health::new(LIMIT);
    for number in [libc::EROFS, libc::EPERM, libc::EROFS, libc::EROFS] {
        health.ended(Operation::Write, QUICK, &failed(number));
        health.ended(Operation::Read, QUICK, &Ok(()));
        assert_eq!(health.state(None), State::ReadOnly);
    }
    let short = Err(io::Error::from(ErrorKind::WriteZero));
    health.ended(Operation::Write, QUICK, &short);
    assert_eq!(health.state(None), State::Failing);
    assert_eq!(State::ReadOnly.to_string(), "read-only");
}

#[test]
fn an_operation_that_does_not_come_back_is_seen_from_outside() {
    let running = Running::new();
    let mut health = Health::new(LIMIT);
    let start = Instant::from_nanos(0);
    let thread = running.clone();
    assert_eq!(running.since(start), None);
    thread.begin(start);
    assert_eq!(health.state(running.since(start + LIMIT)), State::Good);
    assert_eq!(health.state(running.since(start + LIMIT * 2)), State::Hung);
    thread.end();
    health.ended(Operation::Read, LIMIT * 2, &Ok(()));
    assert_eq!(health.state(running.since(start + LIMIT * 2)), State::Slow, "it was only late");
}
