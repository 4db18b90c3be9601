//! The system calls that need `unsafe`, each behind a safe function.
//!
//! The rule: a function here takes and returns plain safe types, does one system call (or one
//! sequence that must not be interrupted by anything else, after a fork), and carries no policy.
//! What `rustix` or the standard library wraps safely is not here.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

use crate::shared::Permit;

mod batch;
pub(crate) mod bpf;
pub(crate) mod reservation;
pub(crate) mod watchdog;

pub(crate) use batch::Batch;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

// ---------------------------------------------------------------------------------------------
// Descriptors
// ---------------------------------------------------------------------------------------------

/// Takes ownership of a descriptor that the parent process left open for this one, and closes it
/// for children.
///
/// # Errors
/// When no such descriptor is open.
pub(crate) fn inherited_descriptor(number: RawFd) -> io::Result<OwnedFd> {
    if number <= libc::STDERR_FILENO {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: F_GETFD takes no pointer; on a closed number it fails with EBADF.
    check(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    // SAFETY: as above.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: the number is open. Nothing else in this process owns it: it was named on our command
    // line (or in the memory that was) by the parent, which opened it for us, and is asked for once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

// ---------------------------------------------------------------------------------------------
// Shared memory
// ---------------------------------------------------------------------------------------------

/// A file mapped shared, seen as 64-bit atomics and nothing else.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the memory is reached only through `&[AtomicU64]`, which any thread may use; it is unmapped
// by the one owner.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `count` words of `file`, which must be sealed against shrinking.
    pub(crate) fn new(file: BorrowedFd<'_>, count: usize) -> io::Result<Mapping> {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        assert!(count > 0, "an empty mapping is an error of the kernel");
        let bytes = count * size_of::<AtomicU64>();
        // SAFETY: the kernel chooses a free place, so no memory of ours is replaced.
        let start = unsafe {
            mmap(
                ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file,
                0,
            )
        }?;
        let start = NonNull::new(start.cast::<AtomicU64>()).expect("mmap returns no null");
        Ok(Mapping { start, count })
    }

    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: `start` is page-aligned, `count` words are mapped as long as `self` lives, and all
        // access of all processes is by atomics, for which any bit pattern is a value.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let bytes = self.count * size_of::<AtomicU64>();
        // SAFETY: exactly what `new` mapped; no borrow of it outlives `self`.
        let result = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), bytes) };
        assert!(result.is_ok(), "a mapping of ours can be unmapped");
    }
}

// ---------------------------------------------------------------------------------------------
// Scheduling
// ---------------------------------------------------------------------------------------------

/// Puts a thread (0: the calling one) into `SCHED_RR`; its children start as ordinary processes.
pub(crate) fn round_robin(thread: i32, priority: i32, reset_on_fork: bool) -> io::Result<()> {
    let reset = if reset_on_fork { libc::SCHED_RESET_ON_FORK } else { 0 };
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: `parameter` lives through the call, which copies it.
    check(unsafe { libc::sched_setscheduler(thread, libc::SCHED_RR | reset, &raw const parameter) })
        .map(drop)
}

/// The scheduling policy of a thread (0: the calling one), without flags.
pub(crate) fn scheduler(thread: i32) -> io::Result<i32> {
    // SAFETY: takes a number, returns a number.
    check(unsafe { libc::sched_getscheduler(thread) }).map(|all| all & !libc::SCHED_RESET_ON_FORK)
}

// ---------------------------------------------------------------------------------------------
// Signals
// ---------------------------------------------------------------------------------------------

/// Blocks the signals in this thread and returns the descriptor at which they arrive.
pub(crate) fn signal_descriptor(signals: &[i32]) -> io::Result<OwnedFd> {
    // SAFETY: sigset_t is plain data; sigemptyset gives it its value.
    let mut set: libc::sigset_t = unsafe { zeroed() };
    // SAFETY: `set` is valid for writing.
    unsafe { libc::sigemptyset(&raw mut set) };
    for &signal in signals {
        // SAFETY: `set` was initialised above.
        check(unsafe { libc::sigaddset(&raw mut set, signal) })?;
    }
    // SAFETY: `set` is initialised, the former mask is not asked for.
    let result = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) };
    if result != 0 {
        return Err(io::Error::from_raw_os_error(result));
    }
    let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
    // SAFETY: `set` is initialised; -1 asks for a new descriptor.
    let descriptor = check(unsafe { libc::signalfd(-1, &raw const set, flags) })?;
    // SAFETY: just opened, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// In a child after fork: no signal blocked, none ignored, none caught.
