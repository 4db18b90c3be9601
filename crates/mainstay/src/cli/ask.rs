//! What a command asks the person at the terminal before it does something that cannot be taken back.

use std::io::{BufRead, IsTerminal, Read};

use super::Failure;

/// Bytes of a typed answer that are read.
const ANSWER_SIZE_MAX: u64 = 4096;

/// One line from standard input; the question is for a person only.
///
/// # Errors
/// When it cannot be read.
pub(super) fn line(question: &str) -> Result<String, Failure> {
    if std::io::stdin().is_terminal() {
        eprint!("{question}");
    }
    let mut line = String::new();
    let read = std::io::stdin().lock().take(ANSWER_SIZE_MAX).read_line(&mut line);
    read.map_err(|error| Failure::other(format!("cannot read the answer: {error}")))?;
    Ok(line.trim().to_owned())
}

/// Goes on for whoever writes the name twice: once more here, or with `--confirm`.
///
/// # Errors
/// When that is another name, which is said with the command that would do it.
pub(super) fn name_again(
    name: &str,
    given: Option<&str>,
    consequence: &str,
    command: &str,
) -> Result<(), Failure> {
    let typed = match given {
        Some(given) => given.to_owned(),
        None => line(&format!("{consequence}. Its name once more: "))?,
    };
    match typed == name {
        true => Ok(()),
        false => Err(Failure::usage(
            format!("\"{typed}\" is not {name}: nothing was done"),
            format!("{command} --confirm {name}"),
        )),
    }
}
