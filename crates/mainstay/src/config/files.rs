//! The files below the root directory: where they are, and how they are read and first written.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Cluster, TEXT_SIZE_MAX, read};

/// Bytes of a key file that are read; a longer one is not a key.
const KEY_FILE_SIZE_MAX: u64 = 1_024;

/// The directory below which everything of one node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Root {
    /// The node below `directory`; `/` for the machine's own.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Root {
        Root(directory.into())
    }

    /// The directory itself.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// `etc/mainstay`
    #[must_use]
    pub fn configuration(&self) -> PathBuf {
        self.0.join("etc/mainstay")
    }

    /// `etc/mainstay/cluster.toml`: the configuration.
    #[must_use]
    pub fn cluster(&self) -> PathBuf {
        self.configuration().join("cluster.toml")
    }

    /// `etc/mainstay/paths.toml`: paths that this node alone defines.
    #[must_use]
    pub fn paths(&self) -> PathBuf {
        self.configuration().join("paths.toml")
    }

    /// `etc/mainstay/key`: the cluster key.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.configuration().join("key")
    }

    /// `etc/mainstay/node`: the name of this node.
    #[must_use]
    pub fn node(&self) -> PathBuf {
        self.configuration().join("node")
    }

    /// `var/lib/mainstay`: what must survive a restart.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.0.join("var/lib/mainstay")
    }

    /// `run/mainstay`: what must not.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.0.join("run/mainstay")
    }

    /// `run/mainstay/api.sock`: where the daemon listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.run().join("api.sock")
    }
}

/// Why a file can not be used, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FileError {
    /// What is wrong, with the file's name.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl FileError {
    fn new(message: impl Into<String>, help: impl Into<String>) -> FileError {
        FileError { message: message.into(), help: help.into() }
    }

    fn io(path: &Path, doing: &str, error: &io::Error, help: &str) -> FileError {
        FileError::new(format!("can not {doing} {}: {error}", path.display()), help)
    }
}

/// The cluster's shared secret: 32 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(pub [u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    /// A new one from the kernel's random numbers.
    ///
    /// # Errors
    /// When the kernel has none.
    pub fn random() -> Result<Key, FileError> {
        let mut key = [0; 32];
        use ring::rand::SecureRandom;
        ring::rand::SystemRandom::new().fill(&mut key).map_err(|_| {
            FileError::new("the kernel gives no random numbers", "look at the kernel's messages")
        })?;
        Ok(Key(key))
    }

    /// As the file holds it: 64 hexadecimal digits and a line feed.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push('\n');
        text
    }

    /// Reads 64 hexadecimal digits, or 32 bytes in base64.
    #[must_use]
    pub fn parse(text: &str) -> Option<Key> {
        let text = text.trim();
        let bytes = match text.len() {
            64 => (0..32)
                .map(|index| {
                    let digits = text.get(index * 2..index * 2 + 2)?;
                    let plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                    plain.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
                })
                .collect::<Option<Vec<u8>>>()?,
            _ => crate::join::base64::decode(text)?,
        };
        bytes.try_into().ok().map(Key)
    }
}

/// Reads the configuration's text.
///
/// # Errors
/// When there is none, or it can not be read.
pub fn read_cluster(root: &Root) -> Result<String, FileError> {
    read_configuration(&root.cluster())
}

/// Reads a configuration's text from any file.
///
/// # Errors
/// When there is none, or it can not be read.
pub fn read_configuration(path: &Path) -> Result<String, FileError> {
    let help = "create a cluster with `mainstay init`, join one with `mainstay join`, or name \
                another root with --root";
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(TEXT_SIZE_MAX as u64 + 1).read_to_string(&mut text))
        .map_err(|error| FileError::io(path, "read", &error, help))?;
    Ok(text)
}

/// Reads the paths that this node alone defines; without the file there are none.
///
/// # Errors
/// When it is there and can not be read, or makes no sense.
pub fn read_paths(root: &Root) -> Result<Vec<super::own::OwnPath>, FileError> {
    let path = root.paths();
    let help = "mend the file, or move it away and define the paths again";
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(FileError::io(&path, "read", &error, help)),
    };
    super::own::parse(&text, &path.display().to_string())
        .map_err(|found| FileError::new(found.render(false), help))
}

