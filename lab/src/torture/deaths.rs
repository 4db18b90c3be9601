//! Whether a program of the product has ended by a fault of its own.
//!
//! A guard or a daemon that dies is started again, and its death is as good an excuse for others as one that was
//! dealt. So it must not pass unseen: panics are printed, and the guard says how its daemon ended.

/// The signal of the lots, which is no fault of the one it hits.
const KILLED: &str = "was ended by signal 9 ";

/// What of a node's log is a death that nobody dealt.
pub(super) fn in_log(node: &str, log: &str) -> Vec<String> {
    let is_death = |line: &&str| {
        let by_signal =
            line.contains("the daemon (process ") && line.contains("was ended by signal ");
        line.contains("panicked at ") || (by_signal && !line.contains(KILLED))
    };
    log.lines().filter(is_death).map(|line| format!("{node}: {line}")).collect()
}

#[cfg(test)]
mod tests;
