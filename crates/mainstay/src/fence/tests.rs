//! What is secret, and what is shown of it.

use super::*;

#[test]
fn secrets_are_hidden_and_their_places_are_not() {
    for secret in ["password", "passwd", "snmp_priv_passwd", "community", "api_key", "token"] {
        assert!(is_secret(secret), "{secret}");
    }
    for plain in ["ip", "username", "password_file", "password_script", "port", "plug"] {
        assert!(!is_secret(plain), "{plain}");
    }
    let options = BTreeMap::from([
        ("ip".to_owned(), "10.0.0.9".to_owned()),
        ("password".to_owned(), "hunter2".to_owned()),
    ]);
    assert_eq!(shown(&options)["password"], HIDDEN);
    assert_eq!(shown(&options)["ip"], "10.0.0.9");
}
