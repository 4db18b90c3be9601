//! Cases that build real labs: each runs in a process of its own, inside namespaces of its own, as
//! root and (when started by root) once more as an ordinary user.
//!
//! The program that nodes run is this test itself in another role (see `stand_in`): a guard with a
//! daemon and a service. `cargo test -p lab --test real [NAME]` runs the cases whose name contains
//! NAME.

mod cards;
mod cases;
mod outside;
mod stand_in;
mod toy;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--root", root, "run"] if is_toy(root) => toy::guard(root),
        ["daemon", "--root", root] if is_toy(root) => toy::daemon(root),
        ["--root", root, "run"] => stand_in::guard(root),
        ["daemon", "--root", root] => stand_in::daemon(root),
        ["lab", "responder", "--port", port] => stand_in::responder(port),
        ["lab", words @ ..] => stand_in::send(words),
        ["case", name] => cases::run(name),
        ["--list"] => {
            outside::names().iter().for_each(|name| println!("{name}: test"));
            ExitCode::SUCCESS
        }
        _ => outside::run_all(words.iter().find(|word| !word.starts_with('-')).copied()),
    }
}

/// Cases with a whole cluster have its configuration on their disks.
fn is_toy(root: &str) -> bool {
    let file = std::path::Path::new(root).join("etc/mainstay/cluster.toml");
    std::fs::read_to_string(file).is_ok_and(|text| text.contains("[cluster]"))
}
