use std::sync::mpsc::{Receiver, Sender, channel};

use group::{Answer, Ballot, Scope};

use super::*;

/// An arbiter that tells what it is asked and answers when it is let.
struct Scripted {
    asked: Sender<Option<u32>>,
    go: Receiver<io::Result<()>>,
}

impl Scripted {
    fn step(&self, round: Option<u32>) -> io::Result<()> {
        let _gone = self.asked.send(round);
        self.go.recv().unwrap_or(Ok(()))
    }
}

impl Arbiter for Scripted {
    fn ask(&mut self, request: &Request) -> io::Result<Reply> {
        self.step(Some(request.ballot.round))?;
        let Request { arbiters, scope, ballot, .. } = *request;
        Ok(Reply { arbiters, scope, ballot, answer: Answer::Accepted })
    }

    fn probe(&mut self) -> io::Result<()> {
        self.step(None)
    }
}

fn request(round: u32) -> Request {
    let scope = Scope { lineage: 1, generation: 1 };
    Request { arbiters: 7, scope, ballot: Ballot { round, node: 1 }, value: None }
}

/// A thread with a script.
struct Scene {
    handle: Handle,
    asked: Receiver<Option<u32>>,
    /// Lets it go on.
    go: Sender<io::Result<()>>,
    told: Receiver<News>,
}

fn scripted() -> Scene {
    let (asked, is_asked) = channel();
    let (let_go, go) = channel();
    let (tell, told) = channel();
    let acceptor = Box::new(Scripted { asked, go });
    let tell = move |news| {
        let _gone = tell.send(news);
    };
    let budget = Duration::from_secs(60);
    let handle = Handle::of(2, "toy".into(), acceptor, budget, tell).expect("a thread");
    Scene { handle, asked: is_asked, go: let_go, told }
}

#[test]
fn the_newest_request_replaces_one_that_waits() {
    let Scene { handle, asked, go, told } = scripted();
    assert_eq!(asked.recv(), Ok(None), "touched at once");
    handle.ask(request(1));
    handle.ask(request(2));
    go.send(Ok(())).expect("it waits");
    assert_eq!(asked.recv(), Ok(Some(2)));
    go.send(Ok(())).expect("it waits");
    match told.recv().expect("an answer") {
        News::Reply(2, reply) => assert_eq!(reply.ballot.round, 2),
        other => panic!("{other:?}"),
    }
    assert_eq!(handle.trouble(clock::boottime()), None);
}

#[test]
fn what_fails_is_said_once_and_so_is_its_end() {
    let Scene { handle, asked, go, told } = scripted();
    asked.recv().expect("touched at once");
    let refused = || Err(io::Error::other("no route"));
    go.send(refused()).expect("it waits");
    let said = |news: News| match news {
        News::Said(text) => text,
        News::Reply(..) => panic!("nobody asked"),
    };
    let first = said(told.recv().expect("a sentence"));
    assert_eq!(first, "tie-breaker toy cannot be reached: no route");
    for outcome in [refused(), Ok(())] {
        handle.ask(request(1));
        asked.recv().expect("asked");
        go.send(outcome).expect("it waits");
    }
    assert!(
        matches!(told.recv(), Ok(News::Reply(2, _))),
        "an error is no answer, and ends nothing"
    );
    assert_eq!(said(told.recv().expect("a sentence")), "tie-breaker toy answers again");
    drop(handle);
    assert!(told.recv().is_err(), "the thread ends with its handle");
}
