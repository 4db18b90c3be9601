use super::{Console, lines};

#[test]
fn stamps_and_escapes_are_taken_off() {
    let text = "\u{1b}c\u{1b}[?7l\u{1b}[2J[    0.000000] Linux version 6.1\r\n\
        [   12.345678] softdog: Initiating system reboot\r\nplain [1.5] words\r\nhalf a li";
    let lines = lines(text);
    let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(
        texts,
        ["Linux version 6.1", "softdog: Initiating system reboot", "plain [1.5] words"]
    );
    let stamps: Vec<Option<u64>> = lines.iter().map(|line| line.stamp).collect();
    assert_eq!(stamps, [Some(0), Some(12_345_678), None]);
    assert_eq!(lines[1].whole, "[   12.345678] softdog: Initiating system reboot");
}

#[test]
fn what_is_no_stamp_stays() {
    for odd in ["[  1.23] x", "[ 1.2345678] x", "[a.000000] x", "[1.000000]x", "[", ""] {
        let found = lines(&format!("{odd}\n-\n"));
        assert_eq!((found[0].stamp, found[0].text.as_str()), (None, odd));
    }
    let huge = format!("[{}.000000] x", u64::MAX);
    assert_eq!(lines(&format!("{huge}\n"))[0].stamp, None);
}

#[test]
fn lines_are_found_from_a_place_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let console = Console::new(directory.path().join("console"));
    assert_eq!(console.count("boot").expect("nothing yet"), 0);
    std::fs::write(console.path(), "boot 1\r\nother\r\nboot 2\r\nboot").expect("it is written");
    assert_eq!(console.count("boot").expect("it is there"), 2);
    let second = console.find("boot", 1).expect("it is there").expect("found");
    assert_eq!(second.text, "boot 2");
    assert_eq!(console.tail(2), "    | other\n    | boot 2\n");
}
