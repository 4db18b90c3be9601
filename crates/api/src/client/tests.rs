use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

use super::*;

/// A directory of this test's own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path =
            std::env::temp_dir().join(format!("mainstay-client-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the directory for temporary files can be written");
        Scratch(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("api.sock")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Answers one request with `answer`, byte for byte, and returns what was asked.
fn answering(socket: &Path, answer: &'static str) -> std::thread::JoinHandle<String> {
    let listener = UnixListener::bind(socket).expect("the socket is new");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client comes");
        let mut asked = vec![0; 4096];
        let size = stream.read(&mut asked).expect("the client asks");
        stream.write_all(answer.as_bytes()).expect("the client reads");
        String::from_utf8_lossy(&asked[..size]).into_owned()
    })
}

#[test]
fn a_missing_socket_is_told_from_a_dead_one() {
    let scratch = Scratch::new("missing");
    let client = Client::new(scratch.socket());
    let missing = client.status().expect_err("nobody is there").to_string();
    assert!(missing.contains("there is no "), "{missing}");

    drop(UnixListener::bind(scratch.socket()).expect("the socket is new"));
    let dead = client.status().expect_err("nobody listens").to_string();
    assert!(dead.contains("nobody listens"), "{dead}");
}

#[test]
fn a_refusal_comes_through_in_the_daemons_words() {
    let scratch = Scratch::new("refusal");
    let server = answering(
        &scratch.socket(),
        "HTTP/1.1 409 Conflict\r\nconnection: close\r\n\r\n\
         {\"code\":\"not-primary\",\"message\":\"cut off\",\"help\":\"look at the cables\"}",
    );
    let client = Client::new(scratch.socket());
    let error = client
        .post::<v1::CommandReply>("/v1/services/web/start", &v1::CommandRequest::default())
        .expect_err("it is refused");
    let ClientError::Refused(error) = error else { panic!("{error}") };
    assert_eq!(error.code, v1::ErrorCode::NotPrimary);
    assert_eq!(error.help.as_deref(), Some("look at the cables"));
    assert!(server.join().expect("answered").starts_with("POST /v1/services/web/start HTTP/1.1"));
}

#[test]
fn an_answer_of_something_else_is_named_as_such() {
    let scratch = Scratch::new("else");
    let server = answering(&scratch.socket(), "220 mail.example.org ESMTP\r\n");
    let error = Client::new(scratch.socket()).status().expect_err("that is no HTTP");
    assert!(matches!(error, ClientError::Broken { .. }), "{error}");
    server.join().expect("answered");
}

#[test]
fn events_are_cut_out_of_the_stream() {
    let scratch = Scratch::new("events");
    let server = answering(
        &scratch.socket(),
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n\
         :\n\nid: 7\ndata: {\"id\":7,\"at\":\"t\",\"node\":\"n1\",\"code\":\"c\",\"text\":\"x\"}\n\n\
         id: 8\ndata: {\"id\":8,\"at\":\"t\",\"node\":\"n1\",\"code\":\"c\",\"text\":\"y\"}\n\n",
    );
    let mut seen = Vec::new();
    Client::new(scratch.socket())
        .follow(Some(6), |event| {
            seen.push(event.id);
            ControlFlow::Continue(())
        })
        .expect("the stream ends by itself");
    assert_eq!(seen, [7, 8]);
    assert!(server.join().expect("answered").starts_with("GET /v1/events?after=6 "));
}

#[test]
fn names_are_escaped() {
    assert_eq!(escape("web-1.a_b~"), "web-1.a_b~");
    assert_eq!(escape("a/b?c d"), "a%2Fb%3Fc%20d");
}
