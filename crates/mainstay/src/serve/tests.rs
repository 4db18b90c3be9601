use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use api::client::{Client, ClientError};
use api::openapi::{self, Method};
use api::v1;
use os::credential::Credentials;

use super::access::{Access, Role};
use super::*;
use crate::config::{self, Cluster, checksum_text, files::Key};

/// A loop that keeps a configuration, takes every command and writes down what it was asked.
#[derive(Clone)]
pub(crate) struct FakeCore {
    pub(crate) cluster: Arc<Mutex<Cluster>>,
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
    /// Whether it is in a primary view.
    pub(crate) primary: Arc<AtomicBool>,
}

impl FakeCore {
    /// Starts it on a thread that ends with the last handle.
    pub(crate) fn start(text: &str) -> (FakeCore, Handle, Arc<Mutex<Inbox>>) {
        let Ok((cluster, _)) = config::parse(text, "test", 1) else { panic!("{text}") };
        let core = FakeCore {
            cluster: Arc::new(Mutex::new(cluster)),
            asked: Arc::new(Mutex::new(Vec::new())),
            primary: Arc::new(AtomicBool::new(true)),
        };
        let (wake, woken) = std::sync::mpsc::channel();
        let (handle, inbox) = channel(move || wake.send(()).expect("the loop lives"));
        let inbox = Arc::new(Mutex::new(inbox));
        let (running, calls) = (core.clone(), inbox.clone());
        std::thread::spawn(move || {
            while woken.recv().is_ok() {
                while let Some(call) = { calls.lock().expect("no panic").next() } {
                    let answer = running.answer(call.request);
                    call.answer.send(answer);
                }
            }
        });
        (core, handle, inbox)
    }

    fn answer(&self, request: Request) -> Result<Reply, v1::Error> {
        self.asked.lock().expect("no panic").push(format!("{request:?}"));
        let mut cluster = self.cluster.lock().expect("no panic");
        Ok(match request {
            Request::Status => {
                Reply::Status(Box::new(status(&cluster, self.primary.load(Ordering::Relaxed))))
            }
            Request::Bound => Reply::Bound(v1::Bound::default()),
            Request::Gate => Reply::Gate(v1::Gate::default()),
            Request::Networks => Reply::Networks(v1::Networks::default()),
            Request::Watchdog => Reply::Watchdog(v1::Watchdog::default()),
            Request::Fencing => Reply::Fencing(v1::Fencing::default()),
            Request::FenceHistory => Reply::FenceHistory(v1::FenceHistory::default()),
            Request::FenceVerify(_) => Reply::FenceVerification(v1::FenceVerification::default()),
            Request::Why { service } => Reply::Notes(v1::Notes {
                schema: 1,
                service,
                notes: Vec::new(),
                addresses: Vec::new(),
            }),
            Request::History { .. } => Reply::Events(v1::Events {
                schema: 1,
                events: vec![event(1), event(2)],
                forgotten: 0,
            }),
            Request::Config => Reply::Config(v1::ConfigShow {
                schema: 1,
                version: cluster.version,
                checksum: checksum_text(cluster.checksum),
                text: cluster.text.clone(),
            }),
            Request::Check { cluster } => Reply::Checked(checked(&cluster)),
            Request::Configure { cluster: new, expected_version, .. } => {
                if expected_version.is_some_and(|expected| expected != cluster.version) {
                    return Err(v1::Error::new(v1::ErrorCode::Conflict, "another version"));
                }
                *cluster = *new;
                Reply::Done(v1::CommandReply::new("the configuration is in force"))
            }
            Request::PathTest(_) => {
                Reply::PathTests(v1::PathTests { schema: 1, tests: Vec::new() })
            }
            Request::Service { name, .. } if name != "web" => {
                return Err(v1::Error::new(v1::ErrorCode::NotFound, "no such service"));
            }
            _ => Reply::Done(v1::CommandReply::new("it is done")),
        })
    }
}

/// The first node has an objection, the second one is not there.
fn checked(cluster: &Cluster) -> v1::ConfigCheck {
    let mut found = crate::config::Diagnostics::new("the new configuration", &cluster.text);
    found.warning(0..9, "n1 has something against it").help("change it");
    let node = |node: &str, trouble: Option<&str>| v1::ConfigCheckNode {
        node: node.into(),
        trouble: trouble.map(str::to_owned),
    };
    let nodes = vec![node("n1", None), node("n2", Some("it cannot be reached"))];
    v1::ConfigCheck { schema: 1, diagnostics: found.report().diagnostics, nodes }
}

