//! What a device holds, from its first MiB: so that nobody overwrites a file system by a slip of
//! the finger.
//!
//! Each kind of content that is common on disks is known by the mark that its own documentation
//! gives it, and named with what people know it by: its UUID and label. What is not recognised is
//! still no blank device. The `id` names the content and not only its kind, so that a `--force ID`
//! that was meant for one device does nothing on the next.

use transport::disk::{BLOCK_SIZE, HeaderError, Layout};

/// Bytes that are looked at.
pub(super) const LOOKED_AT: usize = 1 << 20;

/// What a device holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// With its article, for a sentence.
    pub(super) what: String,
    /// Names it for `--force`.
    pub(super) id: String,
}

/// Finds one kind of content.
type Kind = fn(&[u8]) -> Option<Content>;

/// What begins with these bytes, which are at most the first MiB; None for zeros.
pub(super) fn recognise(bytes: &[u8]) -> Option<Content> {
    if bytes.iter().all(|byte| *byte == 0) {
        return None;
    }
    // A partition table may stand before anything else, and boot sectors in anything.
    let kinds: [Kind; 11] = [area, gpt, luks, lvm, raid, xfs, ext, btrfs, swap, sbd, boot];
    Some(kinds.into_iter().find_map(|kind| kind(bytes)).unwrap_or_else(|| Content {
        what: "data that are not recognised".into(),
        id: format!("data:{}", sum(bytes)),
    }))
}

fn content(what: &str, kind: &str, id: String, label: &str) -> Option<Content> {
    let what = if label.is_empty() { what.to_owned() } else { format!("{what} \"{label}\"") };
    Some(Content { what, id: format!("{kind}:{id}") })
}

/// The area of a cluster: this or another one.
fn area(bytes: &[u8]) -> Option<Content> {
    match Layout::decode_header(bytes.get(..BLOCK_SIZE)?) {
        Ok(layout) => Some(Content {
            what: format!("the area of cluster {} with {} slots", layout.cluster(), layout.slots()),
            id: format!("mainstay:{}:{}", layout.cluster(), layout.slots()),
        }),
        Err(HeaderError::OtherLayout { version }) => Some(Content {
            what: format!("the area of a cluster, of layout {version}"),
            id: format!("mainstay:layout-{version}"),
        }),
        Err(HeaderError::Damaged) => Some(Content {
            what: "the area of a cluster, with a damaged header".into(),
            id: format!("mainstay:damaged-{}", sum(bytes)),
        }),
        Err(HeaderError::Blank | HeaderError::Foreign | HeaderError::OtherCluster { .. }) => None,
    }
}

/// UEFI specification, 5.3.2: the header is in the second logical block.
fn gpt(bytes: &[u8]) -> Option<Content> {
    let header = [512, 4_096].into_iter().find(|at| has(bytes, *at, b"EFI PART"))?;
    let guid = bytes.get(header + 56..header + 72)?;
    let mut swapped = guid.to_vec();
    for group in [0..4, 4..6, 6..8] {
        swapped[group].reverse();
    }
    content("a partition table (GPT)", "gpt", uuid(&swapped, 0)?, "")
}

fn luks(bytes: &[u8]) -> Option<Content> {
    let name = has(bytes, 0, b"LUKS\xba\xbe").then(|| text(bytes, 168, 40))?;
    content("an encrypted volume (LUKS)", "luks", name, "")
}

/// The label of a physical volume is in one of the first four sectors.
fn lvm(bytes: &[u8]) -> Option<Content> {
    let is_label = |at: &usize| has(bytes, *at, b"LABELONE") && has(bytes, at + 24, b"LVM2 001");
    let at = [0, 512, 1_024, 1_536].into_iter().find(is_label)?;
    content("a physical volume of LVM", "lvm", text(bytes, at + 32, 32), "")
}

/// Versions 1.1 and 1.2 of the superblock of md(4).
fn raid(bytes: &[u8]) -> Option<Content> {
    let at = [0, 4_096].into_iter().find(|at| has(bytes, *at, &0xa92b_4efc_u32.to_le_bytes()))?;
    content("a member of a RAID (md)", "md", uuid(bytes, at + 16)?, &text(bytes, at + 32, 32))
}

fn xfs(bytes: &[u8]) -> Option<Content> {
    let id = has(bytes, 0, b"XFSB").then(|| uuid(bytes, 32))??;
    content("an XFS file system", "xfs", id, &text(bytes, 108, 12))
}

/// The superblock is at 1,024; its features tell the versions apart.
fn ext(bytes: &[u8]) -> Option<Content> {
    const START: usize = 1_024;
    let id = has(bytes, START + 56, &[0x53, 0xef]).then(|| uuid(bytes, START + 104))??;
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (has_extents, has_journal) = (word(START + 96)? & 0x40 != 0, word(START + 92)? & 0x4 != 0);
    let kind = match (has_extents, has_journal) {
        (true, _) => "ext4",
        (false, true) => "ext3",
        (false, false) => "ext2",
    };
    content(&format!("an {kind} file system"), kind, id, &text(bytes, START + 120, 16))
}

fn btrfs(bytes: &[u8]) -> Option<Content> {
    const START: usize = 65_536;
    let id = has(bytes, START + 64, b"_BHRfS_M").then(|| uuid(bytes, START + 32))??;
    content("a btrfs file system", "btrfs", id, &text(bytes, START + 299, 256))
}

/// The mark is at the end of the first page.
fn swap(bytes: &[u8]) -> Option<Content> {
    let id = has(bytes, 4_086, b"SWAPSPACE2").then(|| uuid(bytes, 1_036))??;
    content("swap space", "swap", id, &text(bytes, 1_052, 16))
}

fn sbd(bytes: &[u8]) -> Option<Content> {
    let id = has(bytes, 0, b"SBD_SBD_").then(|| sum(bytes))?;
    content("the slots of SBD", "sbd", id, "")
}

/// A partition table of the old kind, or a boot sector of a file system that has one.
fn boot(bytes: &[u8]) -> Option<Content> {
    has(bytes, 510, &[0x55, 0xaa]).then_some(())?;
    let partitions = bytes[446..510].chunks(16);
    let is_table = partitions.clone().all(|one| one[0] & 0x7f == 0)
        && partitions.clone().any(|one| one[4] != 0);
    if is_table {
        let signature = u32::from_le_bytes(bytes[440..444].try_into().ok()?);
        return content("a partition table (MBR)", "mbr", format!("{signature:08x}"), "");
    }
    content("a boot sector", "boot", sum(bytes), &text(bytes, 3, 8))
}

fn has(bytes: &[u8], at: usize, mark: &[u8]) -> bool {
    bytes.get(at..at + mark.len()) == Some(mark)
}

/// Printable characters up to the first that is not.
fn text(bytes: &[u8], at: usize, length: usize) -> String {
    let field = bytes.get(at..at + length).unwrap_or_default();
    let good = field.iter().take_while(|byte| byte.is_ascii_graphic() || **byte == b' ');
    String::from_utf8_lossy(&good.copied().collect::<Vec<u8>>()).trim().to_owned()
}

fn uuid(bytes: &[u8], at: usize) -> Option<String> {
    let mut text = String::new();
    for (index, byte) in bytes.get(at..at + 16)?.iter().enumerate() {
        if [4, 6, 8, 10].contains(&index) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    Some(text)
}

/// The beginning of a SHA-256: an id for what has none.
fn sum(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref()[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}
