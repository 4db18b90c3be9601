use super::*;

fn stamp(node: &str, sequence: u64) -> Stamp {
    let life = Life { node: node.to_owned(), pid: 4_194_304, began: u64::from(u32::MAX) << 20 };
    Stamp { at: u64::from(u32::MAX) << 20 | 7, life, sequence }
}

#[test]
fn stamps_are_read_as_they_were_written() {
    let stamps = [stamp("n1", 0), stamp("n64", 9_999_999)];
    let bytes: Vec<u8> = stamps.iter().flat_map(|one| one.encode().unwrap()).collect();
    assert_eq!(decode(&bytes).unwrap(), stamps);
    assert_eq!(4096 % LENGTH, 0, "no record lies on two pages");
}

#[test]
fn a_pen_writes_one_after_the_other_and_not_before_time() {
    let path = std::env::temp_dir().join(format!("lab-stamps-{}", std::process::id()));
    assert!(Pen::open(&path, "n1").is_err(), "nobody has made the file");
    File::create_new(&path).unwrap();
    let mut pen = Pen::open(&path, "n1").unwrap();
    for _ in 0..3 {
        clock::pause(pen.write_when_due().unwrap());
        clock::pause(Duration::from_millis(1));
    }
    pen.next = clock::now() + Duration::from_secs(60);
    assert!(pen.write_when_due().unwrap() > Duration::from_secs(50));
    let stamps = decode(&fs::read(&path).unwrap()).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(stamps.iter().map(|one| one.sequence).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(stamps.windows(2).all(|pair| pair[0].at + 3_000_000 <= pair[1].at), "{stamps:?}");
    assert!(stamps.iter().all(|one| one.life == pen.life && one.at >= pen.life.began));
}

#[test]
fn what_is_no_stamp_is_said_with_its_place() {
    let good = stamp("n1", 0).encode().unwrap();
    for wrong in [&good[..LENGTH - 1], &[b'x'; LENGTH], &[0xff; LENGTH]] {
        let error = decode(&[&good, wrong].concat()).unwrap_err();
        assert!(error.to_string().contains("record 1"), "{error:#}");
    }
    assert!(stamp(&"n".repeat(40), 0).encode().is_err());
    assert!(stamp("n 1", 0).encode().is_err());
}
