use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use api::client::Client;
use api::v1;
use base::NodeId;

use super::client::join;
use super::plan::{Plan, plan};
use super::seal::{self, ASK_SIZE_MAX, Channel, Initiator, LENGTH_SIZE, SealError};
use super::token::{Token, TokenError};
use super::wire::{Ask, AskAddress, AskAnswer};
use super::*;
use crate::config::{self, files::Key};
use crate::serve::access::Access;
use crate::serve::tests::FakeCore;
use crate::serve::{self, ServerConfig};
use crate::testing::{DEAF, FreePort};

fn token() -> Token {
    Token {
        cluster: 10,
        addresses: vec![
            "10.77.0.1:7420".parse().expect("valid"),
            "[fd00::1]:7420".parse().expect("valid"),
        ],
        secret: *b"sixteen bytes !!",
    }
}

#[test]
fn base64_is_the_one_of_the_rfc() {
    // RFC 4648, section 10.
    for (plain, text) in [
        ("", ""),
        ("f", "Zg"),
        ("fo", "Zm8"),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg"),
        ("fooba", "Zm9vYmE"),
        ("foobar", "Zm9vYmFy"),
    ] {
        assert_eq!(base64::encode(plain.as_bytes()), text);
        assert_eq!(base64::decode(text).as_deref(), Some(plain.as_bytes()));
    }
    assert_eq!(base64::decode("Zg=="), Some(b"f".to_vec()));
    assert_eq!(base64::decode("+/-_"), Some(vec![0xfb, 0xff, 0xbf]));
    for wrong in ["Z", "Zh", "Zm9v!", "Zg===", "Z g"] {
        assert_eq!(base64::decode(wrong), None, "{wrong}");
    }
}

#[test]
fn a_token_survives_being_copied_and_notices_when_it_does_not() {
    let text = token().text();
    assert_eq!(Token::parse(&format!("  {text}\n")), Ok(token()));
    assert_eq!(Token::parse("hello"), Err(TokenError::NoToken));
    for end in "mainstay-join-".len()..text.len() {
        assert!(Token::parse(&text[..end]).is_err(), "cut at {end}");
    }
    for index in "mainstay-join-".len()..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).expect("letters");
        assert_eq!(Token::parse(&changed), Err(TokenError::Damaged), "changed at {index}");
    }
    assert!(!format!("{:?}", token()).contains("115"), "the secret is shown");
}

/// Both ends of a handshake.
fn handshake() -> (Channel, Channel) {
    let Token { secret, cluster, .. } = token();
    let initiator = Initiator::new(secret, cluster).expect("random numbers");
    let (reply, member) = seal::respond(initiator.hello(), &secret, cluster).expect("usable");
    (initiator.finish(&reply).expect("usable"), member)
}

/// What is behind a frame's length.
fn behind(frame: &[u8]) -> Vec<u8> {
    let length = frame[..LENGTH_SIZE].try_into().expect("four bytes");
    let size = Channel::length(length, ASK_SIZE_MAX).expect("small");
    assert_eq!(size, frame.len() - LENGTH_SIZE);
    frame[LENGTH_SIZE..].to_vec()
}

#[test]
fn both_ends_understand_each_other() {
    let (mut node, mut member) = handshake();
    for number in 0..3 {
        let asked = format!("ask {number}");
        let frame = node.seal(asked.as_bytes());
        assert!(!String::from_utf8_lossy(&frame).contains("ask"));
        assert_eq!(member.open(behind(&frame)), Ok(asked.into_bytes()));
        let frame = member.seal(b"answer");
        assert_eq!(node.open(behind(&frame)), Ok(b"answer".to_vec()));
    }
}

#[test]
fn changed_repeated_and_reflected_frames_are_refused() {
    let (mut node, mut member) = handshake();
    let frame = behind(&node.seal(b"ask"));
    for index in 0..frame.len() {
        let mut changed = frame.clone();
        changed[index] ^= 1;
        assert_eq!(member.open(changed), Err(SealError::Forged));
    }
    assert_eq!(node.open(frame.clone()), Err(SealError::Forged), "reflected");
    assert_eq!(member.open(frame.clone()), Ok(b"ask".to_vec()));
    assert_eq!(member.open(frame), Err(SealError::Forged), "repeated");
    assert_eq!(Channel::length([0xff; 4], ASK_SIZE_MAX), Err(SealError::TooLarge));
}