fn reset_signals() {
    /// `struct sigaction` of the kernel: default action, no flags, empty mask.
    const DEFAULT: [u64; 4] = [0; 4];
    // SAFETY: only async-signal-safe calls on local memory. The system call itself, because the C
    // library refuses the two signals that it keeps for itself, and those may be inherited too. KILL
    // and STOP cannot be changed and are refused, which is the wish.
    unsafe {
        let mut set: libc::sigset_t = zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut());
        for signal in 1_i32..=64 {
            let former = ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), former, 8_usize);
        }
    }
}

// ---------------------------------------------------------------------------------------------
// Processes
// ---------------------------------------------------------------------------------------------

/// What a child does between fork and exec, all prepared by the parent.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Opened `cgroup.procs` of the group to enter.
    pub(crate) group: Option<OwnedFd>,
    /// User, group and other groups to become.
    pub(crate) user: Option<User>,
    /// Asked last, when the child is in its group.
    pub(crate) permit: Option<Permit>,
}

/// Makes `command` enter its control group, a session of its own, and its user before it runs. It does
/// not run (`ECANCELED`) when its permit is over, or when its parent died meanwhile: nobody would
/// know of it.
pub(crate) fn enter_before_exec(command: &mut Command, entry: Entry) {
    let parent = rustix::process::getpid();
    let enter = move || -> io::Result<()> {
        if let Some(group) = &entry.group {
            // "0" means the writing process (cgroups(7)). From here on nothing that it starts can
            // be outside of the group.
            rustix::io::write(group, b"0")?;
        }
        rustix::process::setsid()?;
        reset_signals();
        // SAFETY: numbers only. Marks all but the first three descriptors as closed by exec; the
        // pipe by which the standard library reports a failed exec is among them already.
        check(unsafe { libc::close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as i32) })?;
        if let Some(user) = &entry.user {
            // SAFETY: the pointer and the length are those of one vector.
            check(unsafe { libc::setgroups(user.groups.len(), user.groups.as_ptr()) })?;
            // SAFETY: numbers only.
            check(unsafe { libc::setresgid(user.group, user.group, user.group) })?;
            // SAFETY: numbers only.
            check(unsafe { libc::setresuid(user.user, user.user, user.user) })?;
        }
        let is_permitted = entry.permit.as_ref().is_none_or(Permit::is_valid);
        if !is_permitted || rustix::process::getppid() != Some(parent) {
            return Err(io::Error::from_raw_os_error(libc::ECANCELED));
        }
        Ok(())
    };
    // SAFETY: the closure allocates nothing and takes no lock: it makes system calls with values
    // that were prepared before the fork. Errors are numbers and do not allocate either.
    unsafe { command.pre_exec(enter) };
}

/// A program with its arguments, ready to be started without any allocation.
#[derive(Debug)]
pub(crate) struct Prepared {
    program: CString,
    /// Owns what `pointers` points to.
    _arguments: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
    inherit: Vec<RawFd>,
    /// How many files it may have open, and at most; else as this process.
    pub(crate) open_files: Option<(libc::rlim_t, libc::rlim_t)>,
}

impl Prepared {
    /// `arguments[0]` is the program's name for itself. The descriptors in `inherit` stay open.
    pub(crate) fn new(program: CString, arguments: Vec<CString>, inherit: Vec<RawFd>) -> Prepared {
        assert!(!arguments.is_empty(), "a program has a name");
        let mut pointers: Vec<_> = arguments.iter().map(|argument| argument.as_ptr()).collect();
        pointers.push(ptr::null());
        Prepared { program, _arguments: arguments, pointers, inherit, open_files: None }
    }

    /// Starts the program with this process's environment; does not wait for the exec, which may
    /// have to read a disk. A program that cannot be run ends with status 127. Returns its number.
    ///
    /// The child calls nothing that takes a lock, so other threads do not matter to it. The caller waits for
    /// those that are in the allocator (fork(3) takes its locks): none may be there for long.
    pub(crate) fn start(&self) -> io::Result<i32> {
        // SAFETY: the child makes only async-signal-safe calls, on memory that was prepared before,
        // and ends in exec or _exit, so no destructor of the parent runs in it.
        unsafe {
            let child = check(libc::fork())?;
            if child == 0 {
                reset_signals();
                for &number in &self.inherit {
                    libc::fcntl(number, libc::F_SETFD, 0);
                }
                if let Some((rlim_cur, rlim_max)) = self.open_files {
                    libc::setrlimit(libc::RLIMIT_NOFILE, &libc::rlimit { rlim_cur, rlim_max });
                }
                libc::execv(self.program.as_ptr(), self.pointers.as_ptr());
                let message = b"mainstay guard: cannot execute the daemon's program\n";
                libc::write(libc::STDERR_FILENO, message.as_ptr().cast(), message.len());
                libc::_exit(127);
            }
            Ok(child)
        }
    }
}

