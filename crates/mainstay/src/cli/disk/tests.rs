use std::process::Command;
use std::time::Duration;

use base::Preset;
use expect_test::{Expect, expect};

use super::measure::{fit, latency};
use super::*;
use crate::render::{DiskCheck, DiskFinding, DiskLatency, Style};

/// Bytes and their places.
type Marks<'a> = &'a [(usize, &'a [u8])];

/// A MiB with these bytes at these places.
fn image(marks: Marks<'_>) -> Vec<u8> {
    let mut bytes = vec![0; LOOKED_AT];
    for (at, mark) in marks {
        bytes[*at..*at + mark.len()].copy_from_slice(mark);
    }
    bytes
}

const UUID: &[u8] = &[0xd1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
const UUID_TEXT: &str = "d1020304-0506-0708-090a-0b0c0d0e0f10";

#[test]
fn what_is_common_on_disks_is_recognised() {
    let uuid = |kind: &str| format!("{kind}:{UUID_TEXT}");
    let md = 0xa92b_4efc_u32.to_le_bytes();
    let partition = [0x80, 0, 2, 0, 0x83, 0, 0, 0];
    let other_layout = {
        let mut header = Layout::new(7, 16).encode_header();
        header[9] = 9;
        header
    };
    let area = Layout::new(7, 16).encode_header();
    let ext: Marks<'_> = &[(1_080, &[0x53, 0xef]), (1_128, UUID), (1_144, b"backup")];
    let journal = [ext, &[(1_116, &[4])]].concat();
    let extents = [&journal[..], &[(1_120, &[0x42])]].concat();
    let cases: &[(Marks<'_>, &str, String)] = &[
        (ext, "an ext2 file system \"backup\"", uuid("ext2")),
        (&journal, "an ext3 file system \"backup\"", uuid("ext3")),
        (&extents, "an ext4 file system \"backup\"", uuid("ext4")),
        (&[(0, b"XFSB"), (32, UUID)], "an XFS file system", uuid("xfs")),
        (
            &[(65_600, b"_BHRfS_M"), (65_568, UUID), (65_835, b"pool")],
            "a btrfs file system \"pool\"",
            uuid("btrfs"),
        ),
        (
            &[(512, b"LABELONE"), (536, b"LVM2 001"), (544, b"uC4zD0HpZOqGBOQXVrRjGtKxDzkJBNjC")],
            "a physical volume of LVM",
            "lvm:uC4zD0HpZOqGBOQXVrRjGtKxDzkJBNjC".into(),
        ),
        (
            &[(0, b"LUKS\xba\xbe"), (168, UUID_TEXT.as_bytes())],
            "an encrypted volume (LUKS)",
            uuid("luks"),
        ),
        (&[(4_096, &md), (4_112, UUID)], "a member of a RAID (md)", uuid("md")),
        (&[(4_086, b"SWAPSPACE2"), (1_036, UUID)], "swap space", uuid("swap")),
        (
            &[(510, &[0x55, 0xaa]), (512, b"EFI PART"), (568, UUID), (450, &[0xee])],
            "a partition table (GPT)",
            "gpt:040302d1-0605-0807-090a-0b0c0d0e0f10".into(),
        ),
        (
            &[(510, &[0x55, 0xaa]), (446, &partition), (440, &[0x78, 0x56, 0x34, 0x12])],
            "a partition table (MBR)",
            "mbr:12345678".into(),
        ),
        (&[(0, &area)], "the area of cluster 7 with 16 slots", "mainstay:7:16".into()),
        (&[(0, &other_layout)], "the area of a cluster, of layout 9", "mainstay:layout-9".into()),
    ];
    for (marks, what, id) in cases {
        let found = recognise(&image(marks));
        assert_eq!(found, Some(Content { what: (*what).into(), id: id.clone() }));
    }
    assert_eq!(recognise(&image(&[])), None);
    // Without an id of their own they are named by their content.
    let named = |marks: Marks<'_>| recognise(&image(marks)).expect("not blank");
    for (mark, what, kind) in [
        (&[(0, &b"SBD_SBD_"[..])][..], "the slots of SBD", "sbd:"),
        (&[(510, &[0x55, 0xaa]), (3, b"NTFS    ")], "a boot sector \"NTFS\"", "boot:"),
        (&[(999_999, &[1])], "data that are not recognised", "data:"),
        (
            &[(0, b"MNSTDISK\x00\x01")],
            "the area of a cluster, with a damaged header",
            "mainstay:damaged-",
        ),
    ] {
        let one = named(mark);
        let other = named(&[mark, &[(200_000, &[1])]].concat());
        assert_eq!(one.what, what);
        assert!(one.id.starts_with(kind) && other.id.starts_with(kind), "{}", one.id);
        assert_ne!(one.id, other.id);
    }
}

/// Whatever is on a device, looking at it does not panic.
#[test]
fn any_bytes_have_a_name() {
    let mut prng = base::Prng::new(1).child("recognise");
    for size in [0, 1, 511, 512, 4_095, 4_096, 65_540, LOOKED_AT] {
        for at in [0, 3, 510, 512, 1_080, 4_086, 4_096, 65_600] {
            for mark in [&b"LABELONE"[..], b"XFSB", b"EFI PART", &[0x55, 0xaa], &[0x53, 0xef]] {
                let mut bytes: Vec<u8> = (0..size).map(|_| prng.next_u64() as u8).collect();
                if let Some(place) = bytes.get_mut(at..at + mark.len()) {
                    place.copy_from_slice(mark);
                }
                assert_eq!(recognise(&bytes).is_none(), bytes.iter().all(|byte| *byte == 0));
            }
        }
    }
}

/// The programs that make such content, where they are installed.
#[test]
fn what_real_programs_make_is_recognised() {
    const NAME: &str = "5f0f1f2f-0000-4000-8000-00000000abcd";
    let programs: &[(&str, &[&str], &str, &str)] = &[
        ("mkfs.ext4", &["-q", "-F", "-L", "data", "-U", NAME], "an ext4 file system", "ext4"),
        ("mkfs.ext3", &["-q", "-F", "-L", "data", "-U", NAME], "an ext3 file system", "ext3"),
        ("mkswap", &["-q", "-L", "data", "-U", NAME], "swap space", "swap"),
    ];
    for (program, options, what, kind) in programs {
        let directory = tempfile::tempdir().expect("temporary files can be written");
        let path = directory.path().join("disk");
        let file = std::fs::File::create(&path).expect("writable");
        file.set_len(16 << 20).expect("writable");
        match Command::new(program).args(*options).arg(&path).output() {
            Ok(output) if output.status.success() => {
                let mut bytes = std::fs::read(&path).expect("readable");
                bytes.truncate(LOOKED_AT);
                let expected =
                    Content { what: format!("{what} \"data\""), id: format!("{kind}:{NAME}") };
                assert_eq!(recognise(&bytes), Some(expected), "{program}");
            }
            other => eprintln!("not tested: {program}: {other:?}"),
        }
    }
}

fn device() -> DiskDevice {
    DiskDevice {
        path: "/dev/disk/by-id/shared".into(),
        kind: "block device 8:16".into(),
        size: 64 << 20,
    }
}

fn check(actual: &str, expected: Expect) {
    expected.assert_eq(actual);
}

#[test]
fn an_area_is_shown_in_columns() {
    let mark = |epoch, sequence| Some(DiskMark { epoch, sequence });
    let (one, two) = (1_700_000_000_001, 1_700_000_500_000);
    let pair =
        |from, to, heartbeat, data| DiskPair { from, to, heartbeat, data, ..DiskPair::default() };
    let slot = |slot, node: Option<&str>| DiskSlot { slot, node: node.map(String::from) };
    let area = DiskArea {
        cluster: 10,
        cluster_name: Some("demo".into()),
        layout: 1,
        slots: 16,
        size: Layout::new(10, 16).size() * BLOCK_SIZE as u64,
        nodes: vec![slot(1, Some("n1")), slot(2, Some("node-two")), slot(9, None)],
        pairs: vec![
            pair(1, 2, mark(one, 81_244), mark(one, 14)),
            DiskPair { torn: 1, ..pair(1, 9, mark(one, 3), None) },
            pair(2, 1, mark(two, 7), mark(one, 14)),
            DiskPair { torn: 1, foreign: 2, ..pair(9, 1, None, None) },
            pair(9, 2, None, None),
        ],
    };
    let show = DiskShow {
        schema: 1,
        device: device(),
        holds: "the area of cluster 10 with 16 slots".into(),
        id: Some("mainstay:10:16".into()),
        area: Some(area),
        warnings: Vec::new(),
    };
    check(
        &render::disk_show(&show, Style::PLAIN),
        expect![[r#"
            /dev/disk/by-id/shared: block device 8:16, 64 MiB
            holds the area of cluster 10 with 16 slots
            id mainstay:10:16
            cluster demo (id 10), layout 1, 16 slots, the first 8.0 MiB of the device

            SLOT  NODE
            1     n1
            2     node-two
            9     not configured

            FROM      TO        EPOCH          HEARTBEAT  DATA                       NOTE
            n1        node-two  1700000000001  81244      14
            n1        #9        1700000000001  3          -                          1 torn
            node-two  n1        1700000500000  7          14 of epoch 1700000000001
            #9        n1        -              -          -                          1 torn, 2 foreign
            #9        node-two  -              -          -                          never written
        "#]],
    );
}

#[test]
fn what_is_no_area_is_shown_with_its_id() {
    let show = DiskShow {
        schema: 1,
        device: device(),
        holds: "an ext4 file system \"backup\"".into(),
        id: Some(format!("ext4:{UUID_TEXT}")),
        area: None,
        warnings: Vec::new(),
    };
    check(
        &render::disk_show(&show, Style::PLAIN),
        expect![[r#"
            /dev/disk/by-id/shared: block device 8:16, 64 MiB
            holds an ext4 file system "backup"
            id ext4:d1020304-0506-0708-090a-0b0c0d0e0f10
        "#]],
    );
    let other = DiskShow {
        holds: "the area of cluster 7 with 16 slots".into(),
        id: Some("mainstay:7:16".into()),
        area: Some(DiskArea {
            cluster: 7,
            layout: 1,
            slots: 16,
            size: 8 << 20,
            ..DiskArea::default()
        }),
        warnings: vec!["it is not the area of this cluster, demo (id 10)".into()],
        ..show
    };
    check(
        &render::disk_show(&other, Style::PLAIN),
        expect![[r#"
            /dev/disk/by-id/shared: block device 8:16, 64 MiB
            holds the area of cluster 7 with 16 slots
            id mainstay:7:16
            warning: it is not the area of this cluster, demo (id 10)
            cluster with id 7, layout 1, 16 slots, the first 8.0 MiB of the device
            no slot was written to
        "#]],
    );
}

#[test]
fn a_check_says_what_was_seen() {
    let finding = |check: &str, good, text: &str| DiskFinding {
        check: check.into(),
        good,
        text: text.into(),
    };
    let mut report = DiskCheck {
        schema: 1,
        device: device(),
        usable: true,
        detection: "normal".into(),
        findings: vec![
            finding("header", true, "cluster demo (id 10)"),
            finding("blocks", true, "6 in use, 0 torn, 0 foreign"),
        ],
        read: Some(latency((1..=64).map(Duration::from_millis).collect())),
        write: Some(latency((1..=64).map(|number| Duration::from_micros(number * 90)).collect())),
        fit_for: Vec::new(),
    };
    fit(&mut report, Preset::Normal, 64_000 + 5_760);
    check(
        &render::disk_check(&report, Style::PLAIN),
        expect![[r#"
            /dev/disk/by-id/shared: block device 8:16, 64 MiB

            CHECK    RESULT  SEEN
            header   good    cluster demo (id 10)
            blocks   good    6 in use, 0 torn, 0 foreign
            latency  good    normal needs less than 500 ms, the slowest write and read took 70 ms; quick enough for fast, normal, classic

            OPERATION  TIMES  QUICKEST  MEDIAN  SLOWEST
            read       64     1.0 ms    33 ms   64 ms
            write      64     90 µs     2.9 ms  5.7 ms

            /dev/disk/by-id/shared is usable with detection normal
        "#]],
    );
    report.findings.truncate(1);
    report.findings.push(finding("write", false, "can not open it: it is read-only"));
    (report.usable, report.read, report.write) = (false, None, None);
    check(
        &render::disk_check(&report, Style::PLAIN),
        expect![[r#"
            /dev/disk/by-id/shared: block device 8:16, 64 MiB

            CHECK   RESULT  SEEN
            header  good    cluster demo (id 10)
            write   bad     can not open it: it is read-only

            /dev/disk/by-id/shared is not usable with detection normal
        "#]],
    );
}

#[test]
fn what_a_preset_needs_is_said() {
    let said = |preset, worst_us| {
        let mut report = DiskCheck::default();
        fit(&mut report, preset, worst_us);
        let finding = report.findings.remove(0);
        (finding.good, report.fit_for.join(" "), finding.text)
    };
    let (good, names, _) = said(Preset::Fast, 249_999);
    assert_eq!((good, names.as_str()), (true, "fast normal classic"));
    let (good, names, text) = said(Preset::Fast, 250_000);
    assert_eq!((good, names.as_str()), (false, "normal classic"));
    assert!(text.contains("fast needs less than 250 ms") && text.contains("250 ms"), "{text}");
    let (good, names, text) = said(Preset::Ultra, 1);
    assert_eq!((good, names.as_str()), (false, "fast normal classic"), "{text}");
    let (good, names, text) = said(Preset::Classic, 9_000_000);
    assert_eq!((good, names.as_str()), (false, ""));
    assert!(text.contains("for no preset"), "{text}");
}

#[test]
fn latencies_are_sorted() {
    let micros = [5, 1, 9, 3].map(Duration::from_micros).to_vec();
    let expected = DiskLatency { operations: 4, min_us: 1, median_us: 5, max_us: 9 };
    assert_eq!(latency(micros), expected);
    assert_eq!(latency(Vec::new()), DiskLatency::default());
}

#[test]
fn sizes_are_for_people() {
    let said = [0, 1_023, 1_024, 8_392_704, 64 << 20, 3 << 40].map(render::size);
    assert_eq!(said, ["0 bytes", "1023 bytes", "1.0 KiB", "8.0 MiB", "64 MiB", "3.0 TiB"]);
}
