//! The units of the service manager: what they promise about the end of a machine, and that systemd takes
//! them (`systemd-analyze verify`, where there is one).

use std::path::{Path, PathBuf};
use std::process::Command;

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging")
}

fn unit(name: &str) -> String {
    std::fs::read_to_string(packaging().join(name)).expect("the unit is there")
}

/// All words of all lines with this key.
fn words<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    lines.filter(|(name, _)| *name == key).flat_map(|(_, value)| value.split(' ')).collect()
}

#[test]
fn what_services_stand_on_outlives_them_at_a_shutdown() {
    let main = unit("mainstay.service");
    let after = words(&main, "After");
    for other in [
        "network.target",
        "network-online.target",
        "dbus.service",
        "local-fs.target",
        "remote-fs.target",
    ] {
        assert!(after.contains(&other), "stopped before {other} is");
    }
    assert!(words(&main, "Before").is_empty(), "nothing has to wait for it");
    assert!(words(&main, "Wants").contains(&"mainstay-evacuate.service"));
    assert_eq!(words(&main, "KillMode"), ["mixed"], "only the guard is told to stop");
    assert_eq!(words(&main, "Type"), ["notify"], "the guard tells how long that may take");

    let evacuate = unit("mainstay-evacuate.service");
    for other in ["mainstay.service", "multi-user.target"] {
        assert!(words(&evacuate, "After").contains(&other), "stopped before {other} is");
    }
    assert!(words(&evacuate, "ExecStop").starts_with(&["-/usr/bin/mainstay", "leave", "--wait"]));
    assert_eq!(words(&evacuate, "RemainAfterExit"), ["yes"], "or it would never be stopped");
}

#[test]
fn systemd_takes_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("skipped, there is no systemd-analyze here");
        return;
    }
    let directory = tempfile::tempdir().expect("temporary files can be written");
    let mut units = Vec::new();
    for entry in std::fs::read_dir(packaging()).expect("it is there") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|extension| extension == "service") {
            // It looks for the programs, and this one is not installed here.
            let text = std::fs::read_to_string(&path).expect("readable");
            let text = text.replace("/usr/bin/mainstay", env!("CARGO_BIN_EXE_mainstay"));
            let copy = directory.path().join(path.file_name().expect("a file"));
            std::fs::write(&copy, text).expect("writable");
            units.push(copy);
        }
    }
    assert!(units.len() >= 3, "{units:?}");
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=one"])
        .args(&units)
        .env("SYSTEMD_UNIT_PATH", format!("{}:", directory.path().display()))
        .output()
        .expect("it is there");
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("mainstay")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}