/// How a process ended, as wait(2) encodes it, from its pidfd: works for a process that somebody
/// else reaped, on kernels from 6.15 on. `None` while it runs.
///
/// # Errors
/// When the kernel does not have the call (`ENOTTY`, `EINVAL`).
pub(crate) fn exit_by_descriptor(process: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    /// `struct pidfd_info` of linux/pidfd.h, first version.
    #[repr(C)]
    #[derive(Default)]
    struct Information {
        mask: u64,
        group: u64,
        numbers: [u32; 11],
        exit: i32,
    }
    const EXIT: u64 = 1 << 3;
    // _IOWR(0xFF, 11, struct pidfd_info)
    const GET: libc::c_ulong = (3 << 30) | ((size_of::<Information>() as u64) << 16) | 0xff0b;
    const { assert!(size_of::<Information>() == 64) };
    let mut information = Information { mask: EXIT, ..Information::default() };
    // SAFETY: the number of the request carries the size of the structure, which is ours to write.
    check(unsafe { libc::ioctl(process.as_raw_fd(), GET, &raw mut information) })?;
    Ok((information.mask & EXIT != 0).then_some(information.exit))
}

// ---------------------------------------------------------------------------------------------
// Users and groups
// ---------------------------------------------------------------------------------------------

/// An account.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) user: u32,
    pub(crate) group: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

const DATABASE_BUFFER_MAX: usize = 1 << 20;

/// The account called `name`, with all its groups.
pub(crate) fn account(name: &CStr) -> io::Result<Option<User>> {
    let mut buffer = vec![0_u8; 1_024];
    let found = loop {
        let mut record = MaybeUninit::<libc::passwd>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: all pointers are to memory of ours that lives through the call, with its length.
        let result = unsafe {
            libc::getpwnam_r(
                name.as_ptr(),
                record.as_mut_ptr(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                &raw mut found,
            )
        };
        match result {
            0 if found.is_null() => return Ok(None),
            // SAFETY: a found record was filled; its strings point into `buffer`, which stays.
            0 => break unsafe { record.assume_init() },
            libc::ERANGE if buffer.len() < DATABASE_BUFFER_MAX => {
                let double = buffer.len() * 2;
                buffer.resize(double, 0);
            }
            // "Not found" by the letter of getpwnam_r(3).
            libc::ENOENT | libc::ESRCH => return Ok(None),
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    };
    // SAFETY: the record's strings end with zero and live in `buffer`.
    let home = unsafe { CStr::from_ptr(found.pw_dir) }.to_string_lossy().into_owned();
    let mut groups = vec![0_u32; 64];
    loop {
        let mut count = i32::try_from(groups.len()).expect("at most 65,536 groups");
        // SAFETY: `count` is the room in `groups`.
        let result = unsafe {
            libc::getgrouplist(name.as_ptr(), found.pw_gid, groups.as_mut_ptr(), &raw mut count)
        };
        let count = usize::try_from(count).expect("a count");
        if result >= 0 {
            groups.truncate(count);
            break;
        }
        if groups.len() >= 65_536 {
            return Err(io::Error::from_raw_os_error(libc::ERANGE));
        }
        let more = count.max(groups.len() * 2).min(65_536);
        groups.resize(more, 0);
    }
    Ok(Some(User { user: found.pw_uid, group: found.pw_gid, groups, home }))
}

/// The number of the group called `name`.
pub(crate) fn group_number(name: &str) -> io::Result<Option<u32>> {
    let Ok(name) = CString::new(name) else { return Ok(None) };
    let mut buffer = vec![0_u8; 1_024];
    loop {
        let mut record = MaybeUninit::<libc::group>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: all pointers are to memory of ours that lives through the call, with its length.
        let result = unsafe {
            libc::getgrnam_r(
                name.as_ptr(),
                record.as_mut_ptr(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                &raw mut found,
            )
        };
        match result {
            0 if found.is_null() => return Ok(None),
            // SAFETY: a found record was filled.
            0 => return Ok(Some(unsafe { record.assume_init() }.gr_gid)),
            libc::ERANGE if buffer.len() < DATABASE_BUFFER_MAX => {
                let double = buffer.len() * 2;
                buffer.resize(double, 0);
            }
            libc::ENOENT | libc::ESRCH => return Ok(None),
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

// ---------------------------------------------------------------------------------------------
// Sockets
// ---------------------------------------------------------------------------------------------

/// setsockopt(2) with a whole number.
pub(crate) fn set_number(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the pointer and the size are those of `value`.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    check(result).map(drop)
}

/// Binds a socket to the interface called `name`.
pub(crate) fn bind_to_device(fd: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of `name`.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            name.as_ptr().cast(),
            name.len() as libc::socklen_t,
        )
    };
    check(result).map(drop)
}

/// Process, user and group of the peer of a unix socket.
pub(crate) fn peer_credentials(fd: BorrowedFd<'_>) -> io::Result<libc::ucred> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: pointer and length are those of `peer`.
    check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    })?;
    Ok(peer)
}

/// Supplementary groups of the peer of a unix socket.
pub(crate) fn peer_groups(fd: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; 32];
    loop {
        let mut length = (groups.len() * size_of::<u32>()) as libc::socklen_t;
        // SAFETY: pointer and length are those of the vector.
        let result = unsafe {
            libc::getsockopt(
                fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let count = length as usize / size_of::<u32>();
        match check(result) {
            Ok(_) => {
                groups.truncate(count);
                return Ok(groups);
            }
            // The kernel says how much room it needs.
            Err(error) if error.raw_os_error() == Some(libc::ERANGE) && count > groups.len() => {
                groups.resize(count, 0);
            }
            Err(error) => return Err(error),
        }
    }
}

/// One entry of a UDP socket's error queue (ip(7), `IP_RECVERR`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueuedError {
    /// Where the datagram that failed was sent to.
    pub(crate) destination: SocketAddr,
    pub(crate) errno: i32,
}

/// Takes the oldest entry of the error queue; `None` when it is empty.
pub(crate) fn take_queued_error(fd: BorrowedFd<'_>) -> io::Result<Option<QueuedError>> {
    /// Aligned as control messages need it.
    #[repr(align(8))]
    struct Control([u8; 512]);
    let mut control = Control([0; 512]);
    let mut payload = [0_u8; 1];
    // SAFETY: plain data, all zero is a value.
    let mut name: libc::sockaddr_storage = unsafe { zeroed() };
    let mut part = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
    // SAFETY: plain data, all zero is a value.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len();
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: all pointers in `header` are to local memory of the stated lengths.
    if unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, flags) } < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
    }
    let mut errno = 0;
    // SAFETY: the kernel filled `header`; the macros stay within its control buffer.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(&raw const header);
        while !message.is_null() {
            let kind = ((*message).cmsg_level, (*message).cmsg_type);
            if kind == (libc::IPPROTO_IP, libc::IP_RECVERR)
                || kind == (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
            {
                let error: libc::sock_extended_err =
                    ptr::read_unaligned(libc::CMSG_DATA(message).cast());
                errno = i32::try_from(error.ee_errno).unwrap_or(0);
            }
            message = libc::CMSG_NXTHDR(&raw const header, message);
        }
    }
    let destination = socket_address(&name);
    Ok(Some(QueuedError { destination, errno }))
}

