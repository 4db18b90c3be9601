//! Reading a configuration: any text gives a configuration or findings that can be shown.

/// Parses, and shows what is wrong.
pub fn config_parse(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match mainstay::config::parse(&text, "cluster.toml", 1) {
        Ok((cluster, warnings)) => {
            assert_eq!(cluster.text, text, "the text is kept as it is");
            assert!(!warnings.has_errors());
        }
        Err(findings) => {
            assert!(findings.has_errors(), "a refusal has a reason");
            assert!(!findings.render(false).is_empty());
        }
    }
}