fn event(id: u64) -> v1::Event {
    v1::Event { id, code: "test".into(), ..v1::Event::default() }
}

fn status(cluster: &Cluster, primary: bool) -> v1::Status {
    v1::Status {
        schema: 1,
        verdict: v1::Verdict::Ok,
        reasons: Vec::new(),
        cluster: v1::Cluster { name: cluster.name.clone(), ..v1::Cluster::default() },
        node: v1::LocalNode { name: "n1".into(), ..v1::LocalNode::default() },
        leaving: None,
        view: v1::View { members: vec!["n1".into()], primary, ..v1::View::default() },
        nodes: Vec::new(),
        paths: Vec::new(),
        services: Vec::new(),
        addresses: Vec::new(),
        warnings: Vec::new(),
        health: v1::Health::default(),
        counters: Vec::new(),
    }
}

const CONFIG: &str = "[cluster]\nname = \"demo\"\nid = 10\n[[node]]\nname = \"n1\"\nid = 1\n\
    [[node]]\nname = \"n2\"\nid = 2\n";

struct Running {
    core: FakeCore,
    inbox: Arc<Mutex<Inbox>>,
    client: Client,
    _server: Server,
    _directory: tempfile::TempDir,
}

fn running(access: Access) -> Running {
    let directory = tempfile::tempdir().expect("temporary files can be written");
    let socket = directory.path().join("run/mainstay/api.sock");
    let (core, handle, inbox) = FakeCore::start(CONFIG);
    let config =
        ServerConfig { socket: socket.clone(), node: "n1".into(), key: Key([1; 32]), access };
    let server = start(config, handle).expect("nobody else listens there");
    Running { core, inbox, client: Client::new(socket), _server: server, _directory: directory }
}

/// Everybody who is not root: the tests run as somebody.
fn all_but_this_user() -> Access {
    Access::new(rustix::process::geteuid().as_raw(), None)
}

#[test]
fn every_request_of_the_document_is_answered() {
    let running = running(all_but_this_user());
    for endpoint in openapi::ENDPOINTS {
        let verb = match endpoint.path {
            path if path.contains("nodes") => "standby",
            path if path.contains("interfaces") => "disable",
            path if path.contains("networks") => "rebalance",
            path if path.contains("fence") => "off",
            _ => "start",
        };
        let name = if endpoint.path.contains("nodes") { "n2" } else { "web" };
        let path = endpoint.path.replace("{name}", name).replace("{verb}", verb);
        match (endpoint.method, endpoint.path) {
            (_, "/v1/events") => {}
            // This node has no address in a network, so it can make no token, and says so.
            (_, "/v1/token") => {
                let token = v1::TokenRequest::default();
                let error = running.client.post::<v1::TokenReply>(&path, &token);
                let error = error.expect_err("it has no address").to_string();
                assert!(error.contains("no address that"), "{error}");
            }
            (Method::Post, "/v1/config") => {
                let request = v1::ConfigureRequest { text: CONFIG.into(), expected_version: None };
                let reply: v1::CommandReply = running.client.post(&path, &request).expect(&path);
                assert_eq!(
                    reply.warnings,
                    [
                        "n1 has something against it (line 1); change it",
                        "n2 did not check it: it cannot be reached"
                    ]
                );
            }
            (Method::Post, "/v1/config/check") => {
                let request = v1::ConfigureRequest { text: CONFIG.into(), expected_version: None };
                let said = running.client.post::<v1::ConfigCheck>(&path, &request).expect(&path);
                assert_eq!(said.nodes.len(), 2);
            }
            (Method::Post, "/v1/paths/test") => {
                let request = v1::PathTestRequest::default();
                running.client.post::<v1::PathTests>(&path, &request).expect(&path);
            }
            (Method::Post, "/v1/fence/verify") => {
                let request = v1::FenceVerifyRequest::default();
                running.client.post::<v1::FenceVerification>(&path, &request).expect(&path);
            }
            (Method::Post, _) => {
                let empty = BTreeMap::<String, String>::new();
                running.client.post::<v1::CommandReply>(&path, &empty).expect(&path);
            }
            (Method::Get, _) => {
                running.client.get::<serde_json::Value>(&path).expect(&path);
            }
        }
    }
    let status = running.client.status().expect("it is answered");
    assert_eq!(status.cluster.name, "demo");
    let asked = running.core.asked.lock().expect("no panic").join("\n");
    for expected in ["Service { name: \"web\", verb: Start", "act: Standby", "Seed(", "Leave("] {
        assert!(asked.contains(expected), "{expected} is not in\n{asked}");
    }
}