fn socket_address(storage: &libc::sockaddr_storage) -> SocketAddr {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says what the storage holds, and it is large and aligned enough.
            let v4: libc::sockaddr_in = unsafe { ptr::read((&raw const *storage).cast()) };
            let address = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            SocketAddrV4::new(address, u16::from_be(v4.sin_port)).into()
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6: libc::sockaddr_in6 = unsafe { ptr::read((&raw const *storage).cast()) };
            let address = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            SocketAddrV6::new(address, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id).into()
        }
        // No destination is known (an error of our own host).
        _ => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into(),
    }
}

/// One instruction of a classic socket filter: code, jumps if true and false, operand.
pub(crate) type Instruction = (u16, u8, u8, u32);

/// Lets the kernel drop what the filter returns zero for (`SO_ATTACH_FILTER`, socket(7)).
pub(crate) fn attach_filter(fd: BorrowedFd<'_>, program: &[Instruction]) -> io::Result<()> {
    let mut filter: Vec<libc::sock_filter> =
        program.iter().map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect();
    let length = u16::try_from(filter.len()).expect("a short program");
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    // SAFETY: the kernel copies `length` instructions from the vector, which lives through the call.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    check(result).map(drop)
}

/// `struct sockaddr_ll` of packet(7).
fn link_layer_address(
    index: u32,
    protocol: u16,
    address: [u8; 6],
) -> io::Result<libc::sockaddr_ll> {
    let index = i32::try_from(index).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
    // SAFETY: plain data, all zero is a value.
    let mut name: libc::sockaddr_ll = unsafe { zeroed() };
    name.sll_family = libc::AF_PACKET as u16;
    name.sll_protocol = protocol.to_be();
    name.sll_ifindex = index;
    name.sll_halen = 6;
    name.sll_addr[..6].copy_from_slice(&address);
    Ok(name)
}

