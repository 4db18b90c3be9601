//! Archives as the kernel reads its first file system from: cpio, "newc"
//! (Documentation/driver-api/early-userspace/buffer-format.rst in the kernel's tree).
//!
//! An entry is a header of 110 bytes in hexadecimal digits, the name with a zero byte, and the
//! content; name and content are filled up to a multiple of four bytes. The archive ends with an
//! entry of a fixed name. The kernel makes no parents by itself, so they are made here.

use std::collections::BTreeSet;

/// The name that ends an archive.
const TRAILER: &str = "TRAILER!!!";
/// The kernel reads to the next multiple of this and may find another archive behind it.
const BLOCK: usize = 512;

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive that grows. All that is in it belongs to root.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    directories: BTreeSet<String>,
    entries: u32,
}

impl Archive {
    /// A directory, and those above it.
    pub(crate) fn directory(&mut self, path: &str) {
        let mut above = String::new();
        for part in path.split('/') {
            if !above.is_empty() {
                above.push('/');
            }
            above.push_str(part);
            if self.directories.insert(above.clone()) {
                let directory = above.clone();
                self.entry(&directory, DIRECTORY | 0o755, (0, 0), &[]);
            }
        }
    }

    /// A file with its permissions.
    pub(crate) fn file(&mut self, path: &str, permissions: u32, content: &[u8]) {
        self.parents(path);
        self.entry(path, FILE | permissions, (0, 0), content);
    }

    /// A symbolic link.
    pub(crate) fn symlink(&mut self, path: &str, target: &str) {
        self.parents(path);
        self.entry(path, SYMLINK | 0o777, (0, 0), target.as_bytes());
    }

    /// A character device with its major and minor number.
    pub(crate) fn device(&mut self, path: &str, permissions: u32, number: (u32, u32)) {
        self.parents(path);
        self.entry(path, CHARACTER_DEVICE | permissions, number, &[]);
    }

    /// The bytes of the whole archive.
    #[must_use]
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, (0, 0), &[]);
        fill(&mut self.bytes, BLOCK);
        self.bytes
    }

    fn parents(&mut self, path: &str) {
        assert!(!path.starts_with('/'), "{path} is below the root");
        if let Some((above, _)) = path.rsplit_once('/') {
            self.directory(above);
        }
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let length = u32::try_from(content.len()).expect("the format has files up to 4 GiB");
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        let name_length = u32::try_from(name.len() + 1).expect("a name is short");
        self.bytes.extend(b"070701");
        // Number, mode, user, group, links, time, length, device, special device, name, checksum.
        let numbers =
            [self.entries, mode, 0, 0, links, 0, length, 0, 0, device.0, device.1, name_length, 0];
        for number in numbers {
            self.bytes.extend(format!("{number:08x}").as_bytes());
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        fill(&mut self.bytes, 4);
        self.bytes.extend(content);
        fill(&mut self.bytes, 4);
    }
}

fn fill(bytes: &mut Vec<u8>, multiple: usize) {
    bytes.resize(bytes.len().next_multiple_of(multiple), 0);
}

#[cfg(test)]
mod tests;
