//! `mainstay disk` on plain files: what is made, refused, shown and found.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use base::{Incarnation, NodeId};
use transport::disk::{BLOCK_SIZE, Layout, Writer};

const CLUSTER: &str = "[cluster]\nname = \"demo\"\nid = 10\ndetection = \"normal\"\n";
const LAYOUT_SIZE: u64 = (1 + 16 * 16 * 8) * BLOCK_SIZE as u64;

/// A node's root and a file that stands for a disk. Not in the folder for temporary files, which
/// may be in memory, without direct I/O.
struct Scene {
    directory: tempfile::TempDir,
}

impl Scene {
    fn new(size: u64) -> Scene {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("writable");
        let scene = Scene { directory };
        scene.configure(&["n1", "n2"]);
        fs::File::create(scene.disk()).expect("writable").set_len(size).expect("writable");
        scene
    }

    fn configure(&self, nodes: &[&str]) {
        let etc = self.directory.path().join("etc/mainstay");
        fs::create_dir_all(&etc).expect("writable");
        let mut text = CLUSTER.to_owned();
        for (number, node) in (1..).zip(nodes) {
            let id = if *node == "last" { 19 } else { number };
            text.push_str(&format!("[[node]]\nname = \"{node}\"\nid = {id}\n"));
        }
        fs::write(etc.join("cluster.toml"), text).expect("writable");
        fs::write(etc.join("node"), "n1\n").expect("writable");
    }

    fn disk(&self) -> PathBuf {
        self.directory.path().join("disk")
    }

    fn run(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_mainstay"))
            .args(["--root".as_ref(), self.directory.path()])
            .args(words)
            .env_remove("MAINSTAY_LAB")
            .stdin(Stdio::null())
            .output()
            .expect("the program is there")
    }

    /// Exit code and all that was said.
    fn say(&self, verb: &str, options: &[&str]) -> (i32, String) {
        let disk = self.disk();
        let words = [&["disk", verb, disk.to_str().expect("a plain path")], options].concat();
        let output = self.run(&words);
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().expect("it ended by itself"), String::from_utf8_lossy(&said).into())
    }

    fn json(&self, verb: &str) -> (i32, serde_json::Value) {
        let (code, said) = self.say(verb, &["--json"]);
        (code, serde_json::from_str(&said).expect("it is JSON"))
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.disk()).expect("readable")
    }

    fn put(&self, block: u64, bytes: &[u8]) {
        let file = fs::OpenOptions::new().write(true).open(self.disk()).expect("writable");
        file.write_all_at(bytes, block * BLOCK_SIZE as u64).expect("writable");
    }
}

fn has(path: &Path, said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "\"{word}\" is not in: {said} ({})", path.display());
    }
}

