use super::split;

#[test]
fn answers_are_split_and_checked() {
    let good = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(split(good).expect("a good answer"), (200, &b"{}"[..]));
    let refused = b"HTTP/1.1 409 Conflict\r\n\r\nno";
    assert_eq!(split(refused).expect("a refusal"), (409, &b"no"[..]));
    assert!(split(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}").is_err());
    assert!(split(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n").is_err());
    assert!(split(b"HTTP/1.1 200").is_err());
}
