//! The Debian package, made from a program that only says what a real one would.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

const PROGRAM: &str = r#"#!/bin/sh
case "$1" in
--version) echo "mainstay 1.2.3" ;;
faces) echo lkcli; echo lltstat ;;
man) echo .TH > "$2/mainstay.1" ;;
completions) echo complete ;;
esac
"#;

#[test]
fn a_package_has_the_program_its_links_its_unit_and_its_pages() {
    let directory = tempfile::tempdir().expect("temporary files can be written");
    let program = directory.path().join("mainstay");
    std::fs::write(&program, PROGRAM).expect("the directory is ours");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&program, mode).expect("the file is ours");
    let package = xtask::package::pack(&xtask::tree::root(), &program, directory.path());
    let package = package.expect("dpkg-deb is there");
    assert!(package.to_string_lossy().contains("mainstay_1.2.3_"), "{package:?}");
    let listing = Command::new("dpkg-deb").arg("--contents").arg(&package).output();
    let listing = String::from_utf8_lossy(&listing.expect("it runs").stdout).into_owned();
    for expected in [
        "-rwxr-xr-x root/root",
        "./usr/bin/mainstay\n",
        "./usr/bin/lkcli -> mainstay\n",
        "./usr/bin/lltstat -> mainstay\n",
        "./lib/systemd/system/mainstay.service\n",
        "./usr/share/man/man1/mainstay.1\n",
        "./usr/share/bash-completion/completions/mainstay\n",
        "./usr/share/doc/mainstay/README.md\n",
        "./usr/share/doc/mainstay/reference/configuration.md\n",
    ] {
        assert!(listing.contains(expected), "{expected} is missing:\n{listing}");
    }
}
