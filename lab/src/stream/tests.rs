//! Streams over loopback, whole and spoilt.

use std::net::{Ipv4Addr, TcpListener};

use super::*;
use crate::wait;

/// A server whose thread ends with the test.
struct Running {
    port: u16,
    stop: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

impl Running {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("an ordinary socket");
        let port = listener.local_addr().expect("it is bound").port();
        let stop = Arc::new(AtomicBool::new(false));
        let ours = Arc::clone(&stop);
        let worker = std::thread::spawn(move || {
            let mut server = Server::new(vec![listener]);
            while !ours.load(Ordering::Acquire) {
                let waits: Vec<_> = server.waits().collect();
                let mut entries: Vec<_> =
                    waits.iter().map(|(fd, what)| PollFd::from_borrowed_fd(*fd, *what)).collect();
                let limit = clock::timespec(Duration::from_millis(20));
                poll(&mut entries, Some(&limit)).expect("polling");
                drop(entries);
                drop(waits);
                server.serve();
            }
        });
        Self { port, stop, worker: Some(worker) }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("the server listens")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let worker = self.worker.take().expect("it is dropped once");
        worker.join().expect("the server does not panic");
    }
}

fn head(seed: u64) -> Vec<u8> {
    [&MAGIC[..], &seed.to_be_bytes()].concat()
}

fn stream(server: &Running) -> Stream {
    let seed = 5;
    let connection = server.connect();
    (&connection).write_all(&head(seed)).expect("there is room");
    connection.set_nonblocking(true).expect("an ordinary socket");
    let (carried, stop) = (Mutex::new(Carried::default()), AtomicBool::new(false));
    let shared = Arc::new(Shared { carried, stop });
    let ours = Arc::clone(&shared);
    let worker = std::thread::spawn(move || Ends::new(connection, seed).work(&ours));
    Stream { shared, worker: Some(worker) }
}

#[test]
fn what_goes_comes_back() {
    let server = Running::start();
    let stream = stream(&server);
    let some = wait::until("some of it to come back", CONNECTING, || {
        Ok((stream.carried().right > 20 * CHUNK as u64).then_some(()))
    });
    some.expect("the server answers");
    let carried = stream.finish().expect("polling works");
    assert!(carried.is_exact(), "{carried:?}");
    assert!(carried.sent > 20 * CHUNK as u64, "{carried:?}");
}

#[test]
fn a_server_that_goes_away_is_a_broken_stream() {
    let server = Running::start();
    let stream = stream(&server);
    let some = wait::until("some of it to come back", CONNECTING, || {
        Ok((stream.carried().right > 0).then_some(()))
    });
    some.expect("the server answers");
    drop(server);
    let broken = wait::until("the end to be noticed", CONNECTING, || Ok(stream.carried().broken));
    broken.expect("it is noticed without being asked");
    assert!(!stream.finish().expect("polling works").is_exact());
}

/// What a client reads after it has sent this: bytes, and whether the end was a reset.
fn answer(server: &Running, bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut connection = server.connect();
    connection.write_all(bytes).expect("there is room");
    // A server that has refused what it read may have reset it by now.
    let is_reset = connection.shutdown(std::net::Shutdown::Write).is_err();
    let mut answer = Vec::new();
    let end = connection.read_to_end(&mut answer);
    (answer, is_reset || end.is_err())
}

#[test]
fn a_byte_that_is_wrong_lost_or_repeated_is_not_answered() {
    let server = Running::start();
    let (out, back) = content::pair(9);
    let mut right = [0; 300];
    out.fill(&mut right);
    let mut expected = [0; 300];
    back.fill(&mut expected);
    assert_eq!(answer(&server, &[&head(9), &right[..]].concat()), (expected.to_vec(), false));
    let mut wrong = right;
    wrong[200] ^= 1;
    let lost = [&right[..200], &right[201..]].concat();
    let twice = [&right[..200], &right[199..]].concat();
    for spoilt in [&wrong[..], &lost, &twice] {
        let (answer, is_reset) = answer(&server, &[&head(9), spoilt].concat());
        assert!(is_reset && answer.len() <= 200, "{is_reset}: {} bytes", answer.len());
    }
    assert!(answer(&server, b"GET / HTTP/1.1\r\n\r\n").1, "that is no stream");
    assert_eq!(answer(&server, b"MLs"), (Vec::new(), false), "an end before the beginning");
}

#[test]
fn the_client_compares_too() {
    let (mut out, back) = content::pair(1);
    let mut bytes = [0; 100];
    back.fill(&mut bytes);
    assert!(out.compare(&bytes).is_err(), "the two ways differ");
    out.fill(&mut bytes);
    out.compare(&bytes[..33]).expect("the beginning");
    out.compare(&bytes[33..]).expect("the rest, whatever the parts");
    assert_eq!(out.place(), 100);
    let error = out.compare(&bytes).expect_err("the same once more");
    assert!(error.to_string().starts_with("byte 100 is "), "{error}");
}

#[test]
fn pauses_are_found_by_when_they_were() {
    let mut carried = Carried::default();
    let at = Duration::from_millis;
    carried.note_pause(at(0), at(10));
    carried.note_pause(at(100), at(400));
    carried.note_pause(at(500), at(550));
    assert_eq!(carried.gaps.len(), 2, "short ones are everyday life");
    assert_eq!(carried.longest_between(at(200), at(600)), 300.0);
    assert_eq!(carried.longest_between(at(450), at(520)), 50.0);
    assert_eq!(carried.longest_between(at(600), at(900)), 0.0);
    for number in 0..GAPS_MAX as u64 {
        carried.note_pause(at(1000 * number), at(1000 * number + 200));
    }
    assert_eq!(carried.gaps.len(), GAPS_MAX);
    assert_eq!(carried.longest_between(at(0), at(300)), 300.0, "the longest ones stay");
}
