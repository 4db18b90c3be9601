//! Just enough of Rust's grammar to tell code from comments and texts.

/// A source file in two layers of equal shape: what belongs to the other layer is blanks, so lines
/// and columns stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layers {
    /// Code without comments; of text literals only the quotes.
    pub code: String,
    /// Comments with their slashes.
    pub comments: String,
}

/// Splits Rust source.
#[must_use]
pub fn layers(text: &str) -> Layers {
    let chars: Vec<char> = text.chars().collect();
    let mut layers = Layers { code: String::new(), comments: String::new() };
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        let previous = at.checked_sub(1).map(|at| chars[at]);
        let in_word = previous.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let (length, kind) = match rest {
            ['/', '/', ..] => (line_comment(rest), Kind::Comment),
            ['/', '*', ..] => (block_comment(rest), Kind::Comment),
            ['"', ..] => (1 + text_end(&rest[1..]), Kind::Text),
            ['r' | 'b' | 'c', ..] if !in_word => match prefixed(rest) {
                Some(length) => (length, Kind::Text),
                None => (1, Kind::Code),
            },
            ['\'', ..] => match character(rest) {
                Some(length) => (length, Kind::Text),
                None => (1, Kind::Code),
            },
            _ => (1, Kind::Code),
        };
        for (n, c) in rest[..length].iter().copied().enumerate() {
            let blank = if c == '\n' { '\n' } else { ' ' };
            let is_end = n == 0 || n + 1 == length;
            layers.code.push(match kind {
                Kind::Code => c,
                Kind::Text if is_end => c,
                Kind::Text | Kind::Comment => blank,
            });
            layers.comments.push(if kind == Kind::Comment { c } else { blank });
        }
        at += length;
    }
    layers
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Text,
    Comment,
}

fn line_comment(rest: &[char]) -> usize {
    rest.iter().position(|c| *c == '\n').unwrap_or(rest.len())
}

/// Block comments nest.
fn block_comment(rest: &[char]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => {
                depth += 1;
                at += 2;
            }
            ['*', '/', ..] => {
                depth -= 1;
                at += 2;
            }
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(rest.len())
}

/// After the opening quote: how many characters to the closing one, with it.
fn text_end(rest: &[char]) -> usize {
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `r"…"`, `r#"…"#`, `b"…"`, `br#"…"#`, `c"…"`, `b'…'`.
fn prefixed(rest: &[char]) -> Option<usize> {
    let letters = rest.iter().take_while(|c| matches!(c, 'r' | 'b' | 'c')).count();
    if letters > 2 {
        return None;
    }
    let is_raw = rest[letters - 1] == 'r';
    let hashes = rest[letters..].iter().take_while(|c| **c == '#').count();
    let start = letters + hashes;
    match rest.get(start)? {
        '"' if is_raw => {
            let mut at = start + 1;
            while at < rest.len() {
                let closing = rest[at + 1..].iter().take_while(|c| **c == '#').count();
                if rest[at] == '"' && closing >= hashes {
                    return Some(at + 1 + hashes);
                }
                at += 1;
            }
            Some(rest.len())
        }
        '"' if hashes == 0 => Some(start + 1 + text_end(&rest[start + 1..])),
        '\'' if hashes == 0 && rest[0] == 'b' => character(&rest[1..]).map(|length| length + 1),
        _ => None,
    }
}

/// A character literal, or none for a lifetime.
fn character(rest: &[char]) -> Option<usize> {
    match rest {
        ['\'', '\\', ..] => {
            let end = rest[3..].iter().position(|c| *c == '\'')?;
            Some(3 + end + 1)
        }
        ['\'', _, '\'', ..] => Some(3),
        _ => None,
    }
}

/// The parts of an identifier: `NodeId`, `node_id` and `NODE_ID` are node and id.
#[must_use]
pub fn parts(identifier: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut after_lower = false;
    for c in identifier.chars() {
        if c == '_' || (c.is_uppercase() && after_lower) {
            parts.push(String::new());
        }
        if c != '_' {
            parts.last_mut().expect("never empty").extend(c.to_lowercase());
        }
        after_lower = c.is_lowercase() || c.is_numeric();
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// The identifiers and keywords of a line of code.
pub fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}
