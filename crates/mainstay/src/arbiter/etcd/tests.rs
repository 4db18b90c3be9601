//! Against a real etcd. Where there is none the tests say so and prove nothing.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use base::NodeId;
use group::{Answer, Ballot, Scope};
use tempfile::TempDir;

use super::*;
use crate::testing::{DEAF, FreePort};

/// A server of one member on loopback, until it is dropped.
struct Server {
    child: Child,
    endpoint: String,
    data: TempDir,
    _ports: [FreePort; 2],
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

impl Server {
    fn start() -> Option<Server> {
        let data = tempfile::tempdir().expect("a directory");
        let ports = [FreePort::new(), FreePort::new()];
        let [client, peer] = [&ports[0], &ports[1]].map(FreePort::number);
        let endpoint = format!("http://127.0.0.1:{client}");
        let child = Server::spawn(data.path(), &endpoint, peer, &[])?;
        Some(Server { child, endpoint, data, _ports: ports })
    }

    /// One that speaks TLS, and takes only those who have a certificate of its authority.
    fn start_with_tls() -> Option<Server> {
        let data = tempfile::tempdir().expect("a directory");
        make_certificates(data.path())?;
        let ports = [FreePort::new(), FreePort::new()];
        let [client, peer] = [&ports[0], &ports[1]].map(FreePort::number);
        let endpoint = format!("https://127.0.0.1:{client}");
        let file = |name: &str| data.path().join(name).display().to_string();
        let words = [
            format!("--cert-file={}", file("server.pem")),
            format!("--key-file={}", file("server.key")),
            format!("--trusted-ca-file={}", file("ca.pem")),
            "--client-cert-auth".to_owned(),
        ];
        let child = Server::spawn(data.path(), &endpoint, peer, &words)?;
        Some(Server { child, endpoint, data, _ports: ports })
    }

    fn spawn(data: &Path, endpoint: &str, peer: u16, words: &[String]) -> Option<Child> {
        let peer = format!("http://127.0.0.1:{peer}");
        let started = Command::new("etcd")
            .arg("--data-dir")
            .arg(data.join("etcd"))
            .args(["--listen-client-urls", endpoint, "--advertise-client-urls", endpoint])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match started {
            Ok(child) => Some(child),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                eprintln!("SKIPPED: there is no etcd here (Debian: etcd-server)");
                None
            }
            Err(error) => panic!("etcd does not start: {error}"),
        }
    }

    fn arbiter(&self, node: u8, login: Option<(String, std::path::PathBuf)>) -> Etcd {
        self.arbiter_with(node, login, tls::Files::default())
    }

    fn arbiter_with(
        &self,
        node: u8,
        login: Option<(String, std::path::PathBuf)>,
        tls: tls::Files,
    ) -> Etcd {
        let asker = Asker {
            cluster: 10,
            local: NodeId(node),
            name: format!("n{node}"),
            key: [7; 32],
            budget: Duration::from_secs(5),
        };
        // The first one is a port where nobody listens.
        let endpoints = vec![format!("http://{DEAF}"), self.endpoint.clone()];
        Etcd::new(tie::Etcd { endpoints, login, tls }, &asker).expect("a runtime")
    }

    fn wait(&self, arbiter: &mut Etcd) {
        let start = os::clock::boottime();
        while let Err(error) = arbiter.probe() {
            let waited = os::clock::boottime().since(start);
            assert!(waited < Duration::from_secs(60), "no etcd after {waited:?}: {error}");
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }
}

/// An authority (`ca.pem`), and two certificates of it for 127.0.0.1: `server` and `own`.
fn make_certificates(place: &Path) -> Option<()> {
    let openssl = |words: &str| {
        let done = Command::new("openssl")
            .args(words.split_whitespace())
            .current_dir(place)
            .stdin(Stdio::null())
            .output();
        match done {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                eprintln!("SKIPPED: there is no openssl here");
                None
            }
            Err(error) => panic!("openssl: {error}"),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(output.status.success(), "openssl {words}: {said}");
                Some(())
            }
        }
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=toy -days 2"))?;
    std::fs::write(place.join("names"), "subjectAltName=IP:127.0.0.1\n").expect("a file");
    for name in ["server", "own"] {
        openssl(&format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"))?;
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem \
             -days 2 -extfile names"
        ))?;
    }
    Some(())
}

fn ask(round: u32, node: u8, value: Option<u8>) -> Request {
    let scope = Scope { lineage: 1, generation: 4 };
    let value = value.map(|value| vec![value; 8_000]);
    Request { arbiters: 7, scope, ballot: Ballot { round, node }, value }
}

fn answer(etcd: &mut Etcd, request: &Request) -> Answer {
    etcd.ask(request).expect("etcd answers").answer
}