#[test]
fn a_refusal_of_the_loop_reaches_the_client() {
    let running = running(all_but_this_user());
    let request = v1::CommandRequest::default();
    for (path, code) in [
        ("/v1/services/nfs/start", v1::ErrorCode::NotFound),
        ("/v1/services/web/dance", v1::ErrorCode::NotFound),
        ("/v1/nowhere", v1::ErrorCode::NotFound),
        ("/v1/status", v1::ErrorCode::BadRequest),
    ] {
        let error = running.client.post::<v1::CommandReply>(path, &request);
        let Err(ClientError::Refused(error)) = error else { panic!("{path}: {error:?}") };
        assert_eq!(error.code, code, "{path}");
    }
}

#[test]
fn a_broken_configuration_is_refused_with_its_place() {
    let running = running(all_but_this_user());
    let text = CONFIG.replace("id = 10", "id = 0");
    let request = v1::ConfigureRequest { text, expected_version: Some(1) };
    let error = running.client.post::<v1::CommandReply>("/v1/config", &request);
    let Err(ClientError::Refused(error)) = error else { panic!("{error:?}") };
    assert_eq!(error.code, v1::ErrorCode::Conflict);
    assert!(error.message.contains("configuration:3:6"), "{}", error.message);

    let request = v1::ConfigureRequest { text: CONFIG.into(), expected_version: Some(7) };
    let error = running.client.post::<v1::CommandReply>("/v1/config", &request);
    assert!(error.expect_err("another version is in force").to_string().contains("version"));
}

#[test]
fn a_node_is_removed_by_a_change_of_the_configuration() {
    let running = running(all_but_this_user());
    let request =
        v1::CommandRequest { reason: Some("sold".into()), ..v1::CommandRequest::default() };
    let remove = |name: &str| {
        running.client.post::<v1::CommandReply>(&format!("/v1/nodes/{name}/remove"), &request)
    };
    remove("n2").expect("n2 is absent");
    let cluster = running.core.cluster.lock().expect("no panic").clone();
    assert_eq!((cluster.nodes.len(), cluster.version), (1, 2));
    let asked = running.core.asked.lock().expect("no panic").join(" ");
    assert!(asked.contains("node remove n2") && asked.contains("sold"), "{asked}");

    let error = remove("n1").expect_err("n1 is a member").to_string();
    assert!(error.contains("member of the view"), "{error}");
    let Err(ClientError::Refused(error)) = remove("n2") else { panic!("n2 was removed before") };
    assert_eq!(error.code, v1::ErrorCode::NotFound);
    assert!(error.help.is_some_and(|help| help.contains("n1")));
}

#[test]
fn a_node_that_is_cut_off_says_so_instead_of_waiting() {
    let running = running(all_but_this_user());
    running.core.primary.store(false, Ordering::Relaxed);
    let request = v1::CommandRequest::default();
    let error = running.client.post::<v1::CommandReply>("/v1/services/web/start", &request);
    let Err(ClientError::Refused(error)) = error else { panic!("{error:?}") };
    assert_eq!(error.code, v1::ErrorCode::NotPrimary);
    assert!(!running.core.asked.lock().expect("no panic").join(" ").contains("Service"));
    // Forming a view is for nodes that have none.
    let seed = v1::SeedRequest::default();
    running.client.post::<v1::CommandReply>("/v1/seed", &seed).expect("it is for such nodes");
}

/// Roles are a pure function of the kernel's words.
#[test]
fn who_may_change_things() {
    let caller =
        |user, group, groups: &[u32]| Credentials { pid: 1, user, group, groups: groups.to_vec() };
    let access = Access::new(500, Some(77));
    for (credentials, role) in [
        (caller(0, 0, &[]), Role::Change),
        (caller(500, 1, &[]), Role::Change),
        (caller(501, 77, &[]), Role::Change),
        (caller(501, 1, &[5, 77]), Role::Change),
        (caller(501, 1, &[5]), Role::Look),
    ] {
        assert_eq!(access.role(&credentials), role, "{credentials:?}");
    }
    assert_eq!(Access::new(500, None).role(&caller(501, 77, &[77])), Role::Look);
}

