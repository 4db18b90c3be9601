//! The program as people start it: exit codes, what goes where, and a closed pipe.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn mainstay(root: &Path, words: &[&str]) -> Output {
    command(root, words).output().expect("the program is there")
}

fn command(root: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    command.arg("--root").arg(root).args(words).env_remove("MAINSTAY_LAB").stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

#[test]
fn wrong_usage_is_64_and_help_is_0() {
    let directory = tempfile::tempdir().expect("temporary files can be written");
    for words in [&["dance"][..], &["status", "--colour"], &["seed", "--force"], &[]] {
        let output = mainstay(directory.path(), words);
        assert_eq!(code(&output), 64, "{words:?}: {}", text(&output.stderr));
    }
    for words in [&["--help"][..], &["service", "move", "--help"], &["--version"]] {
        assert_eq!(code(&mainstay(directory.path(), words)), 0, "{words:?}");
    }
}

#[test]
fn without_a_daemon_it_is_3_with_what_to_do() {
    let directory = tempfile::tempdir().expect("temporary files can be written");
    for words in [&["status"][..], &["service", "start", "web"], &["token"], &["events", "-f"]] {
        let output = mainstay(directory.path(), words);
        assert_eq!(code(&output), 3, "{words:?}");
        let said = text(&output.stderr);
        assert!(said.contains("not reachable") && said.contains("mainstay run"), "{said}");
    }
    let output = mainstay(directory.path(), &["--json", "status"]);
    assert_eq!(code(&output), 3);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!((&json["schema"], &json["error"]["code"]), (&1.into(), &"unreachable".into()));
}

#[test]
fn init_makes_a_usable_node_once() {
    let directory = tempfile::tempdir().expect("temporary files can be written");
    let root = directory.path();
    let init =
        ["init", "--name", "demo", "--node-name", "n1", "--address", "10.77.0.1/24", "--address"];
    let output = mainstay(root, &[&init[..], &["10.78.0.1"]].concat());
    assert_eq!(code(&output), 64, "an address without prefix");
    assert!(text(&output.stderr).contains("10.78.0.1/24"), "{}", text(&output.stderr));
    assert!(!root.join("etc").exists(), "nothing was written");

    let good = [&init[..], &["10.78.0.1/24", "--detection", "fast"]].concat();
    let output = mainstay(root, &good);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("run"), "{}", text(&output.stdout));
    let output = mainstay(root, &["config", "check"]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).contains("1 node, 2 networks, 0 services"),
        "{}",
        text(&output.stdout)
    );

    let before = std::fs::read(root.join("etc/mainstay/key")).expect("it is there");
    let output = mainstay(root, &good);
    assert_eq!(code(&output), 1);
    assert!(text(&output.stderr).contains("exists"), "{}", text(&output.stderr));
    assert_eq!(std::fs::read(root.join("etc/mainstay/key")).expect("it is there"), before);
}

