//! The commands of other products, on the same API: for scripts and fingers that know them.
//!
//! The program is called by such a name (a link to it), or as `mainstay face NAME …`. A face speaks
//! to the daemon of the root that `MAINSTAY_ROOT` names, like everything else. Output is theirs to the
//! letter; what a face does not know it refuses by name, with the exit code of its product.

mod lkcli;
mod llt;
mod serviceguard;

use std::path::Path;
use std::process::ExitCode;

use crate::config::files::Root;

/// A command of another product.
pub(crate) struct Face {
    name: &'static str,
    run: fn(&Root, &[String]) -> ExitCode,
}

const FACES: &[Face] = &[
    Face { name: "cmmodnet", run: serviceguard::cmmodnet },
    Face { name: "cmviewcl", run: serviceguard::cmviewcl },
    Face { name: "lkcli", run: lkcli::main },
    Face { name: "lltconfig", run: llt::lltconfig },
    Face { name: "lltstat", run: llt::lltstat },
];

impl Face {
    /// The face of that name.
    pub(crate) fn named(name: &str) -> Option<&'static Face> {
        FACES.iter().find(|face| face.name == name)
    }

    /// Speaks to the daemon below this root.
    pub(crate) fn run(&self, root: &Root, words: &[String]) -> ExitCode {
        (self.run)(root, words)
    }
}

/// All names.
pub(crate) fn names() -> Vec<&'static str> {
    FACES.iter().map(|face| face.name).collect()
}

/// The face that this process was called as, with its words.
pub(crate) fn called() -> Option<(&'static Face, Vec<String>)> {
    let mut arguments = std::env::args_os();
    let called = arguments.next()?;
    let name = Path::new(&called).file_name()?.to_string_lossy().into_owned();
    let words = arguments.map(|word| word.to_string_lossy().into_owned());
    Some((Face::named(&name)?, words.collect()))
}
