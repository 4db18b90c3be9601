//! A toy cluster manager: enough of one to play every scenario against, and no more. Its nodes agree
//! through files that they all see, which no real cluster has; what it shares with the real one is
//! the shape: a guard with a daemon, files, status, an address and a process.
//!
//! Files in `/run/lab/.toy`: `beat-n1` (when the node was last well), `owner` (who has the service),
//! `wish` (where it shall go), `running-n1` (this node runs it). In a node's own `/run/mainstay`: `hold` (the
//! daemon wants the service here) and `stamp` (when the daemon last said so).

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use lab::{clock, operator};
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

const SHARED: &str = "/run/lab/.toy";
const ADDRESS: Ipv4Addr = lab::cluster::SERVICE_ADDRESS;
/// A node that was not well for so long is lost.
const LOST: u128 = 150;
/// The guard ends the service when the daemon has been silent for so long …
const LEASE: u128 = 400;
/// … and others take it after this time.
const FREE: u128 = 800;

fn now() -> u128 {
    clock::now().as_millis()
}

fn shared(name: &str) -> PathBuf {
    Path::new(SHARED).join(name)
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Readers see the old text or the new one.
fn put(path: &Path, text: &str) {
    let new = path.with_extension(format!("new-{}", std::process::id()));
    fs::write(&new, text).expect("writing");
    fs::rename(&new, path).expect("renaming");
}

fn age(path: &Path) -> u128 {
    text(path).parse().map_or(u128::MAX, |at: u128| now().saturating_sub(at))
}

/// Each node says of itself alone that it runs the service.
fn running(name: &str) -> PathBuf {
    shared(&format!("running-{name}"))
}

fn own(root: &str, name: &str) -> PathBuf {
    Path::new(root).join("run/mainstay").join(name)
}

fn prepare(root: &str) -> String {
    fs::create_dir_all(SHARED).expect("the shared directory");
    fs::create_dir_all(own(root, "")).expect("the run directory");
    text(&Path::new(root).join("etc/mainstay/node"))
}

pub(crate) fn guard(root: &str) -> ExitCode {
    let name = prepare(root);
    let program = std::env::current_exe().expect("our own program");
    let daemon_root = root.to_owned();
    let daemon = program.clone();
    std::thread::spawn(move || {
        loop {
            let mut command = Command::new(&daemon);
            let ended = command.args(["daemon", "--root", &daemon_root]).status();
            println!("the daemon ended: {ended:?}");
        }
    });
    let id: u8 = name[1..].parse().expect("n and a number");
    let mut service: Option<Child> = None;
    // What a life before has left.
    let _ = fs::remove_file(running(&name));
    loop {
        let wanted = own(root, "hold").exists() && age(&own(root, "stamp")) < LEASE;
        if wanted && service.is_none() {
            operator::add_address("net0", ADDRESS.into(), 24).expect("adding the address");
            let mut command = Command::new(&program);
            let child = command.args(["lab", "responder", "--port", "7700"]).spawn();
            service = Some(child.expect("starting the service"));
            operator::announce("net0", 0, id, ADDRESS).expect("announcing");
            put(&running(&name), "");
        } else if !wanted && let Some(mut child) = service.take() {
            child.kill().expect("killing the service");
            child.wait().expect("waiting for it");
            operator::remove_address("net0", ADDRESS.into(), 24).expect("removing the address");
            let _ = fs::remove_file(running(&name));
        }
        clock::pause(Duration::from_millis(2));
    }
}

fn carrier(network: &str) -> bool {
    text(&Path::new("/sys/class/net").join(network).join("carrier")) == "1"
}

fn is_well() -> bool {
    carrier("net0") || carrier("net1")
}

fn alive() -> Vec<String> {
    let names = (1..=3).map(|id| format!("n{id}"));
    names.filter(|name| age(&shared(&format!("beat-{name}"))) < LOST).collect()
}

pub(crate) fn daemon(root: &str) -> ExitCode {
    let name = prepare(root);
    let socket = own(root, "api.sock");
    let _ = fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).expect("listening");
    let (node, born) = (name.clone(), now());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer(stream, &node, born);
        }
    });
    let hold = own(root, "hold");
    loop {
        if is_well() {
            // Taken before: who is paused from here on has decided too long ago.
            let at = now().to_string();
            put(&shared(&format!("beat-{name}")), &at);
            if decide(&name) {
                put(&hold, "");
            } else {
                let _ = fs::remove_file(&hold);
            }
            put(&own(root, "stamp"), &at);
        }
        clock::pause(Duration::from_millis(5));
    }
}

/// True when the service belongs here.
fn decide(name: &str) -> bool {
    // Only for a change: who is paused in the middle of a mere look must not keep the others waiting.
    if next_owner(name).is_some() {
        let lock = File::create(shared("lock")).expect("the lock");
        flock(&lock, FlockOperation::LockExclusive).expect("locking");
        // Another one may have been faster.
        if let Some(owner) = next_owner(name) {
            put(&shared("owner"), &owner);
            put(&shared("wish"), "");
        }
    }
    let wish = text(&shared("wish"));
    text(&shared("owner")) == name && (wish.is_empty() || wish == name)
}

/// Who shall have the service from now on, if that is for this node to say.
fn next_owner(name: &str) -> Option<String> {
    let owner = text(&shared("owner"));
    if owner == name {
        let wish = text(&shared("wish"));
        let leaves = !wish.is_empty() && wish != name && !running(name).exists();
        return leaves.then_some(wish);
    }
    let first = owner.is_empty() && alive().len() == 3;
    let free = !owner.is_empty() && age(&shared(&format!("beat-{owner}"))) > FREE;
    (first || free).then(|| name.to_owned())
}

fn answer(mut stream: UnixStream, name: &str, born: u128) {
    let mut request = [0; 2048];
    let Ok(length) = stream.read(&mut request) else { return };
    let request = String::from_utf8_lossy(&request[..length]).into_owned();
    let body = if request.starts_with("POST /v1/services/web/move ") {
        let body = request.rsplit("\r\n\r\n").next().unwrap_or_default();
        let body: Value = serde_json::from_str(body).expect("a body of JSON");
        put(&shared("wish"), body["node"].as_str().expect("a node"));
        json!({ "schema": 1, "text": "it moves" })
    } else {
        status(name, born)
    };
    let body = body.to_string();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    // The lab gives up on a daemon that it has just paused.
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}

fn status(name: &str, born: u128) -> Value {
    let members = if is_well() { alive() } else { Vec::new() };
    let generation =
        members.iter().fold(0, |sum, node| sum * 10 + node.len() + node.as_bytes()[1] as usize);
    let owner = text(&shared("owner"));
    let is_running = !owner.is_empty() && running(&owner).exists();
    let paths: Vec<Value> = ["net0", "net1"]
        .iter()
        .map(|network| {
            let state = if carrier(network) { "alive" } else { "dead" };
            json!({ "peer": "n9", "network": network, "state": state })
        })
        .collect();
    json!({
        "schema": 1,
        "verdict": "ok",
        "node": { "name": name, "state": if is_well() { "member" } else { "unseeded" },
                  "incarnation": born as u64 },
        "view": { "generation": generation, "hub": null, "members": members, "waiting": null },
        "paths": paths,
        "services": [{ "name": "web", "state": if is_running { "running" } else { "stopped" },
                       "node": owner }],
    })
}