#[test]
fn another_secret_cluster_or_handshake_does_not_open() {
    let Token { secret, cluster, .. } = token();
    let other = *b"another secret !";
    for (theirs, their_cluster) in [(other, cluster), (secret, cluster + 1)] {
        let initiator = Initiator::new(secret, cluster).expect("random numbers");
        let (reply, mut member) =
            seal::respond(initiator.hello(), &theirs, their_cluster).expect("usable");
        let mut node = initiator.finish(&reply).expect("it can not know yet");
        assert_eq!(member.open(behind(&node.seal(b"ask"))), Err(SealError::Forged));
        assert_eq!(node.open(behind(&member.seal(b"answer"))), Err(SealError::Forged));
    }
    // Keys of every connection are new, although the token is the same.
    let (mut node, _) = handshake();
    let (_, mut member) = handshake();
    assert_eq!(member.open(behind(&node.seal(b"ask"))), Err(SealError::Forged));
}

#[test]
fn a_handshake_with_something_else_is_refused() {
    let Token { secret, cluster, .. } = token();
    let start = || Initiator::new(secret, cluster).expect("random numbers");
    let refused = |reply: &[u8]| start().finish(reply).err();
    assert_eq!(refused(b""), Some(SealError::Protocol));
    assert_eq!(refused(b"HTTP/1.1 400 Bad Request"), Some(SealError::Protocol));
    assert_eq!(refused(&seal::reply_unknown()), Some(SealError::UnknownToken));
    // The point zero: the shared secret would not depend on anybody's key.
    assert_eq!(refused(&[&b"MSJ1\0"[..], &[0; 32]].concat()), Some(SealError::Protocol));
    assert!(seal::hello_token(&[0; seal::HELLO_SIZE]).is_err());
}

const CONFIG: &str = r#"
[cluster]
name = "demo"
id = 10
port = PORT

[[node]]
name = "n1"
id = 1

[[network]]
name = "net0"
nodes = { n1 = "127.0.0.1/8" }
[[network]]
name = "net1"
nodes = { n1 = "10.78.0.1/24" }
"#;

fn ask(node: &str, addresses: &[(Option<&str>, &str)]) -> Ask {
    let address = |(network, address): &(Option<&str>, &str)| AskAddress {
        network: network.map(str::to_owned),
        address: (*address).to_owned(),
    };
    Ask {
        node: node.into(),
        addresses: addresses.iter().map(address).collect(),
        program: "test".into(),
    }
}

#[test]
fn what_a_new_node_changes() {
    let text = CONFIG.replace("PORT", "7420");
    let (cluster, _) = config::parse(&text, "test", 4).expect("it is good");
    let asked = ask("n2", &[(None, "127.0.0.2/8"), (Some("net1"), "10.78.0.2/24")]);
    let Ok(Plan::Change { cluster: changed, id }) = plan(&cluster, &asked) else {
        panic!("{:?}", plan(&cluster, &asked))
    };
    assert_eq!((id, changed.version, changed.node("n2")), (NodeId(2), 5, Some(NodeId(2))));
    assert!(changed.networks.iter().all(|network| network.endpoints.contains_key(&id)));
    // The same again, as after a connection that broke too late.
    assert_eq!(plan(&changed, &asked), Ok(Plan::AlreadyThere { id }));

    for (asked, said) in [
        (ask("n2", &[]), "no address is given"),
        (ask("n2", &[(None, "10.99.0.2/24")]), "in no network"),
        (ask("n2", &[(None, "10.78.0.2")]), "no prefix length"),
        (ask("n2", &[(Some("net7"), "10.78.0.2/24")]), "no network net7"),
        (ask("n2", &[(None, "10.78.0.2/24"), (None, "10.78.0.3/24")]), "two addresses"),
        (ask("n2", &[(None, "10.78.0.1/24")]), "belongs to node n1 already"),
        (ask("n1", &[(None, "10.78.0.2/24")]), "with other addresses"),
        (ask("n 2", &[(None, "10.78.0.2/24")]), "no name for a node"),
    ] {
        let error = plan(&cluster, &asked).expect_err(said);
        assert!(error.message.contains(said), "{} is not {said}", error.message);
    }
}

struct Member {
    core: FakeCore,
    client: Client,
    _server: serve::Server,
    _directory: tempfile::TempDir,
    _port: FreePort,
}

/// A member that really listens, on a port that nobody has.
fn member() -> Member {
    member_with(CONFIG)
}

fn member_with(config: &str) -> Member {
    let port = FreePort::new();
    let directory = tempfile::tempdir().expect("temporary files can be written");
    let socket = directory.path().join("api.sock");
    let (core, handle, _inbox) =
        FakeCore::start(&config.replace("PORT", &port.number().to_string()));
    let config = ServerConfig {
        socket: socket.clone(),
        node: "n1".into(),
        key: Key([9; 32]),
        access: Access::new(rustix::process::geteuid().as_raw(), None),
    };
    let server = serve::start(config, handle).expect("nobody listens there");
    Member {
        core,
        client: Client::new(socket),
        _server: server,
        _directory: directory,
        _port: port,
    }
}

