//! What the nodes of these tests run: a guard, its daemon, and a service, with the shape (not the
//! sense) of the real ones.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, ExitCode};

/// `--root DIR run`: starts the daemon and starts it again when it dies; and the service, which
/// outlives the daemon.
pub(crate) fn guard(root: &str) -> ExitCode {
    let program = std::env::current_exe().expect("our own program");
    let mut service = Command::new(&program);
    service.args(["lab", "responder", "--port", "7700"]);
    std::thread::spawn(move || service.status().expect("starting the service"));
    loop {
        let status = Command::new(&program)
            .args(["daemon", "--root", root])
            .status()
            .expect("starting the daemon");
        println!("the daemon ended: {status}");
    }
}

/// `daemon --root DIR`: serves a status that names its node, and nothing else.
pub(crate) fn daemon(root: &str) -> ExitCode {
    let node = std::fs::read_to_string(Path::new(root).join("etc/mainstay/node"))
        .expect("the node's name is on its disk");
    let directory = Path::new(root).join("run/mainstay");
    std::fs::create_dir_all(&directory).expect("making the run directory");
    let socket = directory.join("api.sock");
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).expect("listening");
    println!("{} is listening", node.trim());
    for stream in listener.incoming() {
        let mut stream = stream.expect("accepting");
        let mut request = [0; 512];
        let length = stream.read(&mut request).expect("reading a request");
        let known = request[..length].starts_with(b"GET /v1/status HTTP/1.1\r\n");
        let (line, body) = if known {
            ("200 OK", include_str!("status.json").replace("NODE", node.trim()))
        } else {
            ("404 Not Found", String::new())
        };
        let answer = format!(
            "HTTP/1.1 {line}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).expect("answering");
    }
    ExitCode::SUCCESS
}

/// `lab responder --port P`: the service of the lab itself.
pub(crate) fn responder(port: &str) -> ExitCode {
    let port = port.parse().expect("a port");
    match lab::responder::run(None, port, None) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `lab WORDS…`: has the surrounding lab do something.
pub(crate) fn send(words: &[&str]) -> ExitCode {
    match lab::control::send(words) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
