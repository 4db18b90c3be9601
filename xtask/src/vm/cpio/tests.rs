use std::io::Write;
use std::process::{Command, Stdio};

use super::Archive;

fn sample() -> Vec<u8> {
    let mut archive = Archive::default();
    archive.file("bin/tool", 0o755, b"abcde");
    archive.symlink("bin/other", "tool");
    archive.device("dev/console", 0o600, (5, 1));
    archive.directory("empty/inner");
    archive.finish()
}

#[test]
fn an_entry_has_the_bytes_of_the_format() {
    let mut archive = Archive::default();
    archive.file("a", 0o644, b"xyz");
    let bytes = archive.finish();
    let head = "070701\
        00000001\
        000081a4\
        00000000\
        00000000\
        00000001\
        00000000\
        00000003\
        00000000\
        00000000\
        00000000\
        00000000\
        00000002\
        00000000";
    assert_eq!(std::str::from_utf8(&bytes[..110]), Ok(head));
    assert_eq!(&bytes[110..120], b"a\0xyz\0".iter().chain(b"0707").copied().collect::<Vec<_>>());
    assert_eq!(bytes.len() % 512, 0);
}

#[test]
fn parents_come_before_what_is_in_them_and_once() {
    let text = String::from_utf8_lossy(&sample()).into_owned();
    let place = |name: &str| text.find(&format!("{name}\0")).expect("it is there");
    assert!(place("bin") < place("bin/tool"));
    assert!(place("empty") < place("empty/inner"));
    // What stands before a name is the last number of its header.
    assert_eq!(text.matches("00000000bin\0").count(), 1);
}

/// Another reader of the format agrees, where there is one.
#[test]
fn another_program_reads_it() {
    let Ok(mut child) = Command::new("busybox")
        .args(["cpio", "-t", "-v"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
    else {
        eprintln!("no busybox here: not compared");
        return;
    };
    child.stdin.take().expect("it is a pipe").write_all(&sample()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("it prints text");
    let lines: Vec<Vec<&str>> =
        text.lines().map(|line| line.split_whitespace().collect()).collect();
    let kinds: Vec<(&str, &str)> =
        lines.iter().map(|words| (words[0], words[words.len() - 1])).collect();
    assert_eq!(
        kinds,
        [
            ("drwxr-xr-x", "bin"),
            ("-rwxr-xr-x", "bin/tool"),
            ("lrwxrwxrwx", "tool"),
            ("drwxr-xr-x", "dev"),
            ("crw-------", "dev/console"),
            ("drwxr-xr-x", "empty"),
            ("drwxr-xr-x", "empty/inner"),
        ]
    );
}