#[test]
fn check_shows_the_place_and_run_refuses() {
    let directory = tempfile::tempdir().expect("temporary files can be written");
    let root = directory.path();
    let etc = root.join("etc/mainstay");
    std::fs::create_dir_all(&etc).expect("writable");
    let file = etc.join("cluster.toml");
    std::fs::write(
        &file,
        "[cluster]\nname = \"x\"\nid = 1\nsede = 3\n[[node]]\nname = \"a\"\nid = 1\n",
    )
    .expect("writable");
    let output = mainstay(root, &["config", "check"]);
    assert_eq!(code(&output), 1);
    let said = text(&output.stderr);
    assert!(said.contains("cluster.toml:4:1") && said.contains("did you mean `seed`?"), "{said}");
    let output = mainstay(root, &["--json", "config", "check"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!(json["usable"], false);
    assert_eq!(json["diagnostics"][0]["line"], 4);

    let output = mainstay(root, &["run"]);
    assert_eq!(code(&output), 64);
    assert!(text(&output.stderr).contains("cluster.toml:4:1"));
    std::fs::write(&file, "[cluster]\nname = \"x\"\nid = 1\n[[node]]\nname = \"a\"\nid = 1\n")
        .expect("writable");
    let output = mainstay(root, &["run"]);
    assert_eq!(code(&output), 64, "there is no key");
    assert!(text(&output.stderr).contains("etc/mainstay/key"), "{}", text(&output.stderr));
    let output = mainstay(root, &["config", "check"]);
    assert_eq!(code(&output), 1, "a whole node needs a key");
}

#[test]
fn bound_works_from_the_file_alone() {
    let directory = tempfile::tempdir().expect("temporary files can be written");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/good.toml");
    let etc = directory.path().join("etc/mainstay");
    std::fs::create_dir_all(&etc).expect("writable");
    std::fs::copy(file, etc.join("cluster.toml")).expect("writable");
    let output = mainstay(directory.path(), &["bound"]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("web"));
    assert!(text(&output.stderr).contains("cluster.toml"));
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let directory = tempfile::tempdir().expect("temporary files can be written");
    let mut child = command(directory.path(), &["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program is there");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(code(&output), 0);
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn no_colour_where_nobody_looks() {
    let directory = tempfile::tempdir().expect("temporary files can be written");
    let output = mainstay(directory.path(), &["status"]);
    assert!(!text(&output.stderr).contains('\x1b'));
}

#[test]
fn faults_outside_a_lab_say_where_they_work() {
    let directory = tempfile::tempdir().expect("temporary files can be written");
    let output = mainstay(directory.path(), &["lab", "dance"]);
    assert_eq!(code(&output), 64);
    assert!(text(&output.stderr).contains("cut MACHINE CARD"), "{}", text(&output.stderr));
    let output = mainstay(directory.path(), &["lab", "heal"]);
    assert_eq!(code(&output), 1);
    assert!(text(&output.stderr).contains("mainstay lab shell"), "{}", text(&output.stderr));
}

#[test]
fn links_by_the_names_of_faces_are_made_and_nothing_is_replaced() {
    let directory = tempfile::tempdir().expect("temporary files can be written");
    let (root, there) = (directory.path(), directory.path().join("sbin"));
    std::fs::create_dir(&there).expect("the directory is new");
    let listed = text(&mainstay(root, &["faces"]).stdout);
    assert!(listed.lines().any(|name| name == "lkcli"), "{listed}");
    let place = there.to_string_lossy().into_owned();
    for _ in 0..2 {
        let output = mainstay(root, &["faces", "--link", &place]);
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    }
    for name in listed.lines() {
        let program = std::fs::canonicalize(there.join(name)).expect("it is a link to the program");
        let expected = std::fs::canonicalize(env!("CARGO_BIN_EXE_mainstay")).expect("it is built");
        assert_eq!(program, expected);
    }
    let face = Command::new(there.join("lkcli")).arg("dance").output().expect("it starts");
    assert!(!face.status.success() && !text(&face.stderr).contains("mainstay help"));
    std::fs::remove_file(there.join("lkcli")).expect("it is there");
    std::fs::remove_file(there.join("lltstat")).expect("it is there");
    std::fs::write(there.join("lkcli"), "another product").expect("the directory is ours");
    let output = mainstay(root, &["faces", "--link", &place]);
    assert_ne!(code(&output), 0);
    assert!(text(&output.stderr).contains("lkcli"), "{}", text(&output.stderr));
    assert!(!there.join("lltstat").exists(), "nothing was linked");
}

#[test]
fn what_is_no_watchdog_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().expect("temporary files can be written");
    let root = directory.path();
    for (device, said) in [("/dev/null", "no watchdog"), ("/nowhere/watchdog0", "softdog")] {
        for words in [&["--yes"][..], &["--reset", "--confirm", "whatever"], &[]] {
            let all = [&["watchdog", "test", "--device", device], words].concat();
            let output = mainstay(root, &all);
            assert_eq!(code(&output), 1, "{all:?}: {}", text(&output.stderr));
            assert!(text(&output.stdout).contains(said), "{}", text(&output.stdout));
        }
    }
    let output = mainstay(root, &["--json", "watchdog", "test", "--device", "/dev/null"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!((&json["device"], &json["stopped"]), (&"/dev/null".into(), &false.into()));
    assert_eq!(json["trouble"].as_array().map(Vec::len), Some(1), "{json}");
    let words = ["watchdog", "test", "--yes", "--reset"];
    assert_eq!(code(&mainstay(root, &words)), 64, "one is to be asked for a reset");
    assert_eq!(code(&mainstay(root, &["watchdog", "show"])), 3, "nobody to ask");
}

#[test]
fn a_node_is_confirmed_down_by_whoever_writes_its_name_twice() {
    let directory = tempfile::tempdir().expect("temporary files can be written");
    let confirm_down = |typed: &str, words: &[&str]| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mainstay"))
            .arg("--root")
            .arg(directory.path())
            .args(["node", "confirm-down", "n2"])
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut input = child.stdin.take().expect("it is piped");
        // One that has its answer from the command line reads nothing.
        let _closed = input.write_all(typed.as_bytes());
        drop(input);
        child.wait_with_output().expect("it ends")
    };
    for (typed, words) in [("", &[][..]), ("n3\n", &[]), ("n2\n", &["--confirm", "n3"])] {
        let output = confirm_down(typed, words);
        assert_eq!(code(&output), 64, "{typed:?} {words:?}: {}", text(&output.stderr));
        let said = text(&output.stderr);
        assert!(said.contains("is not n2: nothing was done"), "{said}");
        assert!(said.contains("mainstay node confirm-down n2 --confirm n2"), "{said}");
    }
    for (typed, words) in [("n2\n", &[][..]), ("", &["--confirm", "n2"])] {
        let output = confirm_down(typed, words);
        assert_eq!(code(&output), 3, "then the daemon is asked, and there is none");
    }
}
