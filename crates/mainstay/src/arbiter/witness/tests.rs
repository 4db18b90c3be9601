use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use base::NodeId;
use group::{Answer, Ballot, Request, Scope};
use tempfile::TempDir;

use super::client::Client;
use super::files::{Directory, Entry};
use super::server::{self, Witness};
use super::wire::{self, Key, Question, Response};
use crate::arbiter::{Arbiter, Asker};

const CLUSTER: u32 = 10;
/// How long a slow machine may take.
const PATIENCE: Duration = Duration::from_secs(30);
const SECRET: [u8; 32] = [7; 32];
const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn directory() -> (TempDir, Directory) {
    let place = tempfile::tempdir().expect("a directory");
    let directory = Directory::new(place.path());
    let key = Key::of_cluster(&SECRET);
    directory.add(&Entry { name: "demo".into(), cluster: CLUSTER, key }).expect("added");
    (place, directory)
}

fn ask(generation: u64, round: u32, node: u8, value: Option<u8>) -> Request {
    let scope = Scope { lineage: 1, generation };
    let value = value.map(|value| vec![value; 8_000]);
    Request { arbiters: 7, scope, ballot: Ballot { round, node }, value }
}

fn asker(key: [u8; 32]) -> Asker {
    let budget = PATIENCE;
    Asker { cluster: CLUSTER, local: NodeId(1), name: "n1".into(), key, budget }
}

/// A witness on a port of its own, until the process ends.
fn serving(directory: &Directory, listen: &str) -> (Arc<Witness>, SocketAddr) {
    let witness = Arc::new(Witness::open(directory).expect("a witness"));
    let (tell, told) = channel();
    let (server, listen) = (Arc::clone(&witness), listen.parse().expect("an address"));
    std::thread::spawn(move || {
        server::serve(server, listen, |address| tell.send(address).expect("the test waits"))
    });
    (witness, told.recv().expect("it listens"))
}

#[test]
fn it_answers_over_both_versions_of_ip() {
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let (_place, directory) = directory();
        let (_witness, address) = serving(&directory, listen);
        let mut client = Client::new(address.to_string(), &asker(SECRET));
        client.probe().expect("it is there");
        let promised = client.ask(&ask(3, 1, 1, None)).expect("an answer");
        assert_eq!(promised.answer, Answer::Promised(None));
        let accepted = client.ask(&ask(3, 1, 1, Some(9))).expect("an answer");
        assert_eq!(accepted.answer, Answer::Accepted);
        let seen = directory.seen("demo").expect("somebody asked");
        assert_eq!((seen.node.as_str(), seen.election), ("n1", true));
    }
}

#[test]
fn strangers_are_counted_and_dropped() {
    let (_place, directory) = directory();
    let (witness, address) = serving(&directory, "127.0.0.1:0");
    let mut forger = Client::new(address.to_string(), &asker([8; 32]));
    let error = forger.probe().expect_err("another key");
    assert!(error.to_string().contains("does not know this cluster"), "{error}");
    let other = Asker { cluster: 11, ..asker(SECRET) };
    Client::new(address.to_string(), &other).probe().expect_err("an unknown cluster");
    assert_eq!(witness.answer(b"GET / HTTP/1.1\r\n\r\n and more than a head", FROM), None);
    let dropped = witness.dropped();
    assert_eq!((dropped.forged, dropped.unknown, dropped.malformed), (1, 1, 1));
}

#[test]
fn a_cluster_that_is_added_is_known_without_a_restart() {
    let (_place, directory) = directory();
    let (_witness, address) = serving(&directory, "127.0.0.1:0");
    let key = Key::of_cluster(&SECRET);
    let entry = Entry { name: "second".into(), cluster: 11, key };
    directory.add(&entry).expect("added");
    assert!(directory.add(&entry).is_err(), "its name is taken");
    assert!(
        directory.add(&Entry { name: "third".into(), ..entry }).is_err(),
        "its number is taken"
    );
    let mut client = Client::new(address.to_string(), &Asker { cluster: 11, ..asker(SECRET) });
    let start = os::clock::boottime();
    // It looks at most once a second.
    while let Err(error) = client.probe() {
        let waited = os::clock::boottime().since(start);
        assert!(waited < PATIENCE, "not known after {waited:?}: {error}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// A witness whose former one was just dropped: a child that another test has forked holds the lock until
/// its own execve(2).
fn reopened(directory: &Directory) -> Witness {
    let start = os::clock::boottime();
    loop {
        match Witness::open(directory) {
            Ok(witness) => return witness,
            Err(error) => {
                let waited = os::clock::boottime().since(start);
                assert!(error.to_string().contains("is held by"), "{error:#}");
                assert!(waited < PATIENCE, "after {waited:?}: {error}");
                std::thread::park_timeout(Duration::from_millis(10));
            }
        }
    }
}

#[test]
fn a_restart_forgets_nothing_and_a_second_one_is_refused() {
    let (_place, directory) = directory();
    let frame = |request: &Request| {
        let question =
            Question { node: NodeId(1), name: "n1".into(), request: Some(request.clone()) };
        Key::of_cluster(&SECRET).seal_question(CLUSTER, &question, [5; 12])
    };
    let answer = |witness: &Witness, request: &Request| {
        let sealed = witness.answer(&frame(request), FROM).expect("an answer");
        Key::of_cluster(&SECRET).open_response(&sealed, [5; 12]).expect("sealed")
    };
    let witness = Witness::open(&directory).expect("a witness");
    assert!(matches!(answer(&witness, &ask(3, 1, 1, Some(4))), Response::Reply(_)));
    let error = Witness::open(&directory).err().expect("one at a time");
    assert!(error.to_string().contains("is held by mainstay witness"), "{error}");
    drop(witness);
    let witness = reopened(&directory);
    // A recorded question, played again, changes nothing.
    assert!(matches!(answer(&witness, &ask(3, 1, 1, Some(4))), Response::Reply(_)));
    match answer(&witness, &ask(3, 2, 2, None)) {
        Response::Reply(reply) => match reply.answer {
            Answer::Promised(Some(accepted)) => assert_eq!(accepted.value, [4; 8_000]),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
    match answer(&witness, &ask(3, 1, 1, Some(4))) {
        Response::Reply(reply) => {
            assert_eq!(reply.answer, Answer::Refused(Ballot { round: 2, node: 2 }));
        }
        other => panic!("{other:?}"),
    }
    drop(witness);
    // A memory that is gone or damaged is not replaced.
    let memory = directory.path().join("memory/demo");
    let mut bytes = std::fs::read(&memory).expect("a memory");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&memory, bytes).expect("damaged");
    let witness = reopened(&directory);
    match answer(&witness, &ask(3, 3, 1, None)) {
        Response::Unable(why) => assert!(why.contains("damaged"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_belongs_to_its_question() {
    let key = Key::of_cluster(&SECRET);
    let response = Response::Ready;
    let sealed = key.seal_response(CLUSTER, &response, [1; 12], [2; 12]);
    assert_eq!(key.open_response(&sealed, [1; 12]), Ok(response));
    assert!(key.open_response(&sealed, [3; 12]).is_err(), "of another question");
    assert!(key.open_question(&sealed).is_err(), "in the other direction");
    for place in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[place] ^= 1;
        assert!(key.open_response(&changed, [1; 12]).is_err(), "byte {place}");
    }
    assert_eq!(wire::cluster_of(&sealed), Ok(CLUSTER));
    assert_eq!(Key::parse(&key.text()), Some(key));
}