/// Binds a packet(7) socket to the interface with this index and one protocol (EtherType).
pub(crate) fn bind_link_layer(fd: BorrowedFd<'_>, index: u32, protocol: u16) -> io::Result<()> {
    let name = link_layer_address(index, protocol, [0; 6])?;
    // SAFETY: pointer and length are those of `name`.
    check(unsafe {
        libc::bind(
            fd.as_raw_fd(),
            (&raw const name).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    })
    .map(drop)
}

/// The interface that a packet(7) socket is bound to, none once that is gone, and its kind of
/// hardware.
pub(crate) fn bound_link_layer(fd: BorrowedFd<'_>) -> io::Result<(Option<u32>, u16)> {
    // SAFETY: plain data, all zero is a value.
    let mut name: libc::sockaddr_ll = unsafe { zeroed() };
    let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: pointer and length are those of `name`.
    check(unsafe { libc::getsockname(fd.as_raw_fd(), (&raw mut name).cast(), &raw mut length) })?;
    Ok((u32::try_from(name.sll_ifindex).ok(), name.sll_hatype))
}

/// Sends the payload of one frame to a station with an Ethernet address.
pub(crate) fn send_link_layer(
    fd: BorrowedFd<'_>,
    index: u32,
    protocol: u16,
    to: [u8; 6],
    bytes: &[u8],
) -> io::Result<()> {
    let name = link_layer_address(index, protocol, to)?;
    // SAFETY: the pointers and lengths are those of `bytes` and `name`.
    let sent = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT,
            (&raw const name).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes the payload of one frame, cut to the buffer, with the Ethernet address that sent it and the
/// interface that it came in on.
pub(crate) fn receive_link_layer(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> io::Result<(usize, [u8; 6], u32)> {
    // SAFETY: plain data, all zero is a value.
    let mut name: libc::sockaddr_ll = unsafe { zeroed() };
    let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointers and lengths are those of `buffer` and `name`.
    let received = unsafe {
        libc::recvfrom(
            fd.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT,
            (&raw mut name).cast(),
            &raw mut length,
        )
    };
    let count = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    let [a, b, c, d, e, f, _, _] = name.sll_addr;
    let interface = u32::try_from(name.sll_ifindex).unwrap_or(0);
    Ok((count, [a, b, c, d, e, f], interface))
}

/// Lets a packet(7) socket hear all multicast of the interface with this index.
pub(crate) fn hear_all_multicast(fd: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    let index = i32::try_from(index).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
    let membership = libc::packet_mreq {
        mr_ifindex: index,
        mr_type: libc::PACKET_MR_ALLMULTI as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    // SAFETY: pointer and length are those of `membership`.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const membership).cast(),
            size_of::<libc::packet_mreq>() as libc::socklen_t,
        )
    };
    check(result).map(drop)
}

/// Whether the driver of the interface called `name` has a carrier (`ETHTOOL_GLINK`).
pub(crate) fn carrier(socket: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
    /// `struct ethtool_value` of linux/ethtool.h.
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    const ETHTOOL_GLINK: u32 = 10;
    // SAFETY: plain data, all zero is a value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, &from) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
        *to = from.cast_signed();
    }
    let mut value = Value { command: ETHTOOL_GLINK, data: 0 };
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request names the interface (zero-terminated) and points to `value`, which the
    // kernel fills.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) })?;
    Ok(value.data != 0)
}

// ---------------------------------------------------------------------------------------------
// Terminals
// ---------------------------------------------------------------------------------------------

/// Whether somebody keeps others from opening this terminal (`TIOCGEXCL`, ioctl_tty(2)).
pub(crate) fn is_exclusive(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut exclusive: libc::c_int = 0;
    // SAFETY: the kernel writes one number to `exclusive`, which lives through the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGEXCL, &raw mut exclusive) })?;
    Ok(exclusive != 0)
}

/// Bytes that were written to a terminal and not sent yet (`TIOCOUTQ`, ioctl_tty(2)).
pub(crate) fn waiting_output(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: the kernel writes one number to `count`, which lives through the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) })?;
    Ok(usize::try_from(count).unwrap_or(0))
}

// ---------------------------------------------------------------------------------------------
// Mounts
// ---------------------------------------------------------------------------------------------

/// Gives this process a copy of the mount table of its own.
pub(crate) fn unshare_mounts() -> std::io::Result<()> {
    // SAFETY: only the table of mounts is unshared; no memory, file table or signal state of other
    // threads depends on it.
    Ok(unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }?)
}