#[test]
fn an_area_is_made_once_and_nothing_behind_it_is_touched() {
    let scene = Scene::new(LAYOUT_SIZE + 8_192);
    scene.put(LAYOUT_SIZE / BLOCK_SIZE as u64, &[7; 8_192]);
    let (code, said) = scene.say("show", &[]);
    assert_eq!(code, 1, "{said}");
    has(&scene.disk(), &said, &["holds nothing", "plain file"]);

    let (code, said) = scene.say("init", &[]);
    assert_eq!(code, 0, "{said}");
    has(&scene.disk(), &said, &["demo (id 10)", "16 slots", "mainstay disk check"]);
    let bytes = scene.bytes();
    let layout = Layout::new(10, 16);
    assert_eq!(Layout::of_cluster(&bytes[..BLOCK_SIZE], 10), Ok(layout));
    assert!(bytes[BLOCK_SIZE..LAYOUT_SIZE as usize].iter().all(|byte| *byte == 0));
    assert!(bytes[LAYOUT_SIZE as usize..].iter().all(|byte| *byte == 7));

    scene.put(layout.run(NodeId(1), NodeId(2)), &[1; 10]);
    let (code, said) = scene.say("init", &[]);
    assert_eq!(code, 0, "{said}");
    has(&scene.disk(), &said, &["already", "nothing was changed"]);
    let (code, said) = scene.say("init", &["--force", "mainstay:10:16"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(scene.bytes(), bytes, "afresh, by its id");
    let (code, json) = scene.json("init");
    assert_eq!((code, &json["written"], &json["slots"]), (0, &false.into(), &16.into()));
}

#[test]
fn what_holds_something_is_overwritten_by_its_id_only() {
    let scene = Scene::new(LAYOUT_SIZE);
    scene.put(0, &Layout::new(77, 16).encode_header());
    let before = scene.bytes();
    let refused = |force: &[&str], words: &[&str]| {
        let (code, said) = scene.say("init", force);
        assert_eq!(code, 1, "{said}");
        has(&scene.disk(), &said, words);
        assert_eq!(scene.bytes(), before, "nothing was changed");
    };
    let help = ["the area of cluster 77", "mainstay:77:16", "--force mainstay:77:16"];
    refused(&[], &help);
    refused(&["--force", "ext4:0000"], &help);
    let (code, said) = scene.say("show", &[]);
    assert_eq!(code, 1, "{said}");
    has(&scene.disk(), &said, &["id mainstay:77:16", "not the area of this cluster, demo"]);
    let (code, said) = scene.say("check", &[]);
    assert_eq!(code, 1, "{said}");
    has(&scene.disk(), &said, &["belongs to cluster 77", "not usable"]);
    let (code, said) = scene.say("init", &["--force", "mainstay:77:16"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(Layout::of_cluster(&scene.bytes()[..BLOCK_SIZE], 10), Ok(Layout::new(10, 16)));
}

#[test]
fn data_behind_a_blank_beginning_are_seen() {
    let scene = Scene::new(LAYOUT_SIZE);
    scene.put(1_000, b"\0\0\0a database");
    let (code, said) = scene.say("init", &[]);
    assert_eq!(code, 1, "{said}");
    has(&scene.disk(), &said, &["from byte 4096003 on", "--force offset:4096003"]);
    let (code, said) = scene.say("init", &["--force", "offset:4096003"]);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn refusals_say_what_to_do() {
    let scene = Scene::new(LAYOUT_SIZE - 1);
    let (code, said) = scene.say("init", &[]);
    assert_eq!(code, 1, "{said}");
    has(&scene.disk(), &said, &["needs 8.0 MiB", &format!("truncate -s {LAYOUT_SIZE}")]);
    let scene = Scene::new(LAYOUT_SIZE);
    let (code, said) = scene.say("init", &["--force", "mainstay:77:16"]);
    assert_eq!(code, 1, "{said}");
    has(&scene.disk(), &said, &["is blank", "leave --force out"]);
    assert!(scene.bytes().iter().all(|byte| *byte == 0));
    fs::remove_file(scene.disk()).expect("it was there");
    for verb in ["init", "show", "check"] {
        let (code, said) = scene.say(verb, &[]);
        assert_eq!(code, 1, "{verb}: {said}");
        has(&scene.disk(), &said, &["no such device"]);
        assert!(!scene.disk().exists(), "{verb} makes no file");
    }
    let output = scene.run(&["disk", "check"]);
    assert_eq!(output.status.code(), Some(64), "a device must be named");
}

#[test]
fn more_nodes_need_more_slots() {
    let scene = Scene::new(LAYOUT_SIZE * 2);
    assert_eq!(scene.say("init", &[]).0, 0);
    scene.configure(&["n1", "n2", "last"]);
    for verb in ["show", "check"] {
        let (code, said) = scene.say(verb, &[]);
        assert_eq!(code, 1, "{said}");
        has(&scene.disk(), &said, &["last", "mainstay disk init"]);
    }
    let (code, said) = scene.say("init", &[]);
    assert_eq!(code, 1, "{said}");
    let (code, said) = scene.say("init", &["--force", "mainstay:10:16"]);
    assert_eq!(code, 0, "{said}");
    has(&scene.disk(), &said, &["20 slots"]);
    assert_eq!(scene.say("show", &[]).0, 0);
}

/// What two nodes wrote is shown and found whole; `check` moves nothing of it.
#[test]
fn a_used_area_is_shown_and_checked() {
    let scene = Scene::new(LAYOUT_SIZE);
    assert_eq!(scene.say("init", &[]).0, 0);
    let layout = Layout::new(10, 16);
    let mut block = [0; BLOCK_SIZE];
    for (from, to, epoch) in [(1, 2, 1_700), (2, 1, 90)] {
        let mut writer = Writer::new(layout, NodeId(from), Incarnation(epoch));
        for round in 0..from {
            assert!(writer.push(NodeId(to), &[round; 100], true));
            assert!(writer.push(NodeId(to), &[round; 100], false));
            while let Some(at) = writer.next_write(&mut block) {
                scene.put(at, &block);
            }
        }
    }
    let before = scene.bytes();
    let (code, json) = scene.json("show");
    assert_eq!(code, 0, "{json}");
    let area = &json["area"];
    assert_eq!((&area["cluster"], &area["cluster_name"]), (&10.into(), &"demo".into()));
    let expected = serde_json::json!([
        { "from": 1, "to": 2, "torn": 0, "foreign": 0,
          "heartbeat": { "epoch": 1700, "sequence": 1 }, "data": { "epoch": 1700, "sequence": 1 } },
        { "from": 2, "to": 1, "torn": 0, "foreign": 0,
          "heartbeat": { "epoch": 90, "sequence": 2 }, "data": { "epoch": 90, "sequence": 2 } },
    ]);
    assert_eq!(area["pairs"], expected);
    let (_, said) = scene.say("show", &[]);
    has(
        &scene.disk(),
        &said,
        &["\nn1    n2  1700   1          1\n", "\nn2    n1  90     2          2\n"],
    );

    let (_, json) = scene.json("check");
    let findings = json["findings"].as_array().expect("a list");
    let good = |name: &str| {
        let finding = findings.iter().find(|finding| finding["check"] == name);
        finding.is_some_and(|finding| finding["good"] == true)
    };
    // How fast the machine is today is not a matter of this test.
    for name in ["header", "size", "slots", "blocks", "read and write"] {
        assert!(good(name), "{name}: {json}");
    }
    assert_eq!(json["usable"], good("latency"));
    assert_eq!(
        (&json["read"]["operations"], &json["write"]["operations"]),
        (&64.into(), &64.into())
    );
    let after = scene.bytes();
    let own = layout.run(NodeId(1), NodeId(1)) as usize * BLOCK_SIZE;
    assert_eq!(before[..own], after[..own]);
    assert_eq!(before[own + BLOCK_SIZE..], after[own + BLOCK_SIZE..]);
    assert_ne!(before[own..own + BLOCK_SIZE], after[own..own + BLOCK_SIZE]);

    scene.put(layout.run(NodeId(2), NodeId(1)), b"MSDB, and what was torn");
    scene.put(layout.run(NodeId(1), NodeId(2)) + 3, b"something else");
    let (code, said) = scene.say("check", &[]);
    assert_eq!(code, 1, "{said}");
    has(&scene.disk(), &said, &["1 torn, 1 foreign", "not usable"]);
    has(&scene.disk(), &scene.say("show", &[]).1, &["1 torn", "1 foreign"]);
}
