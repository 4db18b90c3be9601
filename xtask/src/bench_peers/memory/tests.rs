//! Two processes that share a library, a file in shared memory and, by fork, ordinary memory.

use super::Memory;

fn mapping(head: &str, resident: u64, proportional: u64, anonymous: u64) -> String {
    format!(
        "{head}\nSize: 9999 kB\nRss: {resident} kB\nPss: {proportional} kB\n\
         Pss_Dirty: 5 kB\nAnonymous: {anonymous} kB\nVmFlags: rd wr\n"
    )
}

#[test]
fn a_shared_page_counts_once() {
    let code = "7f00-7f10 r-xp 00002000 fe:00 1234  /usr/lib/libc.so.6";
    let data = "7f10-7f20 rw-p 00009000 fe:00 1234  /usr/lib/libc.so.6";
    let heap = "5500-5600 rw-p 00000000 00:00 0  [heap]";
    let shared = "7f30-7f40 rw-s 00000000 00:19 77  /dev/shm/qb";
    let mut memory = Memory::default();
    for code_in_memory in [100, 40] {
        let text = [
            mapping(code, code_in_memory, 11, 0),
            mapping(data, 20, 20, 16),
            mapping(heap, 60, 30, 60),
            mapping(shared, 8, 4, 0),
        ];
        memory.add(&text.concat()).expect("lines of the kernel");
    }
    // Code once; changed data twice and the rest of it once; the heap as shared; shared memory once.
    assert_eq!(memory.once(), 100 + (16 + 16 + 4) + (30 + 30) + 8);
    assert_eq!(memory.resident(), (100 + 40) + 2 * (20 + 60 + 8));
}

#[test]
fn other_text_is_an_error() {
    let mut memory = Memory::default();
    assert!(memory.add("5500-5600 rw-p 0 00:00 0\nRss: many kB\n").is_err());
}
