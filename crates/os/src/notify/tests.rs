use super::*;

#[test]
fn init_hears_lines_at_a_path_and_at_an_abstract_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let listener = UnixDatagram::bind(&path).unwrap();
    let init = Init::at(Some(path.into())).unwrap();
    assert!(init.tell("READY=1\nSTATUS=fed"));
    let mut bytes = [0; 64];
    let length = listener.recv(&mut bytes).unwrap();
    assert_eq!(&bytes[..length], b"READY=1\nSTATUS=fed");
    drop(listener);
    assert!(!init.tell("STOPPING=1"), "nobody is there any more");

    let name = format!("mainstay-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
    let listener = UnixDatagram::bind_addr(&address).unwrap();
    let init = Init::at(Some(format!("@{name}").into())).unwrap();
    assert!(init.tell("STOPPING=1"));
    let length = listener.recv(&mut bytes).unwrap();
    assert_eq!(&bytes[..length], b"STOPPING=1");
}

#[test]
fn without_init_nobody_is_told_and_nothing_fails() {
    assert!(Init::at(None).unwrap().tell("READY=1"));
    assert!(Init::at(Some("".into())).unwrap().tell("READY=1"));
    let absent = Init::at(Some("/nowhere/notify".into()));
    assert_eq!(absent.expect_err("nobody").kind(), io::ErrorKind::NotFound);
}