#[test]
fn whoever_may_only_look_changes_nothing() {
    // Root may always change things: this can be seen as another user only.
    let user = rustix::process::geteuid().as_raw();
    let running = running(Access::new(user + 1, None));
    running.client.status().expect("anybody may look");
    let request = v1::CommandRequest::default();
    let answer = running.client.post::<v1::CommandReply>("/v1/services/web/start", &request);
    if user == 0 {
        answer.expect("root may");
    } else {
        let Err(ClientError::Refused(error)) = answer else { panic!("{answer:?}") };
        assert_eq!(error.code, v1::ErrorCode::NotPermitted);
        assert!(!running.core.asked.lock().expect("no panic").join(" ").contains("Service"));
    }
}

#[test]
fn events_are_followed_from_a_number_on() {
    let running = running(all_but_this_user());
    let mut seen = Vec::new();
    let inbox = running.inbox.clone();
    running
        .client
        .follow(Some(1), |event| {
            seen.push(event.id);
            // The stream was opened: what is published now comes behind what is past. Number 2 is
            // published again, and must not come twice.
            if event.id == 2 {
                let inbox = inbox.lock().expect("no panic");
                inbox.publish(event.clone());
                inbox.publish(super::tests::event(3));
            }
            if event.id == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .expect("it is followed");
    assert_eq!(seen, [2, 3]);
}

#[test]
fn requests_beyond_the_limits_are_refused() {
    let running = running(all_but_this_user());
    let text = "#".repeat(3 << 20);
    let request = v1::ConfigureRequest { text, expected_version: None };
    let error = running.client.post::<v1::CommandReply>("/v1/config", &request);
    match error.expect_err("it is too large") {
        ClientError::Refused(error) => assert_eq!(error.code, v1::ErrorCode::TooLarge),
        // The server may close while the client still sends.
        ClientError::Broken { .. } => {}
        other => panic!("{other}"),
    }
    let mut stream = UnixStream::connect(running.client.socket()).expect("it listens");
    let header = format!("GET /v1/status HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(64 << 10));
    // The server may close before it has read everything.
    let _closed = stream.write_all(header.as_bytes());
    let mut answer = String::new();
    let _closed = stream.read_to_string(&mut answer);
    assert!(!answer.contains(" 200 "), "{answer}");
    running.client.status().expect("it still answers");
}

#[test]
fn a_full_queue_says_busy() {
    let (handle, mut inbox) = channel(|| ());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(async {
        let caller = Caller { user: 0, process: 1 };
        let mut waiting = Vec::new();
        for _ in 0..CALLS_MAX {
            let handle = handle.clone();
            let call = async move { handle.request(Request::Status, caller).await };
            waiting.push(tokio::spawn(call));
        }
        // All of them are in the queue when each had a turn.
        for _ in 0..CALLS_MAX {
            tokio::task::yield_now().await;
        }
        let error = handle.request(Request::Status, caller).await.expect_err("it is full");
        assert_eq!(error.code, v1::ErrorCode::Busy);
        // A dropped answer is an answer too.
        drop(inbox.next().expect("calls wait").answer);
        let first = waiting.remove(0).await.expect("no panic");
        assert_eq!(first.expect_err("it was dropped").code, v1::ErrorCode::TimedOut);
        drop(inbox);
    });
}

#[test]
fn a_live_daemons_socket_is_never_taken_and_a_dead_ones_is() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("temporary files can be written");
    let path = directory.path().join("run/api.sock");
    std::fs::create_dir_all(path.parent().expect("it has one")).expect("writable");
    // Left behind by a dead daemon.
    drop(UnixListener::bind(&path).expect("it is new"));
    let (_listener, bound) = socket::bind(&path).expect("nobody holds it");
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
    UnixStream::connect(&path).expect("it is ours now");
    let error = socket::bind(&path).expect_err("it is in use");
    assert!(matches!(error, SocketError::InUse(_)), "{error}");
    UnixStream::connect(&path).expect("and still there");
    drop(bound);
    assert!(!path.exists());
}

#[test]
fn a_root_with_a_long_name_can_be_reached() {
    let directory = tempfile::tempdir().expect("temporary files can be written");
    let path = directory.path().join("x".repeat(120)).join("api.sock");
    let (_core, handle, _inbox) = FakeCore::start(CONFIG);
    let config = ServerConfig {
        socket: path.clone(),
        node: "n1".into(),
        key: Key([1; 32]),
        access: all_but_this_user(),
    };
    let _server = start(config, handle).expect("long names are possible");
    Client::new(path).status().expect("for clients too");
}