#[test]
fn a_register_is_compared_and_swapped() {
    let Some(server) = Server::start() else { return };
    let (mut one, mut two) = (server.arbiter(1, None), server.arbiter(2, None));
    server.wait(&mut one);
    assert_eq!(answer(&mut one, &ask(1, 1, None)), Answer::Promised(None));
    assert_eq!(answer(&mut one, &ask(1, 1, Some(1))), Answer::Accepted);
    match answer(&mut two, &ask(2, 2, None)) {
        Answer::Promised(Some(accepted)) => assert_eq!(accepted.value, [1; 8_000]),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        answer(&mut one, &ask(1, 1, Some(1))),
        Answer::Refused(Ballot { round: 2, node: 2 })
    );
    // A register that was read before somebody else wrote is not written.
    let stale = one.read().expect("read");
    assert_eq!(answer(&mut two, &ask(3, 2, None)), answer(&mut two, &ask(3, 2, None)));
    assert!(!one.swap(&stale).expect("etcd answers"), "it was changed meanwhile");
    // Two that ask at the same moment, again and again: both get answers.
    let threads: Vec<_> = [(one, 1), (two, 2)]
        .into_iter()
        .map(|(mut etcd, node)| {
            std::thread::spawn(move || {
                for round in 10..40 {
                    answer(&mut etcd, &ask(round, node, None));
                }
                etcd
            })
        })
        .collect();
    let mut all: Vec<Etcd> =
        threads.into_iter().map(|thread| thread.join().expect("no error")).collect();
    // A key that is gone is a memory that is gone.
    let one = &mut all[0];
    let key = one.key.clone();
    one.call("/v3/kv/deleterange", &json!({ "key": key })).expect("deleted");
    let error = one.ask(&ask(50, 1, None)).expect_err("it has forgotten");
    assert!(error.to_string().contains("has forgotten"), "{error}");
}

#[test]
fn users_and_passwords_are_used() {
    let Some(server) = Server::start() else { return };
    let mut open = server.arbiter(1, None);
    server.wait(&mut open);
    let file = server.data.path().join("password");
    std::fs::write(&file, "secret\n").expect("a file");
    for (path, body) in [
        ("/v3/auth/role/add", json!({ "name": "root" })),
        ("/v3/auth/user/add", json!({ "name": "root", "password": "secret" })),
        ("/v3/auth/user/grant", json!({ "user": "root", "role": "root" })),
        ("/v3/auth/enable", json!({})),
    ] {
        open.call(path, &body).expect(path);
    }
    open.ask(&ask(1, 1, None)).expect_err("no user");
    let mut named = server.arbiter(1, Some(("root".into(), file.clone())));
    assert_eq!(answer(&mut named, &ask(1, 1, None)), Answer::Promised(None));
    named.token = Some("a token that counts no more".into());
    assert_eq!(answer(&mut named, &ask(2, 1, None)), Answer::Promised(None));
    std::fs::write(&file, "wrong\n").expect("a file");
    let error = server.arbiter(1, Some(("root".into(), file))).probe().expect_err("wrong");
    assert!(error.to_string().contains("refuses"), "{error}");
}

#[test]
fn tls_proves_both_ends() {
    let Some(server) = Server::start_with_tls() else { return };
    let file = |name: &str| server.data.path().join(name);
    let own = Some((file("own.pem"), file("own.key")));
    let files = tls::Files { ca: Some(file("ca.pem")), own: own.clone() };
    let mut known = server.arbiter_with(1, None, files);
    server.wait(&mut known);
    assert_eq!(answer(&mut known, &ask(1, 1, None)), Answer::Promised(None));
    assert_eq!(answer(&mut known, &ask(1, 1, Some(1))), Answer::Accepted);
    let nameless = tls::Files { ca: Some(file("ca.pem")), own: None };
    server.arbiter_with(1, None, nameless).probe().expect_err("it wants a certificate");
    // The server's certificate is of an authority that is not believed here.
    let others = tempfile::tempdir().expect("a directory");
    make_certificates(others.path()).expect("openssl is here");
    let other = tls::Files { ca: Some(others.path().join("ca.pem")), own };
    let error = server.arbiter_with(1, None, other).probe().expect_err("not believed");
    assert!(error.to_string().contains("certificate"), "{error}");
    let missing = tls::Files { ca: Some(file("nowhere.pem")), own: None };
    let error = server.arbiter_with(1, None, missing).probe().expect_err("no file");
    assert!(error.to_string().contains("nowhere.pem"), "{error}");
}

#[test]
fn of_several_addresses_the_first_that_takes_a_connection_counts() {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let limit = Duration::from_secs(20);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let somebody = listener.local_addr().expect("an address");
    let stream = runtime.block_on(connect(&[DEAF, somebody], limit)).expect("one listens");
    assert_eq!(stream.peer_addr().expect("it is connected"), somebody);
    let refused = runtime.block_on(connect(&[DEAF], limit)).expect_err("nobody listens");
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    let none = runtime.block_on(connect(&[], limit)).expect_err("there is none");
    assert!(none.to_string().contains("no address"), "{none}");
}
