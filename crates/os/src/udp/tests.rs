use super::*;

#[test]
fn whatever_icmp_can_say_is_of_an_earlier_datagram() {
    // All that the kernel's tables make of "destination unreachable", of both families, and of
    // "parameter problem".
    let said = [
        libc::ENETUNREACH,
        libc::EHOSTUNREACH,
        libc::ENOPROTOOPT,
        libc::ECONNREFUSED,
        libc::EMSGSIZE,
        libc::EOPNOTSUPP,
        libc::EHOSTDOWN,
        libc::ENONET,
        libc::EPROTO,
        libc::EACCES,
    ];
    for number in said {
        assert!(is_of_an_earlier_datagram(&io::Error::from_raw_os_error(number)), "{number}");
    }
    for number in [libc::EBADF, libc::ENOTSOCK, libc::EFAULT] {
        assert!(!is_of_an_earlier_datagram(&io::Error::from_raw_os_error(number)), "{number}");
    }
}