/// Reads the cluster key. Only its owner may be able to read it, and that must be this user or
/// root: whoever has it is a member.
///
/// # Errors
/// When there is none, others can read it, or it is not 32 bytes.
pub fn read_key(root: &Root) -> Result<Key, FileError> {
    let path = root.key();
    let shown = path.display();
    let help = "copy it from another node (`mainstay join` does that), or make a new cluster with \
                `mainstay init`";
    let file = File::open(&path).map_err(|error| FileError::io(&path, "read", &error, help))?;
    let facts = file.metadata().map_err(|error| FileError::io(&path, "read", &error, help))?;
    let others = facts.mode() & 0o077;
    if others != 0 {
        return Err(FileError::new(
            format!("{shown} has mode {:04o}: others can read the key", facts.mode() & 0o7777),
            format!(
                "chmod 600 {shown}; if others may have read it, make a new key and copy it to all \
                 nodes"
            ),
        ));
    }
    let user = rustix::process::geteuid().as_raw();
    if facts.uid() != user && facts.uid() != 0 {
        return Err(FileError::new(
            format!("{shown} belongs to user {}: it can change the key", facts.uid()),
            format!("chown root {shown}"),
        ));
    }
    let mut text = String::new();
    file.take(KEY_FILE_SIZE_MAX)
        .read_to_string(&mut text)
        .map_err(|error| FileError::io(&path, "read", &error, help))?;
    Key::parse(&text).ok_or_else(|| {
        FileError::new(
            format!("{shown} is not a key of 32 bytes"),
            "it must hold 64 hexadecimal digits, or 44 characters of base64; a new one: \
             `openssl rand -hex 32`",
        )
    })
}

/// The name of this node: from `etc/mainstay/node`, else the machine's host name.
///
/// # Errors
/// When the file can not be read or holds no name.
pub fn read_node(root: &Root) -> Result<String, FileError> {
    let path = root.node();
    let help = format!("write the node's name into {}", path.display());
    match fs::read_to_string(&path) {
        Ok(text) => {
            let name = text.trim();
            match read::name_error(name) {
                None => Ok(name.to_owned()),
                Some(sentence) => Err(FileError::new(
                    format!("{} holds no name of a node: {sentence}", path.display()),
                    help,
                )),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(host_name()),
        Err(error) => Err(FileError::io(&path, "read", &error, &help)),
    }
}

/// Why a node cannot have that name.
#[must_use]
pub fn node_name_error(name: &str) -> Option<String> {
    read::name_error(name)
}

/// Writes a file as a whole: another one takes its place, or it stays as it was.
///
/// # Errors
/// When it can not be written.
pub fn replace(path: &Path, text: &str) -> Result<(), FileError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let written = (|| {
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        let mut file = File::create(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    })();
    written.map_err(|error| {
        FileError::io(path, "write", &error, "run this as root, or name another root")
    })
}

/// The host name up to its first dot.
fn host_name() -> String {
    let system = rustix::system::uname();
    let name = system.nodename().to_string_lossy();
    name.split('.').next().unwrap_or_default().to_owned()
}

/// Which node of the cluster this is.
///
/// # Errors
/// When none has this node's name; says which there are.
pub fn local_node(root: &Root, cluster: &Cluster) -> Result<base::NodeId, FileError> {
    let name = read_node(root)?;
    cluster.node(&name).ok_or_else(|| {
        let names: Vec<&str> = cluster.nodes.iter().map(|node| node.name.as_str()).collect();
        FileError::new(
            format!("this is node {name}, and the configuration has no such node"),
            format!(
                "it has {}: write one of them into {}",
                names.join(", "),
                root.node().display()
            ),
        )
    })
}

/// Writes the first files of a node: key and node name, and the configuration last, since its
/// presence makes this a node. Replaces nothing.
///
/// # Errors
/// When one of them is there already, or can not be written; files written before are removed.
pub fn create(root: &Root, text: &str, key: &Key, node: &str) -> Result<(), FileError> {
    check_absent(root)?;
    let directory = root.configuration();
    fs::DirBuilder::new().recursive(true).mode(0o755).create(&directory).map_err(|error| {
        FileError::io(&directory, "create", &error, "run this as root, or name another --root")
    })?;
    let files = [
        (root.key(), key.text(), 0o600),
        (root.node(), format!("{node}\n"), 0o644),
        (root.cluster(), text.to_owned(), 0o644),
    ];
    for (index, (path, text, mode)) in files.iter().enumerate() {
        if let Err(error) = write_new(path, text.as_bytes(), *mode) {
            for (path, ..) in &files[..index] {
                // What can not be removed is named by the next attempt, which finds it there.
                let _still_there = fs::remove_file(path);
            }
            return Err(FileError::io(
                path,
                "write",
                &error,
                "nothing was changed; mend it and try again",
            ));
        }
    }
    let synced = File::open(&directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| FileError::io(&directory, "sync", &error, "check the disk"))
}

/// Refuses to go on when this root holds a node already.
///
/// # Errors
/// Which file is there.
pub fn check_absent(root: &Root) -> Result<(), FileError> {
    for path in [root.cluster(), root.key(), root.node()] {
        if fs::symlink_metadata(&path).is_ok() {
            return Err(FileError::new(
                format!("{} exists: this is a node of a cluster already", path.display()),
                format!(
                    "to make it a new one, stop its daemon and move {} and {} away",
                    root.configuration().display(),
                    root.state().display()
                ),
            ));
        }
    }
    Ok(())
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a file must not be taken for a whole one; the first error is the one to report.
        let _still_there = fs::remove_file(path);
    }
    written
}
