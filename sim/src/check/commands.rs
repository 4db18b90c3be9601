//! Rules about operators' commands.

/// (6) Each command is answered at most once, and nothing else is answered.
pub fn a_command_is_answered_once(request: u64, is_awaited: bool) -> Result<(), String> {
    if is_awaited { Ok(()) } else { Err(format!("an answer to {request}, which nobody awaits")) }
}
