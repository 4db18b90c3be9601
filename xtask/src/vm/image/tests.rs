use std::path::PathBuf;

use super::loaded;

#[test]
fn libraries_are_read_from_what_ldd_prints() {
    let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\
        \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
        \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
    let found: Vec<PathBuf> = loaded(text).into_iter().collect();
    let paths = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
    assert_eq!(found, paths.map(PathBuf::from));
}