impl Member {
    fn token(&self) -> Token {
        let request = v1::TokenRequest::default();
        let reply: v1::TokenReply =
            self.client.post("/v1/token", &request).expect("it is a member");
        Token::parse(&reply.token).expect("it is a token")
    }
}

#[test]
fn a_machine_joins_once_with_its_token() {
    let member = member();
    // As long as there is another token the member listens, however slow this machine is.
    let (token, other) = (member.token(), member.token());
    let asked = ask("n2", &[(None, "127.0.0.2/8"), (None, "10.78.0.2/24")]);
    let joined = join(&token, &asked).expect("the token is good");
    assert_eq!((joined.node_id, joined.key), (2, Key([9; 32])));
    let (cluster, _) = config::parse(&joined.text, "test", 2).expect("it is good");
    assert_eq!(cluster, *member.core.cluster.lock().expect("no panic"));
    assert_eq!(cluster.node("n2"), Some(NodeId(2)));

    let again = join(&token, &asked).expect_err("it is used up");
    assert!(again.message.contains("does not know this token"), "{again}");
    let repeated = join(&other, &asked).expect("an earlier join was cut short");
    assert_eq!(repeated.node_id, 2);
}

/// Also when there are more of them than machines may join at one time.
#[test]
fn each_address_takes_a_connection() {
    let network = |number| {
        format!(
            "[[network]]\nname = \"more{number}\"\nnodes = {{ n1 = \"127.1.{number}.1/24\" }}\n"
        )
    };
    let more: String = (0..10).map(network).collect();
    let member = member_with(&format!("{CONFIG}{more}"));
    let token = member.token();
    let last = *token.addresses.last().expect("there are some");
    assert_eq!((token.addresses.len(), last.ip().to_string().as_str()), (12, "127.1.9.1"));
    let token = Token { addresses: vec![last], ..token };
    join(&token, &ask("n2", &[(None, "127.0.0.2/8")])).expect("it is taken");
}

/// With its last token the port is closed; the next token opens it again.
#[test]
fn the_port_is_open_while_a_token_is_outstanding() {
    let member = member();
    for node in ["n2", "n3"] {
        let token = member.token();
        let address = token.addresses[0];
        TcpStream::connect(address).expect("it listens");
        let number = node.trim_start_matches('n');
        let asked = ask(node, &[(None, format!("127.0.0.{number}/8").as_str())]);
        join(&token, &asked).expect("the token is good");
        let start = os::clock::boottime();
        while TcpStream::connect(address).is_ok() {
            let waited = os::clock::boottime().since(start);
            assert!(waited < Duration::from_secs(30), "open after {waited:?}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_refused_machine_may_try_again_with_the_same_token() {
    let member = member();
    let token = member.token();
    let refused = join(&token, &ask("n2", &[(None, "10.99.0.2/24")])).expect_err("no such network");
    assert!(refused.message.contains("in no network"), "{refused}");
    assert!(refused.help.is_some());
    join(&token, &ask("n2", &[(None, "127.0.0.2/8")])).expect("now it is right");
}

#[test]
fn strangers_get_nothing_and_stop_nobody() {
    let member = member();
    let token = member.token();
    let address: SocketAddr = token.addresses[0];
    // One that says nothing, one that says nonsense, one with a token of its own.
    let _silent = TcpStream::connect(address).expect("it listens");
    let mut nonsense = TcpStream::connect(address).expect("it listens");
    nonsense.write_all(&[0x55; 200]).expect("it is small");
    let forged = Token { secret: [0; 16], ..token.clone() };
    let error = join(&forged, &ask("n3", &[(None, "127.0.0.3/8")])).expect_err("a made-up token");
    assert!(error.message.contains("does not know this token"), "{error}");
    join(&token, &ask("n2", &[(None, "127.0.0.2/8")])).expect("the right one still works");
}

#[test]
fn where_nobody_listens_the_answer_says_what_to_look_at() {
    let token = Token { addresses: vec![DEAF], ..token() };
    let error = join(&token, &ask("n2", &[])).expect_err("nobody is there");
    assert!(error.message.contains(&format!("{DEAF}: ")), "{error}");
    assert!(error.help.expect("there is advice").contains("firewall"));
}

#[test]
fn answers_are_not_shown_with_their_key() {
    let answer = AskAnswer::Accept { node_id: 2, key: "secret".into(), text: String::new() };
    assert!(!format!("{answer:?}").contains("secret"));
}
